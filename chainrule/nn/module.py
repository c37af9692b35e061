"""`Module`: parameters, state and children as plain attributes, and a pytree of them.

A tensor attribute is a parameter, a `State` is state, a module (or a tuple of them) is a child,
all else is configuration. A subclass writes `build(shape)`, which makes parameters for inputs
of that shape, and `call(x)`. Read next: `dense.py`.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np

from chainrule.core.errors import GradientError, ShapeError
from chainrule.core.recording import Recording, current, layer_path, layer_scope, paused
from chainrule.core.tensor import State, Tensor, as_tensor
from chainrule.core.tree import register_tree
from chainrule.nn.initializers import Initializer, initializer
from chainrule.ops.random import fold_in, key

_local = threading.local()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Parameters made inside the block are drawn from `seed` and their own path."""
    before = getattr(_local, "seed", 0)
    _local.seed = seed
    try:
        yield
    finally:
        _local.seed = before


def snake_case(name: str) -> str:
    """Keras's name for a layer of a class.

    >>> snake_case("MaxPooling2D"), snake_case("BatchNormalization")
    ('max_pooling2d', 'batch_normalization')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()


class Module:
    """A function with parameters; see the module's docstring for how to write one."""

    sample: ClassVar[dict[str, Any]] = {}  # the generic tests build and check this one
    name: str
    built: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._takes_training = "training" in inspect.signature(cls.call).parameters

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        made.__dict__["name"] = snake_case(cls.__name__)
        made.__dict__["built"] = False
        return made

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the parameters for inputs of `shape` (batch first); nothing by default."""

    def call(self, x: Any) -> Any:
        """The layer's output for `x`."""
        raise NotImplementedError(f"{type(self).__name__} has no call(self, x)")

    def __call__(self, x: Any, *, training: bool = False) -> Any:
        x = x if isinstance(x, tuple | list | dict) else as_tensor(x)
        with layer_scope(self.name) if self.name else nullcontext():
            if not self.built:
                with paused():
                    self.build(getattr(x, "shape", ()))
                self.__dict__["built"] = True
            if self._takes_training:
                return self.call(x, training=training)  # type: ignore[call-arg]
            return self.call(x)

    def __setattr__(self, name: str, value: Any) -> None:
        held = self.__dict__.get(name)
        if isinstance(held, State) and not isinstance(value, State):
            held.renew(value)
            return
        if current() is not None:
            raise GradientError(
                f"{type(self).__name__}.{name} is assigned while something records: it would "
                "be lost",
                mend="make it a state: self.x = self.state('x', shape, 0)",
            )
        if isinstance(value, Module) and value.name == snake_case(type(value).__name__):
            value.__dict__["name"] = name
        self.__dict__[name] = tuple(value) if isinstance(value, list) else value

    def parameter(
        self, name: str, shape: Sequence[int], init: str | float | Initializer
    ) -> Tensor:
        """A new float32 parameter, drawn from the seed and the path `layer/name`."""
        path = f"{layer_path()}/{name}"
        with paused():
            place = fold_in(key(getattr(_local, "seed", 0)), path)
            return Tensor(np.array(initializer(init)(place, tuple(shape)), np.float32))

    def state(self, name: str, shape: Sequence[int], fill: float = 0.0) -> State:
        """A new float32 state of one value throughout."""
        return State(np.full(tuple(shape), fill, np.float32))

    def build_for(self, shape: Sequence[int], dtype: Any = "float32") -> None:
        """Build the whole module by shape propagation; no numbers are computed.

        `shape` is an input's, with any batch size.
        """
        blank = np.broadcast_to(np.zeros((), dtype), tuple(shape))
        with Recording(concrete=False) as recording:
            self(recording.input(Tensor(blank)))

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        for value in self.__dict__.values():
            yield from _modules(value)

    def named_parameters(self) -> dict[str, Tensor]:
        """Parameters by path: {"dense/kernel": ...}."""
        return {n: t for n, t in self._named("") if not isinstance(t, State)}

    def named_states(self) -> dict[str, State]:
        """State by path."""
        return {n: t for n, t in self._named("") if isinstance(t, State)}

    def _named(self, path: str) -> Iterator[tuple[str, Tensor]]:
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                yield f"{path}{name}", value
            for child in _modules(value):
                yield from child._named(f"{path}{child.name}/")

    def check_width(self, x: Any, axis: int, wanted: int) -> None:
        """ShapeError unless `x` has the extent along `axis` this layer was built for."""
        if x.shape[axis] != wanted:
            raise ShapeError(
                f"{layer_path() or self.name} was built for {wanted} features, got input of "
                f"shape {x.shape}",
                mend=f"give it {wanted} features along axis {axis}, or build a new layer",
            )

    def __repr__(self) -> str:
        config = ", ".join(
            f"{name}={getattr(value, '__name__', value)!r}".replace("'", "")
            for name, value in self.__dict__.items()
            if name not in ("name", "built") and not isinstance(value, Tensor)
            and not any(True for _ in _modules(value)) and value is not None
        )
        rows = [f"{type(self).__name__}({config})"]
        rows += [f"  {n}: {t.dtype}{list(t.shape)}" for n, t in self.__dict__.items()
                 if isinstance(t, Tensor)]
        for child in self.children():
            rows += ["  " + row for row in f"{child.name}: {child!r}".splitlines()]
        return "\n".join(rows)


def _modules(value: Any) -> Iterator[Module]:
    if isinstance(value, Module):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _modules(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _modules(part)


def _holds_leaves(value: Any) -> bool:
    return isinstance(value, Tensor) or any(True for _ in _modules(value))


def _split(module: Module) -> tuple[list, tuple]:
    moving = [n for n, v in module.__dict__.items() if _holds_leaves(v)]
    fixed = tuple((n, _frozen(v)) for n, v in module.__dict__.items() if n not in moving)
    return [module.__dict__[n] for n in moving], (type(module), tuple(moving), fixed)


class _Frozen(tuple):
    """A configuration that does not hash, held by identity beside its text."""


def _frozen(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return _Frozen((repr(value),))
    return value


def _join(aux: tuple, children: list) -> Module:
    cls, moving, fixed = aux
    made = object.__new__(cls)
    made.__dict__.update(fixed)
    made.__dict__.update(zip(moving, children, strict=True))
    return made


register_tree(Module, _split, _join)
