"""The `chainrule` command: progress on stderr, data on stdout. Read next: `main.py`."""
