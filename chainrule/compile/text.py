"""`TextBuilder`: the kernel interface as lines to read. Read next: `axes.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.compile.kernel import Builder, Number, Value


class TextBuilder(Builder):
    """A kernel as lines to read: names, loops by indentation, one instruction a line."""

    SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "rem": "%", "xor": "^", "less": "<"}

    depth = 1

    def say(self, line: str) -> None:
        """One line at the current depth."""
        self.lines.append("  " * self.depth + line)

    def named(self, text: str, dtype: str, lanes: int) -> Value:
        """A fresh name for `text`."""
        name = self.fresh()
        self.say(f"{name} = {text}")
        return Value(self, name, dtype, lanes)

    def constant(self, value: Number, dtype: str) -> Value:
        return Value(
            self, f"{value:.9g}" if isinstance(value, float) else str(value), dtype, 1, value
        )

    def spread(self, x: Value, lanes: int) -> Value:
        return Value(self, x.name, x.dtype, lanes, x.constant)

    def emit(self, what: str, parts: Sequence[Value], dtype: str, lanes: int) -> Value:
        names = [part.name for part in parts]
        if what in self.SIGNS:
            return self.named(f" {self.SIGNS[what]} ".join(names), dtype, lanes)
        extra = [dtype] if what in ("convert", "bitcast") else []
        return self.named(f"{what}({', '.join(names + extra)})", dtype, lanes)

    def fold(self, x: Value, body: Callable) -> Value:
        return self.named(f"fold({x.name})", x.dtype, 1)

    def pick(self, x: Value, lane: int) -> Value:
        return Value(self, f"{x.name}[{lane}]", x.dtype)

    def positions(self, first: Value) -> Value:
        return self.named(f"positions({first.name})", "int64", self.lanes)

    def pointer(self, name: str, offset: int) -> Value:
        text = f"{name}+{offset}" if offset else name
        return Value(self, text, "ptr", element=self.slots[name][2])

    def advance(self, pointer: Value, index: Any, stride: int) -> Value:
        if stride == 0:
            return pointer
        where = index.name if isinstance(index, Value) else str(index)
        text = f"{pointer.name}+{where}" + (f"*{stride}" if stride != 1 else "")
        return Value(self, text, "ptr", element=pointer.element)

    def load(self, pointer: Value, stride: int, lanes: int, active: int) -> Value:
        extra = [f"stride {stride}"] * (lanes > 1 and stride != 1)
        extra += [f"first {active}"] * (active < lanes)
        wide = lanes if stride else 1
        return self.named(f"load({', '.join([pointer.name, *extra])})", pointer.element, wide)

    def gather(self, pointer: Value, places: Value, active: int) -> Value:
        extra = [f"first {active}"] * (active < places.lanes)
        text = f"gather({', '.join([pointer.name, places.name, *extra])})"
        return self.named(text, pointer.element, places.lanes)

    def store(self, pointer: Value, x: Value, active: int) -> None:
        extra = f", first {active}" if active < x.lanes else ""
        self.say(f"store({pointer.name}, {x.name}{extra})")

    def prefetch(self, pointer: Value, written: bool) -> None:
        self.say(f"prefetch({pointer.name})")

    def scratch(self, dtype: str, count: int) -> Value:
        return Value(self, f"scratch[{count}]", "ptr", element=dtype)

    def loop(
        self, start: Any, stop: Any, step: int, carried: Sequence[Value], body: Callable
    ) -> list[Value]:
        index = Value(self, f"i{self.count}", "int64")
        first, last = [getattr(x, "name", str(x)) for x in (start, stop)]
        self.count += 1
        kept = [
            Value(self, f"s{self.count}_{n}", x.dtype, x.lanes, element=x.element)
            for n, x in enumerate(carried)
        ]
        for name, x in zip(kept, carried, strict=True):
            self.say(f"{name.name} = {x.name}")
        self.say(f"for {index.name} in {first}:{last}:{step}")
        self.depth += 1
        for name, x in zip(kept, body(index, *kept) or [], strict=True):
            self.say(f"{name.name} = {x.name}")
        self.depth -= 1
        return kept

    def repeat(self, carried: Sequence[Value], body: Callable) -> list[Value]:
        kept = [Value(self, self.fresh(), x.dtype, x.lanes) for x in carried]
        for name, x in zip(kept, carried, strict=True):
            self.say(f"{name.name} = {x.name}")
        self.say("repeat")
        self.depth += 1
        again, after = body(*kept)
        for name, x in zip(kept, after, strict=True):
            self.say(f"{name.name} = {x.name}")
        self.depth -= 1
        self.say(f"while {again.name}")
        return kept

    def when(self, condition: Value, body: Callable[[], None]) -> None:
        self.say(f"if {condition.name}")
        self.depth += 1
        body()
        self.depth -= 1

    def whole(self, what: str, x: Value, z: Any) -> Value:
        other = z.name if isinstance(z, Value) else str(z)
        return Value(self, f"{what}({x.name}, {other})", "bool" if what == "less" else "int64")
