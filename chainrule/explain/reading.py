r"""From a recorded node to the term that a page writes for it.

What a node means in writing is the `tex` of its op; sums, products and quotients are taken apart
into terms, elements that are only repeated are passed over, and a contraction that is a matrix
product is written as one. Read next: `writing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chainrule.core.node import Node
from chainrule.explain.formula import (
    MINUS,
    ZERO,
    Apply,
    N,
    Number,
    Product,
    Symbol,
    Term,
    factored,
    number_of,
    product,
    total,
)
from chainrule.ops.linear import letters

LESS = "#1 < #2"


class Reader:
    """Reads nodes as terms; `names` says which of them are letters, where reading stops."""

    def __init__(self, names: Mapping[Node, Symbol]):
        self.names = names
        self.found: dict[Node, Term] = {}

    def __call__(self, node: Node, inside: bool = False) -> Term:
        """The term of `node`; its own letter is passed over when its `inside` is asked for."""
        if node in self.names and not inside:
            return self.names[node]
        if inside or node not in self.found:
            self.found[node] = self._read(node)
        return self.found[node]

    def _read(self, node: Node) -> Term:
        special = READ.get(node.op.name)
        if special is None and node.op.kind in ("movement", "leaf"):
            special = _moved if node.inputs else _leaf
        if special is not None:
            return special(self, node)
        if not node.inputs:
            return Apply(node.op.tex or rf"\mathrm{{{node.op.name}}}")
        if node.op.tex == "#1":
            return self(node.inputs[0])
        if node.op.kind == "control":
            given = ", ".join(f"#{i}" for i in range(1, len(node.inputs) + 1))
            return Apply(rf"\mathrm{{{node.op.name}}}({given})", tuple(map(self, node.inputs)))
        return Apply(node.op.tex, tuple(self(source) for source in node.inputs))


def _leaf(read: Reader, node: Node) -> Term:
    return Apply("k" if node.op.name == "arange" else rf"\mathrm{{{node.op.name}}}")


def is_seen_through(node: Node) -> bool:
    """Whether a page writes what `node` reads: it casts or repeats, and no more."""
    if not node.inputs or node.op.name in ("slice", "part", "cast"):
        return False
    if node.op.name == "reshape":
        shapes = [[n for n in each.shape if n != 1] for each in (node, node.inputs[0])]
        return shapes[0] == shapes[1]
    return node.op.tex == "#1"


def _moved(read: Reader, node: Node) -> Term:
    source = read(node.inputs[0])
    if node.op.name == "transpose" and node.inputs[0] not in read.names and _turns_back(node):
        return read(node.inputs[0].inputs[0])
    if node.op.name == "slice":
        starts, stops = node.attrs["start"], node.attrs["stop"]
        return _part("#1", zip(starts, stops, strict=True), node.inputs[0].shape, source)
    if node.op.name == "pad":
        rows = zip(node.attrs["low"], node.attrs["high"], node.shape, strict=True)
        placed = ((low, n - high) for low, high, n in rows)
        number, rest = factored(source)
        padded = _part(node.op.tex.replace("(#1)", ""), placed, node.shape, rest)
        return product(Product(number), padded)
    if is_seen_through(node):
        return source
    if node.op.tex == "#1":
        return _scaled(rf"\mathrm{{{node.op.name}}}(#1)", source)
    others = tuple(read(other) for other in node.inputs[1:])
    return Apply(node.op.tex, (source, *others)) if others else _scaled(node.op.tex, source)


def _turns_back(node: Node) -> bool:
    """Whether a transpose undoes the one that it reads."""
    inner = node.inputs[0]
    if inner.op.name != "transpose":
        return False
    axes = [inner.attrs["axes"][i] for i in node.attrs["axes"]]
    return axes == sorted(axes)


def _part(head: str, ends: Iterable[tuple[int, int]], shape: Sequence[int], source: Term) -> Term:
    """Where the elements come from, or go to, on the axes that are not taken whole."""
    cuts = [f"{a}:{b}" for (a, b), n in zip(ends, shape, strict=True) if (a, b) != (0, n)]
    if not cuts:
        return source
    tail = "" if head == "#1" else "(#1)"
    return Apply(rf"{head}_{{{', '.join(cuts)}}}{tail}", (source,))


def _scaled(template: str, source: Term) -> Term:
    """A linear op of a term: the number goes in front."""
    number, rest = factored(source)
    return product(Product(number), Apply(template, (rest,)))


def _literal(read: Reader, node: Node) -> Term:
    return Product(number_of(node.attrs["value"]))


def _cast(read: Reader, node: Node) -> Term:
    source = read(node.inputs[0])
    return Apply("[#1]", (source,)) if node.inputs[0].dtype.kind == "b" else source


def _where(read: Reader, node: Node) -> Term:
    """Both choices, each times 1 where it is taken and 0 elsewhere; 1, -1 and 0 are a sign."""
    condition, yes, no = (read(source) for source in node.inputs)
    if isinstance(condition, Apply) and condition.template == LESS:
        zero, x = condition.parts
        below = product(Product(MINUS), Apply("[#1]", (Apply(LESS, (x, zero)),)))
        if (zero, yes, no) == (Product(ZERO), Product(), below):
            return Apply(r"\mathrm{sign}(#1)", (x,))
    left = Apply("[#1]", (Apply(r"\neg #1", (condition,)),))
    return total(product(yes, Apply("[#1]", (condition,))), product(no, left))


def _reduced(read: Reader, node: Node) -> Term:
    source, axes = node.inputs[0], node.attrs["axis"]
    whole = len(axes) == len(source.shape)
    below = "" if whole else "_{" + ",".join(axis_letter(source.shape, i) for i in axes) + "}"
    template = node.op.tex.replace(" #1", rf"{below} \, #1")
    return (_scaled if node.op.linear else _plain)(template, read(source))


def _plain(template: str, source: Term) -> Term:
    return Apply(template, (source,))


def axis_letter(shape: Sequence[int], axis: int) -> str:
    """n for examples, t for steps before them, k for the last axis, i, j, ... between."""
    if shape[axis] == N:
        return "n"
    if axis == 0 and N in shape[1:]:
        return "t"
    return "k" if axis == len(shape) - 1 else "hijpq"[min(axis, 4)]


def _contract(read: Reader, node: Node) -> Term:
    part = letters(node.attrs["spec"])
    matrices = not part.batch and part.out == part.rows + part.columns
    if matrices and len(part.summed) == len(part.columns) == 1:
        left = _orientation(part.a, part.rows, part.summed)
        right = _orientation(part.b, part.summed, part.columns)
        if left and right:
            terms = [factored(read(source)) for source in node.inputs]
            return _applied(rf"{left} \, {right.replace('#1', '#2')}", terms)
    renamed = _renamed(node, part)
    words, terms = [], []
    for word, source in zip((part.a, part.b), node.inputs, strict=True):
        while source not in read.names and source.op.name == "transpose":
            word = "".join(word[source.attrs["axes"].index(i)] for i in range(len(word)))
            source = source.inputs[0]
        words.append("".join(renamed[q] for q in word))
        terms.append(factored(read(source)))
    summed, out = ([renamed[q] for q in word] for word in (part.summed, part.out))
    head = rf"\sum_{{{','.join(summed)}}} " if summed else ""
    template = rf"{head}#1_{{{words[0]}}} \, #2_{{{words[1]}}}"
    free = [q for q in dict.fromkeys(words[0] + words[1]) if q not in summed]
    ordered = rf"\left[{template}\right]_{{{''.join(out)}}}"
    return _applied(template if free == out else ordered, terms)


def _applied(template: str, terms: Sequence[tuple[Number, Term]]) -> Term:
    (first, a), (second, b) = terms
    return product(Product(first.times(second)), Apply(template, (a, b)))


def _renamed(node: Node, part: Any) -> dict[str, str]:
    """The letters of a contraction as a page has them: n for examples, t for steps before them."""
    found = {q: q for q in part.a + part.b}
    for word, source in zip((part.a, part.b), node.inputs, strict=True):
        found |= {q: "n" for q, n in zip(word, source.shape, strict=True) if n == N}
    if "n" in found.values() and "t" not in found and "a" in found and found["a"] == "a":
        found["a"] = "t"
    return found


def _orientation(word: str, first: str, second: str) -> str:
    if word == first + second:
        return "#1"
    return r"#1^{\top}" if word == second + first and len(word) == 2 else ""


READ: dict[str, Callable[[Reader, Node], Term]] = {
    "literal": _literal,
    "add": lambda read, n: total(*map(read, n.inputs)),
    "subtract": lambda read, n: total(
        read(n.inputs[0]), product(Product(MINUS), read(n.inputs[1]))
    ),
    "negative": lambda read, n: product(Product(MINUS), read(n.inputs[0])),
    "multiply": lambda read, n: product(*map(read, n.inputs)),
    "divide": lambda read, n: product(read(n.inputs[0]), over=[read(n.inputs[1])]),
    "where": _where,
    "cast": _cast,
    "sum": _reduced,
    "max": _reduced,
    "contract": _contract,
}
