"""Numbers out of predictions; nothing here imports torch or draws."""
