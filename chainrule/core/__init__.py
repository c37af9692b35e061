"""Dtypes, errors, the op record, nodes, graphs, recording, tensors and pytrees."""
