"""Numbers, figures and reports out of predictions; nothing here imports torch."""
