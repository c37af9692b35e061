"""`Tensor`: an immutable array, known, or known only as a node of a recording.

Operators are installed by `chainrule/ops/__init__.py` from the op records, at one place.
Read next: `chainrule/ops/elementwise.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.core.dtypes import as_array, as_dtype
from chainrule.core.errors import DonatedError, GradientError, ShapeError, TraceError
from chainrule.core.node import Node
from chainrule.core.op import Shape


class Tensor:
    """An array of one dtype. `Tensor(values)` copies nothing that is a NumPy array already.

    Inside `jit` and `vmap` it stands for a value not yet known: shape and dtype are there,
    asking for numbers raises TraceError. NumPy float64 stays float64; Python floats become
    float32.

    >>> Tensor([1.0, 2.0]) * 3
    Tensor([3., 6.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_value", "donated", "node", "recording", "weak")

    def __init__(self, value: Any, dtype: Any = None):
        if isinstance(value, Tensor):
            value = value.numpy()
        array = as_array(value)
        self._value: np.ndarray | None = array if dtype is None else array.astype(as_dtype(dtype))
        self.node: Node | None = None
        self.recording: Any = None
        self.weak = False
        self.donated = False

    if TYPE_CHECKING:  # the ops install these, see `chainrule/ops/__init__.py`
        T: Tensor

        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __getitem__(self, other: Any) -> Tensor: ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def transpose(self, axes: Any = None) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...

    @classmethod
    def of(cls, value: np.ndarray | None, node: Node | None, recording: Any) -> Tensor:
        """A tensor of a recording's node; `value` is None where it is not known."""
        tensor = cls.__new__(cls)
        tensor._value, tensor.node, tensor.recording = value, node, recording
        tensor.weak = tensor.donated = False
        return tensor

    @property
    def known(self) -> bool:
        """Whether the numbers are there."""
        return self._value is not None

    def _about(self) -> Any:
        if self._value is not None:
            return self._value
        if self.donated:
            raise DonatedError(
                "this tensor's memory was given to a compiled call (donate=...)",
                mend="use the tensor that the call returned",
            )
        return self.node

    @property
    def shape(self) -> Shape:
        """Extent per axis."""
        return self._about().shape

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype."""
        return self._about().dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def numpy(self) -> np.ndarray:
        """The numbers, as a read-only NumPy array. TraceError where they are not known yet."""
        value = self._value
        if value is None:
            self._about()
            raise TraceError(
                f"the numbers of a {self.dtype}{list(self.shape)} tensor are not known here: "
                "it is being recorded for jit, vmap, scan or cond, or outlived that recording",
                mend="cr.where in place of if, or cr.cond; return it to look at it or to keep it",
            )
        view = value.view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype, copy=copy)

    def item(self) -> Any:
        """The one number of a tensor of one element; ShapeError for more."""
        if self.size != 1:
            raise ShapeError(
                f"one number, or a truth value, needs one element, got shape {self.shape}",
                mend="cr.all, cr.any or cr.sum before; .numpy() for all of them",
            )
        return self.numpy().item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"an index must be an integer, got {self.dtype}")
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        if self._value is None:
            return "Tensor(donated)" if self.donated else f"Tensor({self.node}, not known yet)"
        text = np.array2string(self._value, separator=", ", prefix=type(self).__name__ + "(")
        return f"{type(self).__name__}({text}, dtype={self.dtype.name})"

    def assign(self, value: Any) -> None:
        """Put new numbers in place; what captured this tensor sees them at its next call.

        GradientError while something records (there is no in-place change inside a graph),
        ShapeError unless shape and dtype stay.
        """
        from chainrule.core.recording import current

        array = value.numpy() if isinstance(value, Tensor) else as_array(value)
        if current() is not None:
            raise GradientError("assign changes a tensor in place, which cannot be recorded")
        self._put(array)

    def _put(self, array: np.ndarray) -> None:
        if self._value is not None and (array.shape, array.dtype) != (self.shape, self.dtype):
            raise ShapeError(
                f"assign needs {self.dtype}{list(self.shape)}, got {array.dtype}{list(array.shape)}"
            )
        self._value = array
        self.donated = False


class State(Tensor):
    """A tensor that a call may renew: running statistics, random keys, counters.

    Assigning to a State attribute of a module while something records adds an output to the
    graph; the new value is put in place when the recording ends. It has no gradient.
    """

    __slots__ = ()

    def renew(self, value: Any) -> None:
        """Set the value: at once, or when the active recording ends."""
        from chainrule.core.recording import current

        value = value if isinstance(value, Tensor) else Tensor(value)
        recording = current()
        if (value.shape, value.dtype) != (self.shape, self.dtype):
            raise ShapeError(
                f"a state of {self.dtype}{list(self.shape)} cannot become "
                f"{value.dtype}{list(value.shape)}"
            )
        if recording is None:
            self._put(value.numpy())
        else:
            recording.writes[id(self)] = (self, value)


def weak_tensor(value: Any) -> Tensor:
    """Like `as_tensor`, but a Python float keeps its digits and takes the dtype of its company."""
    if type(value) is not float:  # NumPy's float64 is a subclass, and means what it says
        return as_tensor(value)
    tensor = Tensor(np.float64(value))
    tensor.weak = True
    return tensor


def as_tensor(value: Any) -> Tensor:
    """`value` itself when it is a Tensor, else a Tensor of it, its own where it knows one."""
    if isinstance(value, Tensor):
        return value
    own = getattr(value, "__tensor__", None)  # row-sparse gradients become dense here
    return Tensor(value) if own is None else own()
