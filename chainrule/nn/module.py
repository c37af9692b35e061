"""`Module`: parameters, state, children and configuration, and a call that computes.

A layer is a subclass with `build(shape)`, which makes its parameters, and `call(x)`, which uses
them. What an attribute is follows from its value: a Tensor is a trainable parameter, a State is
renewed by assignment, a Module (or a list, tuple or dict of them) is a child, all else is
configuration. Read next: `dense.py`.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from chainrule.core.dtypes import DEFAULT, as_array, is_float
from chainrule.core.errors import (
    ArgumentError,
    ChainruleError,
    GradientError,
    ShapeError,
    UnknownNameError,
)
from chainrule.core.recording import Recording, current, layer_path, layer_scope, paused
from chainrule.core.tensor import State, Tensor
from chainrule.core.tree import flatten, register_tree, tree_map
from chainrule.nn.calls import note
from chainrule.nn.initializers import find_initializer
from chainrule.nn.inputs import inputs_of, shapes_of, tensors_of
from chainrule.nn.names import check_name, snake_case
from chainrule.nn.parts import (
    check_static,
    freeze,
    held,
    join,
    named_tensors,
    outline,
    split,
    within,
)
from chainrule.nn.randomness import initial_key
from chainrule.ops.elementwise import cast

LAYERS: dict[str, type[Module]] = {}
_INTERNAL = frozenset({"_parts", "_built", "_named", "_copied", "_ready"})
_local = threading.local()


class ModuleType(type):
    """The class of Module classes: construction is never recorded, whatever records around it.

    UnknownNameError for an argument that the class does not have.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        known = cls.__signature__.parameters
        if not any(each.kind is each.VAR_KEYWORD for each in known.values()):
            for name in kwargs:
                if name not in known:
                    raise UnknownNameError(f"argument of {cls.__name__}", name, known)
        with paused():
            module = super().__call__(*args, **kwargs)
        module._ready = True
        return module

    @property
    def __signature__(cls) -> inspect.Signature:
        """The arguments of `__init__`, for `help` and editors, which would see `__call__`'s."""
        plain = inspect.signature(cls.__init__)  # type: ignore[misc]
        return plain.replace(parameters=list(plain.parameters.values())[1:])


