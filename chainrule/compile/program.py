"""A program: a graph made ready to run again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.core.graph import Graph


class Program:
    """Runs `graph`; the memory of inputs marked in `donated` may hold outputs afterwards."""

    def __init__(self, graph: Graph, donated: Sequence[bool]):
        self.graph = graph

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs for input `arrays`."""
        return self.graph.run(*arrays)
