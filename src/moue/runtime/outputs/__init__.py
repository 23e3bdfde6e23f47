"""Where results go: files, folders, tables and timelines."""
