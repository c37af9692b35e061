"""Reverse and forward mode, vmap, custom gradients and the gradient check."""
