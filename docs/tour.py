"""The whole idea in about 300 lines: formulas in, gradients out, all of it machine code.

Read it from top to bottom, or run it: `python docs/tour.py` prints what each step makes. It needs
NumPy and llvmlite, and nothing of chainrule: each heading names the files where the step grew up.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


# 1. An op knows everything about itself (core/op.py, ops/)
#
#    ref   its meaning, in NumPy
#    vjp   its derivative: from g = dL/dy, the share g dy/dx of each input
#    body  its machine code for one element; an op that copies or adds up has none


class Op:
    def __init__(self, name: str, ref: Any = None, vjp: Any = None, body: Any = None):
        self.name, self.ref, self.vjp, self.body = name, ref, vjp, body


add = Op(
    "add",
    ref=np.add,
    vjp=lambda g, y, x, z: (g, g),
    body=lambda k, x, z: k.let(f"fadd double {x}, {z}"),
)
multiply = Op(
    "multiply",
    ref=np.multiply,
    vjp=lambda g, y, x, z: (g * z, g * x),
    body=lambda k, x, z: k.let(f"fmul double {x}, {z}"),
)
divide = Op(
    "divide",
    ref=np.divide,
    vjp=lambda g, y, x, z: (g / z, -g * y / z),  # y is the quotient: it is there already
    body=lambda k, x, z: k.let(f"fdiv double {x}, {z}"),
)
exp = Op(
    "exp",
    ref=np.exp,
    vjp=lambda g, y, x: (g * y,),
    body=lambda k, x: k.let(f"call double @llvm.exp.f64(double {x})"),
)

# Two ops change the shape, and each is the derivative of the other: a number that was copied
# collects the gradients of its copies, and each term of a sum receives the gradient of the sum.
total_op = Op(
    "total",
    ref=lambda x, axis: np.sum(x, axis),
    vjp=lambda g, y, x, axis: (spread(g, axis, x.shape[axis]),),
)
spread_op = Op(
    "spread",
    ref=lambda x, axis, count: np.repeat(np.expand_dims(x, axis), count, axis),
    vjp=lambda g, y, x, axis, count: (total(g, axis),),
)
variable_op, constant_op = Op("variable"), Op("constant")


# 2. A node is an op applied to nodes (core/node.py, core/recording.py)
#
#    It never changes, and the same op of the same inputs is the same node: what is written
#    twice is computed once, also where a derivative happens to need it again.


class Node:
    known: dict[Any, Node] = {}
    op: Op
    inputs: tuple[Node, ...]
    shape: tuple[int, ...]
    attrs: dict[str, Any]

    def __new__(cls, op: Op, inputs: Sequence[Node], shape: tuple[int, ...], **attrs: Any) -> Node:
        key = (op, tuple(inputs), shape, tuple(attrs.items()))
        if key not in cls.known:
            node = cls.known[key] = super().__new__(cls)
            node.op, node.inputs, node.shape, node.attrs = op, tuple(inputs), shape, attrs
        return cls.known[key]

    def __add__(self, other: Any) -> Node:
        return elementwise(add, self, other)

    def __mul__(self, other: Any) -> Node:
        return elementwise(multiply, self, other)

    def __truediv__(self, other: Any) -> Node:
        return elementwise(divide, self, other)

    def __neg__(self) -> Node:
        return self * -1.0

    def __sub__(self, other: Any) -> Node:
        return self + -lift(other, self.shape)


def lift(x: Any, shape: tuple[int, ...]) -> Node:
    """A number becomes a constant node."""
    return x if isinstance(x, Node) else Node(constant_op, (), shape, value=float(x))


def elementwise(op: Op, *given: Any) -> Node:
    shape = next(x.shape for x in given if isinstance(x, Node))
    inputs = [lift(x, shape) for x in given]
    assert all(x.shape == shape for x in inputs), [x.shape for x in inputs]
    one = lift(1, shape)
    if op is multiply and one in inputs:
        return inputs[inputs[0] is one]  # 1 x -> x, our only rewrite
    return Node(op, inputs, shape)


def total(x: Node, axis: int) -> Node:
    return Node(total_op, [x], x.shape[:axis] + x.shape[axis + 1 :], axis=axis)


def spread(x: Node, axis: int, count: int) -> Node:
    shape = x.shape[:axis] + (count,) + x.shape[axis:]
    if x.op is constant_op:
        return lift(x.attrs["value"], shape)
    return Node(spread_op, [x], shape, axis=axis, count=count)


def tanh(x: Node) -> Node:
    """(e - 1) / (e + 1) with e = exp(2x); it needs no derivative, its parts have theirs."""
    e = elementwise(exp, x * 2.0)
    return (e - 1.0) / (e + 1.0)


def matmul(x: Node, w: Node) -> Node:
    """Also no op: every product x[n, i] w[i, o], added up over i. See what becomes of it in 5."""
    n, o = x.shape[0], w.shape[1]
    return total(spread(x, 2, o) * spread(w, 0, n), 1)


def topological(outputs: Sequence[Node]) -> list[Node]:
    """Everything that `outputs` need, inputs before users; no recursion, so depth is no limit."""
    order: dict[Node, None] = {}
    stack = list(outputs)
    while stack:
        node = stack[-1]
        waiting = [x for x in node.inputs if x not in order]
        stack.extend(waiting)
        if not waiting:
            order[stack.pop()] = None
    return list(order)


def show(*outputs: Node) -> None:
    names: dict[Node, str] = {}
    for node in topological(outputs):
        if node.op in (variable_op, constant_op):
            names[node] = str(next(iter(node.attrs.values())))
            continue
        names[node] = f"v{sum(name.startswith('v') for name in names.values())}"
        attrs = [f"{key}={value}" for key, value in node.attrs.items()]
        call = f"{node.op.name}({', '.join([names[x] for x in node.inputs] + attrs)})"
        print(f"  {names[node]:>4} = {call:34} {list(node.shape)}")
    print(f"  give {', '.join(names[node] for node in outputs)}")


# 3. First reading: run it (Graph.run in core/graph.py)


def run(outputs: Sequence[Node], values: dict[Node, np.ndarray]) -> list[np.ndarray]:
    found = dict(values)
    for node in topological(outputs):
        if node.op is constant_op:
            found[node] = np.full(node.shape, node.attrs["value"])
        elif node not in found:
            found[node] = node.op.ref(*[found[x] for x in node.inputs], **node.attrs)
    return [found[node] for node in outputs]


# 4. Second reading: differentiate it (grad/reverse.py)
#
#    From the loss backwards, each node hands its cotangent on to its inputs; a node that was
#    used twice adds up. What comes out are nodes again: run them, or differentiate them.


def gradient(loss: Node, wrt: Sequence[Node]) -> list[Node]:
    cotangent = {loss: lift(1.0, loss.shape)}
    for node in reversed(topological([loss])):
        if node in cotangent and node.inputs:
            shares = node.op.vjp(cotangent[node], node, *node.inputs, **node.attrs)
            for x, share in zip(node.inputs, shares):
                cotangent[x] = cotangent[x] + share if x in cotangent else share
    return [cotangent[x] for x in wrt]


# 5. Third reading: compile it (compile/fuse.py, compile/kernel.py, compile/llvm.py)
#
#    Only some nodes get memory: variables, sums, results, and what is spread (or it would be
#    computed once per copy). All between is fused: computed where it is used, in a register.


def stored_nodes(inputs: Sequence[Node], outputs: Sequence[Node]) -> list[Node]:
    order = topological(outputs)
    spreads = {x for node in order if node.op is spread_op for x in node.inputs}
    kept = [n for n in order if n.op is total_op or n in spreads or n in outputs]
    return list(dict.fromkeys([*inputs, *kept]))


class Writer:
    """Writes LLVM text: one function, a loop nest for each stored node."""

    def __init__(self, stored: Sequence[Node]):
        self.buffers = {node: f"%b{i}" for i, node in enumerate(stored)}
        self.lines: list[str] = []
        self.block, self.count = "entry", 0
        self.made: dict[Any, str] = {}

    def let(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}")
        return f"%v{self.count}"

    def loop(self, extent: int, body: Callable[[str, str], str | None], start: str = "") -> str:
        """for i in range(extent): carried = body(i, carried); the last one carried."""
        self.count += 1
        q, before = self.count, self.block
        self.lines += [f"  br label %loop{q}", f"loop{q}:"]
        self.block, top = f"loop{q}", len(self.lines)
        carried = body(f"%i{q}", f"%c{q}")
        ends = f"[ {start}, %{before} ], [ {carried}, %{self.block} ]"
        self.lines[top:top] = [f"  %c{q} = phi double {ends}"] * bool(start)
        self.lines[top:top] = [f"  %i{q} = phi i64 [ 0, %{before} ], [ %n{q}, %{self.block} ]"]
        self.lines += [f"  %n{q} = add i64 %i{q}, 1", f"  %d{q} = icmp eq i64 %n{q}, {extent}"]
        self.lines += [f"  br i1 %d{q}, label %after{q}, label %loop{q}", f"after{q}:"]
        self.block = f"after{q}"
        return carried or ""

    def address(self, node: Node, index: tuple[str, ...]) -> str:
        """Row by row: ((i * rows) + j) * columns + q."""
        place = "0"
        for i, extent in zip(index, node.shape):
            place = self.let(f"mul i64 {place}, {extent}") if place != "0" else place
            place = self.let(f"add i64 {place}, {i}") if place != "0" else i
        return self.let(f"getelementptr double, ptr {self.buffers[node]}, i64 {place}")

    def element(self, node: Node, index: tuple[str, ...]) -> str:
        """The element of `node` at `index`: from memory, or computed here."""
        if (node, index) not in self.made:
            if node in self.buffers:
                found = self.let(f"load double, ptr {self.address(node, index)}")
            else:
                found = self.computed(node, index)
            self.made[node, index] = found
        return self.made[node, index]

    def computed(self, node: Node, index: tuple[str, ...]) -> str:
        if node.op is constant_op:
            return f"0x{np.float64(node.attrs['value']).view(np.uint64):016x}"
        if node.op.body:
            return node.op.body(self, *[self.element(x, index) for x in node.inputs])
        (x,), axis = node.inputs, node.attrs["axis"]
        if node.op is spread_op:
            return self.element(x, index[:axis] + index[axis + 1 :])
        return self.loop(
            x.shape[axis],
            lambda i, sum: add.body(self, sum, self.element(x, (*index[:axis], i, *index[axis:]))),
            start="0.0",
        )

    def kernel(self, node: Node, index: tuple[str, ...] = ()) -> None:
        """for i: for j: ...: buffer[i, j, ...] = element"""
        if len(index) < len(node.shape):
            self.loop(node.shape[len(index)], lambda i, _: self.kernel(node, (*index, i)))
        else:
            y = self.computed(node, index)
            self.lines.append(f"  store double {y}, ptr {self.address(node, index)}")
            self.made.clear()

    def text(self) -> str:
        arguments = ", ".join(f"ptr {name}" for name in self.buffers.values())
        head = ["declare double @llvm.exp.f64(double)", f"define void @tour({arguments}) {{"]
        return "\n".join([*head, "entry:", *self.lines, "  ret void", "}"])


# 6. Text becomes a function (compile/runtime.py, compile/program.py)


class Program:
    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node]):
        stored = stored_nodes(inputs, outputs)
        writer = Writer(stored)
        for node in stored[len(inputs) :]:
            writer.kernel(node)
        self.inputs, self.outputs, self.text = inputs, outputs, writer.text()
        self.memory = {node: np.empty(node.shape) for node in stored}
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(opt=3)
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(self.text), machine)
        self.engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(stored))
        self.function = kind(self.engine.get_function_address("tour"))
        self.pointers = [array.ctypes.data for array in self.memory.values()]

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        for node, array in zip(self.inputs, arrays):
            self.memory[node][...] = array
        self.function(*self.pointers)
        return [self.memory[node] for node in self.outputs]


# The steps at work.


def variable(name: str, *shape: int) -> Node:
    return Node(variable_op, (), shape, name=name)


def small_steps() -> None:
    x = variable("x", 1000)
    heading("1 and 2. An expression becomes a graph: x * x + tanh(x * x)")
    y = x * x + tanh(x * x)
    show(y)
    assert x * x is x * x, "x * x is written twice and is one node"

    heading("3 and 4. Its derivative is a graph too, v0 to v5 are the same nodes")
    (slope,) = gradient(total(y, 0), [x])
    (curvature,) = gradient(total(slope, 0), [x])
    show(slope)
    more = len(topological([slope, curvature])) - len(topological([slope]))
    at_half = run([slope, curvature], {x: np.full(1000, 0.5)})
    print(f"  at 0.5 it is {at_half[0][0]:.6f}; the second one, of {more} more nodes,", end=" ")
    print(f"is {at_half[1][0]:.6f}")

    heading("5. A chain of elementwise ops is fused into one loop, with no array in between")
    program = Program([x], [y])
    print(program.text)

    heading("6. It runs natively")
    points = np.linspace(-2, 2, 1000)
    ours, numpys = program(points)[0], run([y], {x: points})[0]
    print(f"  largest difference from NumPy: {np.max(np.abs(ours - numpys)):.1e}")
    assert np.allclose(ours, numpys, rtol=1e-14)


def train_xor() -> np.ndarray:
    heading("7. A network learns exclusive or; each step is one native call")
    hidden = 4
    x, y = variable("x", 4, 2), variable("y", 4, 1)
    w1, b1 = variable("w1", 2, hidden), variable("b1", hidden)
    w2, b2 = variable("w2", hidden, 1), variable("b2", 1)
    params = [w1, b1, w2, b2]
    h = tanh(matmul(x, w1) + spread(b1, 0, 4))
    o = tanh(matmul(h, w2) + spread(b2, 0, 4))
    loss = total(total((o - y) * (o - y), 1), 0)
    grads = gradient(loss, params)
    step = Program([x, y, *params], [p - g * 0.1 for p, g in zip(params, grads)] + [loss, o])
    print(f"  {len(topological(step.outputs))} nodes, {len(step.memory)} of them in memory, and no")
    print("  matmul keeps its products: each became a nest of loops that multiply and add")
    assert all(len(node.shape) < 3 for node in step.memory)

    rng = np.random.default_rng(0)
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    labels = np.array([[0], [1], [1], [0.0]])
    values = [inputs, labels, *[rng.normal(size=p.shape) for p in params]]
    check(loss, [x, y, *params], values, grads)
    start = time.perf_counter()
    for i in range(1001):
        *values[2:], error, answers = [array.copy() for array in step(*values)]
        if i % 250 == 0:
            print(f"  step {i:4}  loss {error:.6f}")
    print(f"  {(time.perf_counter() - start) * 1e3:.0f} ms for 1001 steps")
    for (a, b), answer in zip(inputs, answers[:, 0]):
        print(f"  {a:.0f} xor {b:.0f} = {answer:+.3f}")
    return answers


def check(loss: Node, inputs: list[Node], values: list[np.ndarray], grads: list[Node]) -> None:
    """Every gradient against (L(w + h) - L(w - h)) / 2h, element by element."""
    worst, h, known = 0.0, 1e-6, dict(zip(inputs, values))
    native = Program(inputs, grads)(*values)
    for node, found in zip(inputs[2:], native):
        for place in np.ndindex(node.shape):
            sides = []
            for sign in (1, -1):
                moved = known[node].copy()
                moved[place] += sign * h
                sides.append(run([loss], {**known, node: moved})[0])
            worst = max(worst, abs(found[place] - (sides[0] - sides[1]) / (2 * h)))
    print(f"  largest difference of a native gradient from central differences: {worst:.1e}")
    assert worst < 1e-8


if __name__ == "__main__":
    print(__doc__)
    small_steps()
    train_xor()