class Module(metaclass=ModuleType):
    """A computation with parameters; a pytree of its parameters and states.

    Subclasses write `call(self, x)`, with `*, training=False` or `mask=None` after it where they
    use them, and where they have parameters `build(self, shape)`. A layer of the library also
    carries `sample`, by which the tests build and check it: `dict(args=..., kwargs=...,
    input=shape)`, where several inputs have a list of shapes.

    >>> class Scale(Module):
    ...     def build(self, shape):
    ...         self.parameter("factor", shape[-1:], "ones")
    ...     def call(self, x):
    ...         return x * self.factor
    >>> Scale()(np.float32([[1, 2]]))
    Tensor([[1., 2.]], dtype=float32)
    """

    __slots__ = ("__dict__", "__weakref__", "_built", "_copied", "_named", "_parts", "_ready")
    untracked: ClassVar[tuple[str, ...]] = ()  # attributes that are no part of the computation
    takes_mask: ClassVar[bool] = False  # whether `call` has the argument `mask`
    takes_integers: ClassVar[bool] = False  # whether integer input means positions, not numbers
    _takes_training: ClassVar[bool] = False
    name: str
    _parts: tuple[str, ...]
    _built: bool
    _named: bool
    _copied: bool
    _ready: bool

    def __init_subclass__(cls) -> None:
        if "build" in vars(cls):
            cls.build = _once(cls.build)  # type: ignore[method-assign]
        options = inspect.signature(cls.call).parameters
        cls._takes_training, cls.takes_mask = "training" in options, "mask" in options
        if "sample" in vars(cls):
            LAYERS[cls.__name__] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        module = object.__new__(cls)
        module._parts, module._ready = (), False
        module._built = cls.build is Module.build
        module._named = module._copied = False
        vars(module)["name"] = snake_case(cls.__name__)
        return module

    def __init__(self, name: str | None = None):
        if name is not None:
            self.name = name

    def build(self, shape: Any) -> None:
        """Make the parameters for an input of `shape`: calls of `parameter` and `state`."""

    def call(self, *args: Any, **options: Any) -> Any:
        """The output for `x`, whose float arrays are Tensors of the parameters' dtype."""
        named = "; its forward must be named so" if hasattr(self, "forward") else ""
        raise NotImplementedError(f"{type(self).__name__} needs a method call(self, x){named}")

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The mask of the output for `x` with `mask`, (batch, time), True where a step counts.

        None says that there is none. A layer whose output has other steps says so here.
        """
        return mask

    def __call__(
        self, x: Any, *others: Any, training: bool = False, mask: Any = None, **named: Any
    ) -> Any:
        """`call(x)`, after building for `x` on the first call; errors name the layer.

        `others` and `named` are further arrays that `call` takes, such as states; None is none.
        """
        if not isinstance(training, bool | np.bool_):
            raise ArgumentError(
                f"{self.name}: training must be True or False, got {type(training).__name__}",
                mend='inside jit, name it: cr.jit(fn, static=("training",))',
            )
        options: dict[str, Any] = {"training": bool(training)} if self._takes_training else {}
        options |= {key: tensors_of(more) for key, more in named.items() if more is not None}
        if mask is not None:
            if not self.takes_mask:
                raise ArgumentError(f"{self.name}: {type(self).__name__} takes no mask")
            options["mask"] = tensors_of(mask)
        depth, frozen = getattr(_local, "depth", 0), is_frozen()
        _local.depth, _local.frozen = depth + 1, frozen or not getattr(self, "trainable", True)
        try:
            with layer_scope(self.name) if depth else nullcontext():
                inputs = (x, *map(tensors_of, others))
                y = self._run(inputs, options, depth == 0)
                note(self, layer_path(), inputs, options, y, is_frozen())
                return y
        finally:
            _local.depth, _local.frozen = depth, frozen

    def _run(self, inputs: tuple, options: dict[str, Any], outermost: bool) -> Any:
        try:
            x, *others = inputs
            x = tensors_of(x)
            if not self._built:
                self._build(x)
            # A model called from outside adds no step to the path, so that "conv2d" is the same
            # in errors, in named_parameters and in the keys of its random numbers.
            alone = outermost and not self._has_children()
            with layer_scope(self.name) if alone else nullcontext():
                return self.call(self._cast(x, outermost), *others, **options)
        except ChainruleError as error:
            path = layer_path() or ("" if self._has_children() else self.name)
            if path and not error.message.startswith((f"{path}: ", f"{path}/")):
                error.message = f"{path}: {error.message}"
            raise

    def _build(self, x: Any) -> None:
        if self._copied and current() is not None:
            raise GradientError(
                f"{self.name} is not built, and a transform works on a copy of it: the new "
                "parameters would be lost",
                mend="model.build_for(x.shape) before the transform",
            )
        self.build(shapes_of(x))

    def _cast(self, x: Any, outermost: bool) -> Any:
        """Float input in the dtype of the parameters; a layer that counts takes ints as numbers."""
        model = self._has_children()
        if model and not outermost:
            return x
        tensors = [t for t in flatten(self)[0] if isinstance(t, Tensor) and is_float(t.dtype)]
        if not model and not tensors:
            return x
        dtype = tensors[0].dtype if tensors else DEFAULT
        kinds = "f" if model or self.takes_integers else "fiub"
        return tree_map(lambda t: cast(t, dtype) if t.dtype.kind in kinds else t, x)

    def build_for(self, shape: Any, dtype: Any = None) -> Self:
        """This module, built for input of `shape` (the batch included) without any computing.

        Several inputs have a dict or a list of shapes, as they have one of arrays. `dtype` is
        float32, or int64 where a layer reads positions; or one for each input.
        """
        if dtype is None:
            dtype = "int64" if self.reads_positions() else "float32"
        with Recording(concrete=False) as recording:
            self(inputs_of(recording, shape, dtype))
        return self

    def parameter(self, name: str, shape: Iterable[int], init: Any) -> Tensor:
        """Make the trainable attribute `name`; its values depend on the seed and its path only.

        One that is there already, of this shape, stays. For use in `build`.
        """
        shape = tuple(shape)
        if not self._ready:
            raise ArgumentError(
                f"{self.name}: the path that seeds parameter {name!r} is not known in __init__",
                mend="make it in build(self, shape)",
            )
        values = find_initializer(init, self.name)
        path = f"{layer_path() or self.name}/{name}"
        return self._keep(name, shape, lambda: Tensor(values(initial_key(path), shape)))

    def state(self, name: str, shape: Iterable[int], fill: Any = 0.0) -> State:
        """Make the attribute `name`, a State of `fill` that assignment renews."""
        shape = tuple(shape)
        kept = self._keep(name, shape, lambda: State(np.full(shape, as_array(fill))))
        assert isinstance(kept, State)
        return kept

    def _keep(self, name: str, shape: tuple, make: Callable[[], Tensor]) -> Tensor:
        kept = vars(self).get(name)
        if not isinstance(kept, Tensor):
            with paused():
                kept = make()
                setattr(self, name, kept)
        if kept.shape != shape:
            raise ShapeError(
                f"{self.name}: {name} is needed as {shape}, and is {kept.shape}",
                mend="an initializer that keeps to the shape, or a new layer for the new input",
            )
        return kept

    def named_parameters(self) -> dict[str, Tensor]:
        """Each trainable tensor under its path, "conv2d/kernel"."""
        return named_tensors(self, lambda tensor: not isinstance(tensor, State))

    def named_states(self) -> dict[str, State]:
        """Each State under its path, "batch_normalization/moving_mean"."""
        return named_tensors(self, lambda tensor: isinstance(tensor, State))

    @property
    def built(self) -> bool:
        """Whether this module and all below it have their parameters."""
        return self._built and all(child.built for child in self._children())

    def reads_positions(self) -> bool:
        """Whether some layer takes integers as positions, so that they must stay integers."""
        return self.takes_integers or any(child.reads_positions() for child in self._children())

    def _children(self) -> Iterable[Module]:
        return (part for _, part in held(self) if isinstance(part, Module))

    def _has_children(self) -> bool:
        return next(iter(self._children()), None) is not None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _INTERNAL:
            object.__setattr__(self, name, value)
            return
        before = vars(self).get(name)
        if isinstance(before, State) and value is not None and not isinstance(value, State):
            before.renew(value)
            return
        unchanged = before is not None and value is before and name != "name"
        if name in self.untracked or unchanged:
            vars(self)[name] = value
            return
        if current() is not None:
            raise GradientError(
                f"{self.name}.{name} was assigned while its call is recorded: it would be set "
                "once, not at each call",
                mend="return the value, or make it a State in build: self.state(...)",
            )
        self._hold(name, freeze(value))

    def _hold(self, name: str, value: Any) -> None:
        parts = dict(within(value))
        if name == "name":
            check_name(value)
            self._named = True
        elif parts:
            for suffix, part in parts.items():
                if isinstance(part, Module):
                    part.suggest_name(name + suffix)
        else:
            check_static(self.name, name, value)
        if bool(parts) != (name in self._parts):
            others = tuple(other for other in self._parts if other != name)
            self._parts = (*others, name) if parts else others
        vars(self)[name] = value

    if TYPE_CHECKING:  # attributes that `parameter` and `state` make

        def __getattr__(self, name: str) -> Any: ...

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._parts = tuple(other for other in self._parts if other != name)

    def suggest_name(self, name: str) -> None:
        """Take `name`, unless this module has been named already."""
        if not self._named:
            self.name = name

    def __repr__(self) -> str:
        return outline(self)


@contextmanager
def part_of(path: str, frozen: bool) -> Iterator[None]:
    """Modules called inside the block run as parts of the module at `path`, "" for a model."""
    depth, before = getattr(_local, "depth", 0), is_frozen()
    _local.depth, _local.frozen = depth + 1, before or frozen
    try:
        with layer_scope(path) if path else nullcontext():
            yield
    finally:
        _local.depth, _local.frozen = depth, before


def is_frozen() -> bool:
    """Whether the layer that is being called, or one that holds it, has `trainable = False`."""
    return getattr(_local, "frozen", False)


def _once(build: Callable[..., None]) -> Callable[..., None]:
    """`build`, unrecorded, and then known to be done, whoever calls it."""

    @wraps(build)
    def building(self: Module, shape: Any) -> None:
        with paused():
            build(self, shape)
        self._built = True

    return building


register_tree(Module, split, lambda layout, leaves: join(layout, leaves))
