r"""`check_derivation`: a student's expression for a gradient is right, or its mistake is named.

The expression is worked out at random points and compared with the engine. Where it is wrong,
mistakes are tried one by one: a constant factor (a ratio that is the same at all points, and a
power of N), a way to the loss that is forgotten (the gradient without it), and changes of one part
of the expression. What is named holds at fresh points too. Read next: `chainrule/cli/explain.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from chainrule.data.batches import check_whole
from chainrule.explain.edits import Edit, Place, edits, get, places, put
from chainrule.explain.expression import NotDefined, evaluate, parsed
from chainrule.explain.formula import MINUS, ONE, Number, Product
from chainrule.explain.latex import words
from chainrule.explain.points import Point, Problem, Slope
from chainrule.explain.verdict import Verdict
from chainrule.explain.writing import latex, symbol

BATCHES = (5, 7)  # two sizes, so that N is told from a number
CLOSE = 1e-6
CONSTANTS = 60  # the largest numerator or denominator of a factor that is named


def check_derivation(
    model: Any,
    param: str,
    expression: str,
    loss: Any = None,
    x_shape: Any = None,
    lang: str = "auto",
    seed: int = 0,
) -> Verdict:
    """Whether `expression` is the gradient of the loss in the parameter at the path `param`.

    The expression is Python's with NumPy's names and the letters of `derivation(model)`: x, y, N,
    W1, b1, z1, h1, o, and delta1, delta_h1, delta_o for the derivatives of the loss in z1, h1, o
    (Y for labels as rows of 0 and 1). `loss` and `x_shape` are as for `derivation`. ArgumentError
    for what is not allowed in an expression, UnknownNameError for a name or a parameter.

    >>> from chainrule import nn
    >>> from chainrule.train.sequential import Sequential
    >>> net = Sequential([nn.Dense(2, "tanh"), nn.Dense(1)])
    >>> found = check_derivation(net, "dense_1/bias", "sum(o - y, axis=0)", "mse", (2,), "en")
    >>> found.right, found.verdict, found.factor
    (False, 'missing', '\\\\frac{2}{N}')
    >>> print(found)
    Wrong: the factor 2/N is missing.
    Right would be: 2 / N * (sum(o - y, axis=0))
    """
    check_whole("seed", seed, 0)
    problems = [Problem(model, param, loss, x_shape, batch) for batch in BATCHES]
    first = problems[0]
    tree = parsed(expression, [*first.letters, "N"])
    with np.errstate(all="ignore"):  # what is not finite is not the gradient, and is told as such
        return _judged(tree, problems, param, expression, lang, seed)


def _judged(
    tree: ast.expr, problems: Sequence[Problem], param: str, expression: str, lang: str, seed: int
) -> Verdict:
    """The verdict on a parsed expression."""
    first = problems[0]
    points = [problem.point(seed + i) for i in range(2) for problem in problems]
    fresh = [problem.point(seed + i) for i in range(2, 4) for problem in problems]
    findings = _findings(tree, first, points)
    found = next((each for each in findings if _confirmed(each, tree, fresh)), None)
    shape = first.target.shape
    if found is not None:
        return Verdict(
            param, expression, found.kind, found.factor, found.where, found.mended, found.also,
            shape, lang=lang,
        )  # fmt: skip
    return Verdict(
        param, expression, "unknown", "", "", "", "", shape, *_apart(tree, points[0]), lang
    )


Entry = tuple[tuple[int, ...], float, float]


def _apart(tree: ast.expr, point: Point) -> tuple[tuple[int, ...] | None, Entry | None]:
    """(the shape of the expression, the first entry where it is not the gradient)."""
    value = _value(tree, point)
    if value is None or value.shape != point.gradient.shape:
        return (None if value is None else value.shape), None
    gap = np.abs(value - point.gradient)
    index = np.unravel_index(int(np.argmax(gap > CLOSE * np.abs(point.gradient).max())), gap.shape)
    place = tuple(int(i) for i in index)
    return value.shape, (place, float(value[place]), float(point.gradient[place]))


class Finding(NamedTuple):
    """A verdict, and how it is checked at other points: by a tree, a path, or a ratio."""

    kind: str
    factor: str = ""
    where: str = ""
    mended: str = ""
    also: str = ""
    tree: ast.expr | None = None
    path: str = ""
    ratio: Number | None = None


def _findings(tree: ast.expr, problem: Problem, points: Sequence[Point]) -> Iterator[Finding]:
    """What may be said of the expression, the likeliest first."""
    ratio = _ratio(tree, points)
    if ratio == ONE:
        yield Finding("right", tree=tree)
    elif ratio is not None:
        yield _sign(tree, problem, points) if ratio == MINUS else _constant(tree, ratio)
    for path in problem.paths:
        values = [_value(tree, point) for point in points]
        if all(_same(v, p.without[path]) for v, p in zip(values, points, strict=True)):
            yield Finding("missing_term", path, path=path)
    slopes = {slope.name: slope for slope in problem.slopes}
    letters = list(problem.letters)
    near: Finding | None = None
    for edit in edits(tree, list(slopes), letters, problem.outputs, problem.targets):
        ratio = _ratio(edit.after, points)
        if ratio is None:
            continue
        if ratio == ONE:
            yield _of_edit(edit, ratio, problem, slopes, points[0])
        elif near is None and edit.change.kind not in ("sign", "extra_term"):
            near = _of_edit(edit, ratio, problem, slopes, points[0])
    if near is not None:
        yield near


def _ratio(tree: ast.expr, points: Sequence[Point]) -> Number | None:
    """The number times a power of N by which the gradient is the tree's value at all points."""
    found: set[Number] = set()
    for point in points:
        value = _value(tree, point)
        if value is None or not _fits(value.shape, point.gradient.shape):
            return None
        value = value.reshape(point.gradient.shape)
        size = float((value * value).sum())
        factor = float((value * point.gradient).sum()) / size if size else np.nan
        if not _same(value * factor, point.gradient):
            return None
        tried = [_number(factor / point.names["N"] ** p, p) for p in (0, -1, 1)]
        candidates = {number for number in tried if number is not None}
        found = candidates if point is points[0] else found & candidates
        if not found:
            return None
    return min(found, key=_powers)


