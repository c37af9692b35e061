"""`Sequential`: a model that is a chain of layers. Read next: `examples.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chainrule.core.errors import ArgumentError
from chainrule.nn.merge import run_chain
from chainrule.nn.module import Module
from chainrule.nn.names import number_names
from chainrule.train.model import Model


class Sequential(Model):
    """A chain of layers, each fed by the one before.

    Layers without a name of their own are numbered by class: "dense", "dense_1".
    """

    def __init__(self, layers: Sequence[Module] = (), seed: int = 0, name: str | None = None):
        if not isinstance(layers, Iterable):
            raise ArgumentError(
                f"Sequential needs a list of layers, got {layers!r}",
                mend="Sequential([Dense(8), Dense(1)])",
            )
        super().__init__(seed, name)
        self._chain(list(layers))

    def add(self, layer: Module) -> None:
        """One layer more, at the end."""
        self._chain([*self.layers, layer])

    def _chain(self, layers: list[Any]) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise ArgumentError(
                    f"Sequential needs layers, got {layer!r} at position {i}",
                    mend="Dense(4), not Dense; Activation('relu') for a function",
                )
        number_names(layers)
        self.layers = tuple(layers)

    def call(self, x: Any, *, training: bool = False, mask: Any = None) -> Any:
        """The last layer's output; a mask goes along from layer to layer."""
        return run_chain(self.layers, x, training, mask)[0]
