"""A graph: some inputs, some outputs, the nodes between; it prints as Python that reads back.

Read next: `recording.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.dtypes import as_dtype
from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.node import Node, Origin, topological
from chainrule.core.op import OPS
from chainrule.core.recording import Recording, input_op


class Graph:
    """What a function computes: `outputs` from `inputs`. Immutable; passes make new ones."""

    def __init__(
        self,
        inputs: Sequence[Node],
        outputs: Sequence[Node],
        origins: dict[Node, Origin] | None = None,
    ):
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.origins = origins if origins is not None else {}

    @property
    def order(self) -> list[Node]:
        """The nodes the outputs need, inputs before users."""
        return topological(self.outputs)

    def run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs for `arrays`, by each op's `ref`, values dropped after their last use."""
        order = self.order
        last = {source: i for i, node in enumerate(order) for source in node.inputs}
        keep = set(self.outputs)
        found: dict[Node, np.ndarray] = dict(zip(self.inputs, arrays, strict=True))
        for i, node in enumerate(order):
            if node.op is not input_op:
                found[node] = node.op.ref(*[found[n] for n in node.inputs], **node.attrs)
            for source in set(node.inputs):
                if last[source] == i and source not in keep:
                    del found[source]
        return [found[node] for node in self.outputs]

    def __str__(self) -> str:
        names = {node: f"x{i}" for i, node in enumerate(self.inputs)}
        head = ", ".join(f"{names[n]}: {_type(n)!r}" for n in self.inputs)
        rows = [(f"def graph({head}):", "")]
        for node in self.order:
            if node in names:
                continue
            if node.op is input_op:
                raise ArgumentError(f"a leaf of the graph is not among its inputs: {node}")
            names[node] = f"v{len(names) - len(self.inputs)}"
            attrs = [f"{key}={_attr(value)}" for key, value in node.attrs.items()]
            call = f"{node.op.name}({', '.join([names[n] for n in node.inputs] + attrs)})"
            note = f"  # {_type(node)}  {self.origins.get(node, '')}".rstrip()
            rows.append((f"    {names[node]} = {call}", note))
        rows.append((f"    return ({''.join(names[n] + ', ' for n in self.outputs)})", ""))
        width = min(60, max(len(code) for code, _ in rows))
        return "\n".join(f"{code:<{width}}{note}" if note else code for code, note in rows)


def _type(node: Node) -> str:
    return f"{node.dtype.name}[{','.join(map(str, node.shape))}]"


def _attr(value: Any) -> str:
    return repr(value.name) if isinstance(value, np.dtype) else repr(value)


def parse(text: str) -> Graph:
    """The graph that `str(graph)` printed; ArgumentError says which line is not one."""
    try:
        function = ast.parse(text).body[0]
    except (SyntaxError, IndexError) as error:
        raise ArgumentError(f"not a printed graph: {error}") from None
    if not isinstance(function, ast.FunctionDef):
        raise ArgumentError("not a printed graph: it starts with 'def graph('")
    from chainrule.core.tensor import Tensor

    with Recording(concrete=False) as recording:
        names: dict[str, Tensor] = {}
        for argument in function.args.args:
            names[argument.arg] = recording.input(Tensor(_blank(argument)))
        inputs = list(names.values())
        for line in function.body[:-1]:
            name, tensor = _statement(line, names, recording)
            names[name] = tensor
        final = function.body[-1]
        if not isinstance(final, ast.Return) or not isinstance(final.value, ast.Tuple):
            raise ArgumentError("not a printed graph: it ends with 'return (...)'")
        outputs = [_defined(part, names) for part in final.value.elts]
    first, last = [[recording.node_of(t) for t in group] for group in (inputs, outputs)]
    return Graph(first, last, recording.origins)


def _blank(argument: ast.arg) -> np.ndarray:
    """An array without memory, of the shape and dtype that the argument is annotated with."""
    found = re.fullmatch(r"'(\w+)\[([\d,]*)\]'", ast.unparse(argument.annotation or argument))
    if found is None:
        raise ArgumentError(f"an input is written x0: 'float32[2,3]', got {ast.unparse(argument)}")
    extents = tuple(int(n) for n in found[2].split(",") if n)
    return np.broadcast_to(np.zeros((), as_dtype(found[1])), extents)


def _defined(part: ast.expr, names: dict[str, Any]) -> Any:
    name = ast.unparse(part)
    if name not in names:
        raise ArgumentError(f"no earlier line of the printed graph defines {name}")
    return names[name]


def _value(part: ast.expr) -> Any:
    try:
        return ast.literal_eval(_Infinite().visit(part))
    except ValueError:
        raise ArgumentError(
            f"an attribute is written as a value, got {ast.unparse(part)}"
        ) from None


def _statement(line: ast.stmt, names: dict[str, Any], recording: Recording) -> tuple[str, Any]:
    call = line.value if isinstance(line, ast.Assign) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ArgumentError(f"not a line of a printed graph: {ast.unparse(line)}")
    if call.func.id not in OPS:
        raise UnknownNameError("op", call.func.id, OPS)
    inputs = [_defined(part, names) for part in call.args]
    attrs = {word.arg: _value(word.value) for word in call.keywords}
    tensor = recording.apply(OPS[call.func.id], inputs, attrs)  # type: ignore[arg-type]
    return line.targets[0].id, tensor  # type: ignore[attr-defined]


class _Infinite(ast.NodeTransformer):
    """The names inf and nan, as Python prints such floats, as constants."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node
