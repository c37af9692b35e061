"""`LlvmBuilder`: the kernel interface as LLVM text. No passes are needed afterwards: addresses
are hoisted as they are written, vectors are explicit. Read next: `text.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compile.kernel import Builder, Number, Value

TYPES = {
    "float32": "float",
    "float64": "double",
    "bool": "i1",
    "uint8": "i8",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "uint32": "i32",
    "int64": "i64",
    "uint64": "i64",
    "ptr": "ptr",
}
SIZES = {"bool": 1, "ptr": 8} | {n: np.dtype(n).itemsize for n in TYPES if n not in ("bool", "ptr")}
FLOAT = ("float32", "float64")
ATTRIBUTES = (
    'attributes #0 = { nounwind "min-legal-vector-width"="512" "prefer-vector-width"="512" }'
)
INTRINSICS = {"fma": "llvm.fma", "sqrt": "llvm.sqrt", "round": "llvm.rint"}


def type_of(dtype: str, lanes: int) -> str:
    """The LLVM type of a value."""
    return TYPES[dtype] if lanes == 1 else f"<{lanes} x {TYPES[dtype]}>"


def _in_memory(dtype: str) -> str:
    return "i8" if dtype == "bool" else TYPES[dtype]


class LlvmBuilder(Builder):
    """Writes the body of one function; `declared` collects the intrinsics it calls."""

    def __init__(self, lanes: int, slots: dict[str, tuple[int, int, str]]):
        super().__init__(lanes, slots)
        self.declared: set[str] = set()
        self.allocas: list[str] = []
        self.block = "entry"
        self.bases: dict[str, Value] = {}
        self.places: list[tuple[int, int]] = []  # of the bases: slot of the table, bytes from there

    def say(self, line: str) -> None:
        """One line of the function."""
        self.lines.append("  " + line)

    def set(self, text: str, dtype: str, lanes: int = 1) -> Value:
        """A fresh value defined by an instruction."""
        name = "%" + self.fresh()
        self.say(f"{name} = {text}")
        return Value(self, name, dtype, lanes)

    def label(self, name: str) -> None:
        """Start a basic block."""
        self.lines.append(f"{name}:")
        self.block = name

    def constant(self, value: Number, dtype: str) -> Value:
        return Value(self, _constant(value, dtype), dtype, 1, value)

    def spread(self, x: Value, lanes: int) -> Value:
        kind = TYPES[x.dtype]
        if x.constant is not None:
            text = "<" + ", ".join([f"{kind} {x.name}"] * lanes) + ">"
            return Value(self, text, x.dtype, lanes, x.constant)
        first = self.set(
            f"insertelement <{lanes} x {kind}> poison, {kind} {x.name}, i64 0", x.dtype, lanes
        )
        return self.set(
            f"shufflevector <{lanes} x {kind}> {first.name}, <{lanes} x {kind}> poison, "
            f"<{lanes} x i32> zeroinitializer",
            x.dtype,
            lanes,
        )

    def intrinsic(self, name: str, parts: Sequence[Value], dtype: str, lanes: int) -> Value:
        """A call of an LLVM intrinsic overloaded on its result."""
        kind = type_of(dtype, lanes)
        suffix = f"{'' if lanes == 1 else f'v{lanes}'}{'f32' if dtype == 'float32' else 'f64'}"
        args = ", ".join(f"{kind} {p.name}" for p in parts)
        self.declared.add(f"declare {kind} @{name}.{suffix}({', '.join([kind] * len(parts))})")
        return self.set(f"call {kind} @{name}.{suffix}({args})", dtype, lanes)

    def emit(self, what: str, parts: Sequence[Value], dtype: str, lanes: int) -> Value:
        x = parts[0]
        kind = type_of(x.dtype, lanes)
        if what in INTRINSICS:
            return self.intrinsic(INTRINSICS[what], parts, dtype, lanes)
        if what == "convert":
            return self._convert(x, dtype, lanes)
        if what == "bitcast":
            return self.set(f"bitcast {kind} {x.name} to {type_of(dtype, lanes)}", dtype, lanes)
        if what == "select":
            condition, x, z = parts
            kind = type_of(x.dtype, lanes)
            flags = type_of("bool", lanes)
            text = f"select {flags} {condition.name}, {kind} {x.name}, {kind} {z.name}"
            return self.set(text, dtype, lanes)
        if what == "neg":
            if x.dtype in FLOAT:
                return self.set(f"fneg {kind} {x.name}", dtype, lanes)
            return self.set(
                f"sub {kind} zeroinitializer, {x.name}" if lanes > 1 else f"sub {kind} 0, {x.name}",
                dtype,
                lanes,
            )
        return self.set(
            f"{_mnemonic(what, x.dtype)} {kind} {x.name}, {parts[1].name}", dtype, lanes
        )

    def _convert(self, x: Value, dtype: str, lanes: int) -> Value:
        kind = type_of(x.dtype, lanes)
        if dtype == "bool":
            zero = self.fitted(x, 0)[1]
            how = "fcmp une" if x.dtype in FLOAT else "icmp ne"
            return self.set(f"{how} {kind} {x.name}, {zero.name}", dtype, lanes)
        source, target = SIZES[x.dtype], SIZES[dtype]
        unsigned = x.dtype.startswith("u") or x.dtype == "bool"
        if x.dtype in FLOAT and dtype in FLOAT:
            how = "fpext" if target > source else "fptrunc"
        elif x.dtype in FLOAT:
            how = "fptoui" if dtype.startswith("u") else "fptosi"
        elif dtype in FLOAT:
            how = "uitofp" if unsigned else "sitofp"
        elif x.dtype == "bool" or target > source:
            how = "zext" if unsigned else "sext"
        else:
            how = "trunc" if target < source else "bitcast"
        return self.set(f"{how} {kind} {x.name} to {type_of(dtype, lanes)}", dtype, lanes)

    def fold(self, x: Value, body: Callable) -> Value:
        kind, width = TYPES[x.dtype], x.lanes
        while width > 1:
            half = width // 2
            parts = []
            for start in (0, half):
                mask = ", ".join(f"i32 {start + i}" for i in range(half))
                text = (
                    f"shufflevector <{width} x {kind}> {x.name}, <{width} x {kind}> poison, "
                    f"<{half} x i32> <{mask}>"
                )
                parts.append(self.set(text, x.dtype, half))
            if half == 1:
                parts = [
                    self.set(f"extractelement <1 x {kind}> {p.name}, i64 0", x.dtype) for p in parts
                ]
            x, width = body(self, *parts), half
        return x

    def pick(self, x: Value, lane: int) -> Value:
        kind = type_of(x.dtype, x.lanes)
        return self.set(f"extractelement {kind} {x.name}, i64 {lane}", x.dtype)

    def positions(self, first: Value) -> Value:
        steps = ", ".join(f"i64 {i}" for i in range(self.lanes))
        spread = self.spread(first, self.lanes)
        return self.set(f"add <{self.lanes} x i64> {spread.name}, <{steps}>", "int64", self.lanes)

    def pointer(self, name: str, offset: int) -> Value:
        slot, start, dtype = self.slots[name]
        found = self.bases.get(name)
        if found is None:
            found = Value(self, f"%base{len(self.places)}", "ptr", element=dtype)
            self.bases[name] = found
            self.places.append((slot, start))
        return self.advance(found, self.constant(offset, "int64"), 1) if offset else found

    def advance(self, pointer: Value, index: Any, stride: int) -> Value:
        dtype = pointer.element
        if stride == 0 or index == 0:
            return pointer
        if not isinstance(index, Value):
            index = self.constant(index, "int64")
        if stride != 1:
            index = (
                self.constant(index.constant * stride, "int64")
                if index.constant is not None
                else self.set(f"mul i64 {index.name}, {stride}", "int64")
            )
        text = f"getelementptr {_in_memory(dtype)}, ptr {pointer.name}, i64 {index.name}"
        return Value(self, self.set(text, "ptr").name, "ptr", element=dtype)

    def load(self, pointer: Value, stride: int, lanes: int, active: int) -> Value:
        dtype = pointer.element
        kind = _in_memory(dtype)
        if lanes == 1 or stride == 0:
            x = self.set(f"load {kind}, ptr {pointer.name}", dtype)
        elif stride == 1 and active == lanes:
            text = f"load <{lanes} x {kind}>, ptr {pointer.name}, align {SIZES[dtype]}"
            x = self.set(text, dtype, lanes)
        elif stride == 1:
            x = self._masked(pointer, kind, dtype, lanes, active)
        else:
            x = Value(self, f"<{', '.join([f'{kind} {_zero(kind)}'] * lanes)}>", dtype, lanes)
            for i in range(active):
                item = self.load(self.advance(pointer, i, stride), 1, 1, 1)
                raw = (
                    item.name
                    if dtype != "bool"
                    else self.set(f"zext i1 {item.name} to i8", "uint8").name
                )
                x = self.set(
                    f"insertelement <{lanes} x {kind}> {x.name}, {kind} {raw}, i64 {i}",
                    dtype,
                    lanes,
                )
        if dtype == "bool":
            shape = kind if x.lanes == 1 else f"<{x.lanes} x {kind}>"
            zero = "0" if x.lanes == 1 else "zeroinitializer"
            x = self.set(f"icmp ne {shape} {x.name}, {zero}", "bool", x.lanes)
        return x

    def _masked(self, pointer: Value, kind: str, dtype: str, lanes: int, active: int) -> Value:
        vector = f"<{lanes} x {kind}>"
        name = f"@llvm.masked.load.v{lanes}{_suffix(kind)}.p0"
        self.declared.add(f"declare {vector} {name}(ptr, i32, <{lanes} x i1>, {vector})")
        text = (
            f"call {vector} {name}(ptr {pointer.name}, i32 {SIZES[dtype]}, "
            f"<{lanes} x i1> {_mask(lanes, active)}, {vector} zeroinitializer)"
        )
        return self.set(text, dtype, lanes)

    def gather(self, pointer: Value, places: Value, active: int) -> Value:
        dtype, lanes = pointer.element, places.lanes
        kind = _in_memory(dtype)
        text = f"getelementptr {kind}, ptr {pointer.name}, <{lanes} x i64> {places.name}"
        where = self.set(text, "ptr", lanes)
        vector = f"<{lanes} x {kind}>"
        name = f"@llvm.masked.gather.v{lanes}{_suffix(kind)}.v{lanes}p0"
        self.declared.add(
            f"declare {vector} {name}(<{lanes} x ptr>, i32, <{lanes} x i1>, {vector})"
        )
        text = (
            f"call {vector} {name}(<{lanes} x ptr> {where.name}, i32 {SIZES[dtype]}, "
            f"<{lanes} x i1> {_mask(lanes, active)}, {vector} zeroinitializer)"
        )
        x = self.set(text, dtype, lanes)
        if dtype == "bool":
            x = self.set(f"icmp ne {vector} {x.name}, zeroinitializer", "bool", lanes)
        return x

    def store(self, pointer: Value, x: Value, active: int) -> None:
        kind = _in_memory(x.dtype)
        if x.dtype == "bool":
            wide = "i8" if x.lanes == 1 else f"<{x.lanes} x i8>"
            raw = self.set(f"zext {type_of('bool', x.lanes)} {x.name} to {wide}", "uint8", x.lanes)
            x = Value(self, raw.name, "uint8", x.lanes)
        shape = kind if x.lanes == 1 else f"<{x.lanes} x {kind}>"
        if active == x.lanes:
            self.say(f"store {shape} {x.name}, ptr {pointer.name}, align {SIZES[x.dtype]}")
            return
        name = f"@llvm.masked.store.v{x.lanes}{_suffix(kind)}.p0"
        self.declared.add(f"declare void {name}({shape}, ptr, i32, <{x.lanes} x i1>)")
        self.say(
            f"call void {name}({shape} {x.name}, ptr {pointer.name}, i32 {SIZES[x.dtype]}, "
            f"<{x.lanes} x i1> {_mask(x.lanes, active)})"
        )

    def prefetch(self, pointer: Value, written: bool) -> None:
        self.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        how = f"i32 {int(written)}, i32 3, i32 1"
        self.say(f"call void @llvm.prefetch.p0(ptr {pointer.name}, {how})")

    def scratch(self, dtype: str, count: int) -> Value:
        name = f"%{self.fresh()}"
        self.allocas.append(f"{name} = alloca {_in_memory(dtype)}, i64 {count}, align 64")
        return Value(self, name, "ptr", element=dtype)

    def loop(
        self, start: Any, stop: Any, step: int, carried: Sequence[Value], body: Callable
    ) -> list[Value]:
        first, last = [x.name if isinstance(x, Value) else str(x) for x in (start, stop)]
        at = self.fresh()
        before = self.block
        mark = len(self.lines)
        self.say(f"br label %{at}h")
        self.label(f"{at}h")
        slot = len(self.lines)
        index = Value(self, f"%{at}i", "int64")
        phis = [
            Value(self, f"%{at}c{n}", v.dtype, v.lanes, element=v.element)
            for n, v in enumerate(carried)
        ]
        self.say(f"%{at}t = icmp slt i64 {index.name}, {last}")
        self.say(f"br i1 %{at}t, label %{at}b, label %{at}x")
        self.label(f"{at}b")
        after = body(index, *phis) or []
        self.say(f"%{at}n = add i64 {index.name}, {step}")
        self.say(f"br label %{at}h")
        heads = [f"  {index.name} = phi i64 [ {first}, %{before} ], [ %{at}n, %{self.block} ]"]
        for phi, value, new in zip(phis, carried, after, strict=True):
            kind = type_of(value.dtype, value.lanes)
            ways = f"[ {value.name}, %{before} ], [ {new.name}, %{self.block} ]"
            heads.append(f"  {phi.name} = phi {kind} {ways}")
        assert mark < slot
        self.lines[slot:slot] = heads
        self.label(f"{at}x")
        return phis

    def repeat(self, carried: Sequence[Value], body: Callable) -> list[Value]:
        at, before = self.fresh(), self.block
        self.say(f"br label %{at}h")
        self.label(f"{at}h")
        slot = len(self.lines)
        phis = [Value(self, f"%{at}c{n}", v.dtype, v.lanes) for n, v in enumerate(carried)]
        again, after = body(*phis)
        self.say(f"br i1 {again.name}, label %{at}h, label %{at}x")
        self.lines[slot:slot] = [
            f"  {phi.name} = phi {type_of(phi.dtype, phi.lanes)} "
            f"[ {first.name}, %{before} ], [ {new.name}, %{self.block} ]"
            for phi, first, new in zip(phis, carried, after, strict=True)
        ]
        self.label(f"{at}x")
        return after

    def when(self, condition: Value, body: Callable[[], None]) -> None:
        at = self.fresh()
        self.say(f"br i1 {condition.name}, label %{at}y, label %{at}x")
        self.label(f"{at}y")
        body()
        self.say(f"br label %{at}x")
        self.label(f"{at}x")

    def whole(self, what: str, x: Value, z: Any) -> Value:
        z = z if isinstance(z, Value) else self.constant(z, "int64")
        if what in ("min", "max"):
            sign = "slt" if what == "min" else "sgt"
            test = self.set(f"icmp {sign} i64 {x.name}, {z.name}", "bool")
            return self.set(f"select i1 {test.name}, i64 {x.name}, i64 {z.name}", "int64")
        how = {"div": "udiv", "rem": "urem", "less": "icmp slt", "mul": "mul", "add": "add"}[what]
        return self.set(f"{how} i64 {x.name}, {z.name}", "bool" if what == "less" else "int64")

    def body(self) -> str:
        """The text around what was written of `void NAME(bases, lo, hi)`, that begins after the
        name: functions that do the same elsewhere have the same."""
        given = "".join(f"ptr %base{i}, " for i in range(len(self.places)))
        lines = "\n".join([*(f"  {line}" for line in self.allocas), *self.lines])
        return f"({given}i64 %lo, i64 %hi) #0 {{\nentry:\n{lines}\n  ret void\n}}"

    def function(self, name: str, body: str) -> str:
        """The text of `void name(table, lo, hi)`, which finds the bases and calls `body`."""
        lines = []
        for i, (slot, start) in enumerate(self.places):
            lines.append(f"  %slot{i} = getelementptr ptr, ptr %table, i64 {slot}")
            lines.append(f"  %held{i} = load ptr, ptr %slot{i}")
            lines.append(f"  %base{i} = getelementptr i8, ptr %held{i}, i64 {start}")
        given = "".join(f"ptr %base{i}, " for i in range(len(self.places)))
        lines.append(f"  call void @{body}({given}i64 %lo, i64 %hi)")
        found = "\n".join(lines)
        return (
            f"define internal void @{name}(ptr %table, i64 %lo, i64 %hi) #0 {{\n{found}\n"
            "  ret void\n}"
        )


def _mnemonic(what: str, dtype: str) -> str:
    floating, unsigned = dtype in FLOAT, dtype.startswith("u")
    if what in ("add", "sub", "mul"):
        return "f" + what if floating else what
    if what == "div":
        return "fdiv" if floating else "udiv" if unsigned else "sdiv"
    if what == "rem":
        return "frem" if floating else "urem" if unsigned else "srem"
    if what == "shr":
        return "lshr" if unsigned else "ashr"
    if what in ("xor", "shl"):
        return what
    sign = "u" if unsigned or dtype == "bool" else "s"
    return {
        "less": "fcmp olt" if floating else f"icmp {sign}lt",
        "above": "fcmp ugt" if floating else f"icmp {sign}gt",  # true with NaN on either side
        "equal": "fcmp oeq" if floating else "icmp eq",
    }[what]


def _constant(value: Number, dtype: str) -> str:
    if dtype in FLOAT:
        rounded = float(np.float32(value)) if dtype == "float32" else float(value)
        return "0x" + struct.pack(">d", rounded).hex().upper()
    return str(int(value))


def _zero(kind: str) -> str:
    return "0.0" if kind in ("float", "double") else "0"


def _mask(lanes: int, active: int) -> str:
    return "<" + ", ".join(f"i1 {'true' if i < active else 'false'}" for i in range(lanes)) + ">"


def _suffix(kind: str) -> str:
    return {"float": "f32", "double": "f64"}.get(kind, kind)
