"""Where the random numbers of layers come from: the seed of initial values, the key of a call.

Neither is global: both are set for a `with` block, for the thread that is in it. Read next:
`initializers.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from chainrule.core.errors import ArgumentError
from chainrule.core.recording import layer_path
from chainrule.core.tensor import Tensor
from chainrule.ops.random import fold_in, key

_local = threading.local()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Layers built inside the block draw their initial values from `seed` (0 without a block)."""
    before = getattr(_local, "seed", 0)
    _local.seed = seed
    try:
        yield
    finally:
        _local.seed = before


def initial_key(path: str) -> Tensor:
    """The key of the initial values of the parameter at `path`, "conv2d/kernel"."""
    return fold_in(key(getattr(_local, "seed", 0)), path)


@contextmanager
def random_scope(key: Tensor) -> Iterator[None]:
    """Layers called inside the block draw from `key`: the same key gives the same masks.

    A training step opens one with a new key for each step, `cr.fold_in(key, step)`.
    """
    before = getattr(_local, "scope", None)
    _local.scope = (key, {})
    try:
        yield
    finally:
        _local.scope = before


def layer_key() -> Tensor:
    """A key for the layer being called: of its path, and of how often it asked in this scope.

    ArgumentError outside of `random_scope`.
    """
    scope: tuple[Tensor, dict[str, int]] | None = getattr(_local, "scope", None)
    path = layer_path()
    if scope is None:
        raise ArgumentError(
            f"{path or 'a layer'} draws random numbers in training, and no key was given",
            mend="with nn.random_scope(cr.key(0)): around the call, or training=False",
        )
    own, calls = scope
    calls[path] = calls.get(path, 0) + 1
    return fold_in(fold_in(own, path), calls[path] - 1)
