"""Combines several models, one file a kind."""
