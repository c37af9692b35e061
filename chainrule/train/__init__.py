"""`Model`, optimisers, metrics, callbacks, progress."""
