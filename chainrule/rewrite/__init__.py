"""Named graph rewrites: algebra, numerical stability, layout."""
