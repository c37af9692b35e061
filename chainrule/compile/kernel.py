"""The kernel interface: values, and what a builder can do with them.

A kernel is written once, against `Builder`. `LlvmBuilder` turns the calls into LLVM text,
`TextBuilder` into lines to read. Arithmetic: + - * / fma sqrt min max compare select round
remainder convert bitcast shift xor. Structure: loop, repeat, when, load, gather, store.
Read next: `llvm.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Number = bool | int | float


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """A scalar (`lanes` 1) or a vector of `dtype` that a builder made. Operators emit.

    A pointer's dtype is "ptr", and `element` is what it points to.
    """

    k: Builder
    name: str
    dtype: str
    lanes: int = 1
    constant: Number | None = None
    element: str = ""

    def __add__(self, z: Any) -> Value:
        return self.k.binary("add", self, z)

    def __sub__(self, z: Any) -> Value:
        return self.k.binary("sub", self, z)

    def __mul__(self, z: Any) -> Value:
        return self.k.binary("mul", self, z)

    def __truediv__(self, z: Any) -> Value:
        return self.k.binary("div", self, z)

    def __xor__(self, z: Any) -> Value:
        return self.k.binary("xor", self, z)

    def __radd__(self, z: Number) -> Value:
        return self.k.binary("add", self.k.constant(z, self.dtype), self)

    def __rsub__(self, z: Number) -> Value:
        return self.k.binary("sub", self.k.constant(z, self.dtype), self)

    def __rmul__(self, z: Number) -> Value:
        return self.k.binary("mul", self.k.constant(z, self.dtype), self)

    def __rtruediv__(self, z: Number) -> Value:
        return self.k.binary("div", self.k.constant(z, self.dtype), self)

    def __neg__(self) -> Value:
        return self.k.negate(self)


class Builder(ABC):
    """What a kernel's text is written with. `lanes` is the vector width in elements."""

    lanes: int

    def __init__(self, lanes: int, slots: dict[str, tuple[int, int, str]]) -> None:
        self.lanes = lanes
        self.slots = slots  # per buffer: its place in the table, a byte offset, its dtype
        self.lines: list[str] = []
        self.count = 0

    def fresh(self) -> str:
        """A name not used before."""
        self.count += 1
        return f"v{self.count}"

    def lift(self, x: Any, like: Value) -> Value:
        """`x` as a value beside `like`: numbers take its dtype."""
        return x if isinstance(x, Value) else self.constant(x, like.dtype)

    def fitted(self, *values: Any) -> list[Value]:
        """The values with one lane count, scalars spread over vectors."""
        like = next(v for v in values if isinstance(v, Value))
        lifted = [self.lift(v, like) for v in values]
        lanes = max(v.lanes for v in lifted)
        return [v if v.lanes == lanes else self.spread(v, lanes) for v in lifted]

    def binary(self, what: str, x: Value, z: Any) -> Value:
        """x (add | sub | mul | div | rem | xor) z."""
        x, z = self.fitted(x, z)
        return self.emit(what, [x, z], x.dtype, x.lanes)

    def negate(self, x: Value) -> Value:
        """-x; the sign bit of a float."""
        return self.emit("neg", [x], x.dtype, x.lanes)

    def fma(self, x: Any, z: Any, add: Any) -> Value:
        """x * z + add with one rounding."""
        x, z, add = self.fitted(x, z, add)
        return self.emit("fma", [x, z, add], x.dtype, x.lanes)

    def remainder(self, x: Value, z: Any) -> Value:
        """What is left of x after as many whole z as fit, with the sign of x; exact."""
        return self.binary("rem", x, z)

    def sqrt(self, x: Value) -> Value:
        """The square root."""
        return self.emit("sqrt", [x], x.dtype, x.lanes)

    def round(self, x: Value) -> Value:
        """The nearest whole number, halves to even."""
        return self.emit("round", [x], x.dtype, x.lanes)

    def less(self, x: Value, z: Any) -> Value:
        """x < z; false with NaN."""
        x, z = self.fitted(x, z)
        return self.emit("less", [x, z], "bool", x.lanes)

    def equal(self, x: Value, z: Any) -> Value:
        """x == z; false with NaN."""
        x, z = self.fitted(x, z)
        return self.emit("equal", [x, z], "bool", x.lanes)

    def select(self, condition: Value, x: Any, z: Any) -> Value:
        """x where the condition holds, else z."""
        x, z = self.fitted(x, z)
        lanes = max(condition.lanes, x.lanes)
        parts = [v if v.lanes == lanes else self.spread(v, lanes) for v in (condition, x, z)]
        return self.emit("select", parts, x.dtype, lanes)

    def unless_all(self, condition: Value, x: Value, other: Callable[[], Value]) -> Value:
        """x if the condition holds in every lane, else `other()`: what is rare and slow."""
        place = self.scratch(x.dtype, x.lanes)
        self.store(place, x, x.lanes)
        every = self.fold(condition, lambda k, a, b: k.select(a, b, a))
        self.when(every ^ True, lambda: self.store(place, other(), x.lanes))
        return self.load(place, 1, x.lanes, x.lanes)

    def max(self, x: Value, z: Any) -> Value:
        """The larger; NaN when either is."""
        x, z = self.fitted(x, z)
        kept = self.select(self.emit("above", [x, z], "bool", x.lanes), x, z)
        constant = z.constant is not None and z.constant == z.constant  # it is no NaN
        return kept if constant else self.select(self.equal(z, z), kept, z)

    def min(self, x: Value, z: Any) -> Value:
        """The smaller; NaN when either is."""
        x, z = self.fitted(x, z)
        kept = self.select(self.emit("above", [z, x], "bool", x.lanes), x, z)
        constant = z.constant is not None and z.constant == z.constant  # it is no NaN
        return kept if constant else self.select(self.equal(z, z), kept, z)

    def shift_left(self, x: Value, by: int) -> Value:
        """The bits moved up."""
        x, z = self.fitted(x, by)
        return self.emit("shl", [x, z], x.dtype, x.lanes)

    def shift_right(self, x: Value, by: int) -> Value:
        """The bits moved down; a signed integer keeps its sign."""
        x, z = self.fitted(x, by)
        return self.emit("shr", [x, z], x.dtype, x.lanes)

    def convert(self, x: Value, dtype: str) -> Value:
        """The number in another dtype."""
        return x if x.dtype == dtype else self.emit("convert", [x], dtype, x.lanes)

    def bitcast(self, x: Value, dtype: str) -> Value:
        """The bits as another dtype of the same size."""
        return x if x.dtype == dtype else self.emit("bitcast", [x], dtype, x.lanes)

    def multiply_wide(self, x: Value, constant: int) -> tuple[Value, Value]:
        """(high, low) 32 bits of the 64-bit product of a uint32 and a constant."""
        product = self.convert(x, "uint64") * constant
        high = self.convert(self.shift_right(product, 32), "uint32")
        return high, self.convert(product, "uint32")

    @abstractmethod
    def constant(self, value: Number, dtype: str) -> Value:
        """A scalar constant."""

    @abstractmethod
    def spread(self, x: Value, lanes: int) -> Value:
        """A scalar in every lane."""

    @abstractmethod
    def emit(self, what: str, parts: Sequence[Value], dtype: str, lanes: int) -> Value:
        """One arithmetic instruction."""

    @abstractmethod
    def fold(self, x: Value, body: Callable) -> Value:
        """All lanes of a vector combined pairwise by `body(k, a, b)`, in a fixed tree."""

    @abstractmethod
    def pick(self, x: Value, lane: int) -> Value:
        """One lane of a vector, as a scalar."""

    @abstractmethod
    def positions(self, first: Value) -> Value:
        """first, first + 1, ... over the lanes, int64."""

    @abstractmethod
    def pointer(self, name: str, offset: int) -> Value:
        """The buffer `name`, `offset` elements in."""

    @abstractmethod
    def advance(self, pointer: Value, index: Any, stride: int) -> Value:
        """`pointer` moved by index * stride elements."""

    @abstractmethod
    def load(self, pointer: Value, stride: int, lanes: int, active: int) -> Value:
        """`lanes` elements `stride` apart, of which the first `active` are read."""

    @abstractmethod
    def gather(self, pointer: Value, places: Value, active: int) -> Value:
        """For each lane the element `places` (int64) on from `pointer`; the first `active`."""

    @abstractmethod
    def store(self, pointer: Value, x: Value, active: int) -> None:
        """The first `active` lanes of `x` put at `pointer`."""

    @abstractmethod
    def prefetch(self, pointer: Value, written: bool) -> None:
        """Ask for the cache line at `pointer`, to be read or written soon."""

    @abstractmethod
    def scratch(self, dtype: str, count: int) -> Value:
        """A pointer to `count` elements of the kernel's own."""

    @abstractmethod
    def loop(
        self, start: Any, stop: Any, step: int, carried: Sequence[Value], body: Callable
    ) -> list[Value]:
        """`carried = body(i, *carried)` for i from start until before stop; the last ones."""

    @abstractmethod
    def repeat(self, carried: Sequence[Value], body: Callable) -> list[Value]:
        """`again, carried = body(*carried)`, once and then as long as `again` holds; the last."""

    @abstractmethod
    def when(self, condition: Value, body: Callable[[], None]) -> None:
        """`body()` if the scalar condition holds."""

    @abstractmethod
    def whole(self, what: str, x: Value, z: Any) -> Value:
        """Integer add, mul, div, rem, min, max or less on int64 scalars."""
