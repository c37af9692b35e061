"""Whole tasks, each trained by one call: image classification. Read next: `runs.py`."""
