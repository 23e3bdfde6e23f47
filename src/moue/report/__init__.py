"""Pages, figures, tables and cards made of results."""