def _powers(number: Number) -> int:
    return abs(number.batch)


def _number(value: float, batch: int) -> Number | None:
    found = Fraction(value).limit_denominator(CONSTANTS)
    close = found and abs(float(found) - value) <= CLOSE * abs(value)
    return Number(found, batch) if close and abs(found.numerator) <= CONSTANTS else None


def _value(tree: ast.expr, point: Point) -> np.ndarray | None:
    try:
        value = evaluate(tree, point.names)
    except NotDefined:
        return None
    return value if isinstance(value, np.ndarray) else None


def _same(value: np.ndarray | None, other: np.ndarray) -> bool:
    if value is None or not _fits(value.shape, np.shape(other)):
        return False
    gap = np.abs(np.squeeze(value) - np.squeeze(other))
    return bool(gap.max(initial=0.0) <= CLOSE * np.abs(other).max(initial=0.0))


def _fits(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Whether the shapes are alike but for axes of 1 that one of them lacks: a row is no column."""
    if len(shape) == len(other):
        return tuple(shape) == tuple(other)
    return [n for n in shape if n != 1] == [n for n in other if n != 1]


def _constant(tree: ast.expr, ratio: Number) -> Finding:
    """What a constant factor says: one too few, or one too many."""
    inverse = Number(1 / ratio.value, -ratio.batch)
    extra = ratio.batch > 0 or (not ratio.batch and -1 < ratio.value < 1)
    shown, kind = (inverse, "extra") if extra else (ratio, "missing")
    value = Fraction(ratio.value)
    above = [f"{value.numerator}"] * (value.numerator != 1) + ["N"] * (ratio.batch > 0)
    below = [f"{value.denominator}"] * (value.denominator != 1) + ["N"] * (ratio.batch < 0)
    factor = " / ".join([" * ".join(above) or "1", *below])
    mended = f"{factor} * ({ast.unparse(tree)})"
    return Finding(kind, latex(Product(shown)), mended=mended, tree=tree, ratio=ratio)


def _sign(tree: ast.expr, problem: Problem, points: Sequence[Point]) -> Finding:
    """Where a sign is turned: a difference that is against the loss's derivative, or a minus."""
    deltas = [each for each in problem.letters if each.startswith("delta")]
    found = [e for e in edits(tree, (), ()) if e.change.kind == "sign"]
    found = [e for e in found if _ratio(e.after, points) == ONE]

    def against(part: ast.expr) -> bool:
        value = _value(part, points[0])
        return value is not None and any(_is_minus(value, points[0].names[d]) for d in deltas)

    differences = [
        e for e in found if isinstance(e.change.new, ast.BinOp) and against(get(e.before, e.at))
    ]
    minuses = [e for e in found if isinstance(get(e.before, e.at), ast.UnaryOp)]
    for edit in [*differences[-1:], *minuses[:1]]:
        where = ast.unparse(get(edit.before, edit.at))
        return Finding("sign", "", where, ast.unparse(edit.after), tree=edit.after)
    mended = ast.unparse(ast.UnaryOp(ast.USub(), tree))
    return Finding("sign", "", ast.unparse(tree), mended, tree=tree, ratio=MINUS)


def _is_minus(value: np.ndarray, delta: np.ndarray) -> bool:
    """Whether `value` is a negative number times `delta`."""
    if value.shape != np.shape(delta) or value.size < 2:
        return False
    factor = float((value * delta).sum()) / max(float((delta * delta).sum()), 1e-300)
    return factor < 0 and _same(value, factor * delta)


def _of_edit(
    edit: Edit, ratio: Number, problem: Problem, slopes: Mapping[str, Slope], point: Point
) -> Finding:
    """What a change of one part says of the mistake."""
    kind, _, name, dropped, old = edit.change
    at = edit.at
    if kind in ("argument", "activation", "replaced", "sign"):
        at = _around(edit, slopes, point)
    where = ast.unparse(get(edit.before, at))
    before, after = (_slope_of(get(tree, at), slopes, point) for tree in (edit.before, edit.after))
    factor = slopes[name].shown if name in slopes else _shown(name, problem, kind)
    if after and kind in ("argument", "activation", "replaced"):
        kind = "activation" if before or kind == "activation" else "argument"
        factor = after.shown
    elif kind == "argument" or (kind == "replaced" and old):
        kind, where = "replaced", old
    if dropped is not None:
        slope = _slope_of(dropped, slopes, point) if isinstance(dropped, ast.expr) else None
        factor = slope.shown if slope else _shown(ast.unparse(dropped), problem)
    if kind == "sum":
        factor = r"\sum_{n}"
    kind = {"missing_matrix": "missing", "replaced_turned": "replaced"}.get(kind, kind)
    also = latex(Product(ratio)) if ratio != ONE else ""
    mended = "" if also else _mended(edit.after, slopes)
    return Finding(kind, factor, where, mended, also, tree=edit.after, ratio=ratio)


def _around(edit: Edit, slopes: Mapping[str, Slope], point: Point) -> Place:
    """The smallest part around a change that it makes an activation's derivative."""
    for length in range(len(edit.at), -1, -1):
        part = get(edit.after, edit.at[:length])
        if isinstance(part, ast.expr) and _slope_of(part, slopes, point):
            return edit.at[:length]
    return edit.at


def _slope_of(part: ast.expr, slopes: Mapping[str, Slope], point: Point) -> Slope | None:
    """The activation's derivative that the part is equal to."""
    value = _value(part, point) if isinstance(part, ast.expr) else None
    return next((s for s in slopes.values() if _same(value, point.names[s.name])), None)


def _shown(text: str, problem: Problem, kind: str = "") -> str:
    """A letter in LaTeX, transposed where that is what is needed; all else as it is typed."""
    letter = problem.letters.get(text.removesuffix(".T"))
    turned = text.endswith(".T") or kind in ("missing_matrix", "replaced_turned")
    return symbol(letter, transposed=turned) if letter else words(text)


def _mended(tree: ast.expr, slopes: Mapping[str, Slope]) -> str:
    """The tree in Python, derivatives written out; "" where one of them cannot be."""
    for at, part in list(places(tree)):
        slope = slopes.get(part.id) if isinstance(part, ast.Name) else None
        if slope and not slope.text:
            return ""
        if slope:
            tree = put(tree, at, ast.parse(slope.text, mode="eval").body)
    return ast.unparse(tree)


def _confirmed(found: Finding, tree: ast.expr, points: Sequence[Point]) -> bool:
    """Whether the verdict holds at other points."""
    if found.path:
        return all(_same(_value(tree, p), p.without[found.path]) for p in points)
    return found.tree is not None and _ratio(found.tree, points) == (found.ratio or ONE)
