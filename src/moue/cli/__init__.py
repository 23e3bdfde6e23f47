"""The command line: one thin module a command, and `main`, the table of them."""
