"""Whole tasks, each trained by one call: images, text, recommendation. Read next: `runs.py`."""

from chainrule.apps import images, recommend, text  # each registers its task
