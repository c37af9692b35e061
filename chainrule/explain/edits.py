"""Small changes of a student's expression, each the opposite of a mistake.

A change replaces one part of the tree. Whichever makes the expression right at random points says
what was wrong with it. Read next: `verdict.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import combinations
from typing import Any, NamedTuple

from chainrule.explain.expression import function_of

ACTIVATIONS = ("sigmoid", "tanh", "relu")
FORGOTTEN = ("softmax", "sigmoid", "sign")  # what a loss does to the output before it compares
BENT = (*ACTIVATIONS, "maximum", "minimum", "sign", "exp", "abs", "sqrt", "square")
FACTORS = ("2", "2 / N", "1 / N", "N")  # of one term of a sum
Place = tuple[tuple[str, int | None], ...]  # the fields that lead to a part


class Change(NamedTuple):
    """What a part becomes.

    `name` is what is missing or stands there now, in the place of `old`, in Python; `dropped` is
    the part of the part that is gone.
    """

    kind: str
    new: ast.expr
    name: str = ""
    dropped: ast.expr | None = None
    old: str = ""


class Edit(NamedTuple):
    """`before` becomes `after` by a change at a place."""

    before: ast.expr
    after: ast.expr
    at: Place
    change: Change


Way = Callable[[ast.expr], Iterator[Change]]


def edits(
    tree: ast.expr,
    slopes: Sequence[str],
    letters: Sequence[str],
    outputs: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> Iterator[Edit]:
    """All changes of one part, the likeliest mistakes first.

    `slopes` are names of activations' derivatives, `letters` all other names, with `outputs` and
    `targets` among them. Among the parts are runs of a product's factors, such as h * (1 - h) in
    d * h * (1 - h).
    """
    differences = [f"{o} - {y}" for o in outputs for y in targets]
    outer = [(tree, at) for at, _ in places(tree)]
    inner = outer[::-1]
    runs = list(_runs(tree))
    mixed = sorted([*inner, *runs], key=lambda place: _size(get(*place)))
    beside = [*inner, *((whole, at[:-1]) for whole, at in runs)]
    ways: list[tuple[Way, list[tuple[ast.expr, Place]]]] = [
        (_swapped_signs, outer),
        (_orders, inner),
        (_extra, beside),
        (_arguments(letters), mixed),
        (_sums, outer),
        (_missing(slopes), inner),
        (_slopes(slopes), [place for place in mixed if not _is_bent(*place)]),
        (_extra_calls, inner),
        (_missing(differences), inner),
        (_missing(letters), outer),
        (_missing_matrix(letters), outer),
        (_replaced(letters), inner),
        (_extra_terms, inner),
        (_signs, inner),
        (_forgotten(targets), inner),
        (_multiples, inner),
        (_exchanged(letters), [(tree, ())]),
    ]
    for way, found in ways:
        for whole, at in found:
            for change in way(get(whole, at)):
                yield Edit(whole, put(whole, at, change.new), at, change)


def places(tree: ast.AST, at: Place = ()) -> Iterator[tuple[Place, ast.expr]]:
    """Every part of the tree that has a value of its own, with the way to it, outermost first."""
    if isinstance(tree, ast.expr) and not isinstance(tree, ast.Tuple | ast.Slice):
        yield at, tree
    for field, value in ast.iter_fields(tree):
        if isinstance(tree, ast.Call) and field == "func":
            if isinstance(value, ast.Attribute) and function_of(tree)[1] is not None:
                yield from places(value.value, (*at, ("func", None), ("value", None)))
        elif field in ("slice", "keywords"):
            continue
        elif isinstance(value, ast.AST):
            yield from places(value, (*at, (field, None)))
        elif isinstance(value, list):
            for i, each in enumerate(value):
                if isinstance(each, ast.expr):
                    yield from places(each, (*at, (field, i)))


def _size(part: ast.expr) -> int:
    return sum(1 for _ in ast.walk(part))


def get(tree: Any, at: Place) -> Any:
    """The part at a place."""
    for field, i in at:
        tree = getattr(tree, field) if i is None else getattr(tree, field)[i]
    return tree


def put(tree: Any, at: Place, new: ast.AST) -> Any:
    """The tree with what stands at a place replaced."""
    if not at:
        return new
    (field, i), rest = at[0], at[1:]
    made = copy(tree)
    value = getattr(tree, field)
    if i is None:
        setattr(made, field, put(value, rest, new))
    else:
        setattr(made, field, [*value[:i], put(value[i], rest, new), *value[i + 1 :]])
    return made


def _is_bent(tree: ast.expr, at: Place) -> bool:
    """Whether the part is what a curved function is taken of."""
    parent = get(tree, at[:-1]) if at and at[-1][0] == "args" else None
    return isinstance(parent, ast.Call) and function_of(parent)[0] in BENT


def _runs(tree: ast.expr) -> Iterator[tuple[ast.expr, Place]]:
    """The tree with neighbouring factors of a product in brackets, and where the brackets are."""
    for at, part in places(tree):
        factors = _factors(part)
        parent = get(tree, at[:-1]) if at else None
        if len(factors) < 3 or (at and at[-1][0] == "left" and _is_times(parent)):
            continue
        for start in range(1, len(factors) - 1):
            for stop in range(start + 2, len(factors) + 1):
                run = _times(factors[start:stop])
                rest = _times([*factors[:start], run])
                whole = _times([rest, *factors[stop:]])
                down: Place = (("left", None),) * (len(factors) - stop)
                yield put(tree, at, whole), (*at, *down, ("right", None))


def _is_times(part: Any) -> bool:
    return isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult)


def _factors(part: Any) -> list[ast.expr]:
    return [*_factors(part.left), part.right] if _is_times(part) else [part]


def _times(factors: Sequence[ast.expr]) -> ast.expr:
    made = factors[0]
    for each in factors[1:]:
        made = ast.BinOp(made, ast.Mult(), each)
    return made


def _name(text: str) -> ast.expr:
    return ast.Name(text, ast.Load())


def _expression(text: str) -> ast.expr:
    """A name, which may be a slope's with a blank in it, or a small sum or quotient."""
    simple = text.isidentifier() or " by " in text
    return _name(text) if simple else ast.parse(text, mode="eval").body


def transposed(part: ast.expr) -> ast.expr:
    """The part's transpose, or what it is the transpose of."""
    if isinstance(part, ast.Attribute) and part.attr == "T":
        return part.value
    return ast.Attribute(part, "T", ast.Load())


def _swapped_signs(part: ast.expr) -> Iterator[Change]:
    match part:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield Change("sign", ast.BinOp(left, ast.Sub(), right))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            yield Change("sign", ast.BinOp(left, ast.Add(), right))
            yield Change("sign", ast.BinOp(right, ast.Sub(), left))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield Change("sign", operand)


def _signs(part: ast.expr) -> Iterator[Change]:
    yield Change("sign", ast.UnaryOp(ast.USub(), part))


def _orders(part: ast.expr) -> Iterator[Change]:
    yield Change("transpose", transposed(part))
    operands = _operands(part)
    if operands is None:
        return
    left, right = operands
    if _is_times(part):
        yield Change("product", ast.BinOp(left, ast.MatMult(), right))
        return
    turned_left, turned_right = transposed(left), transposed(right)
    for a, b in (
        (right, left),
        (turned_left, turned_right),
        (turned_right, turned_left),
        (turned_right, left),
        (right, turned_left),
    ):
        yield Change("order", ast.BinOp(a, ast.MatMult(), b))
    yield Change("product", ast.BinOp(left, ast.Mult(), right))


def _operands(part: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """What a product is of: by *, by @, or by a call of dot or matmul."""
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult | ast.MatMult):
        return part.left, part.right
    if isinstance(part, ast.Call) and function_of(part)[0] in ("dot", "matmul"):
        owner = function_of(part)[1]
        given = [*([owner] if owner else []), *part.args]
        return (given[0], given[1]) if len(given) == 2 else None
    return None


def _arguments(letters: Sequence[str]) -> Way:
    """One letter by another, everywhere in a part; one activation by another."""

    def changes(part: ast.expr) -> Iterator[Change]:
        inside = {each.id for each in ast.walk(part) if isinstance(each, ast.Name)}
        for kind, known in (("argument", letters), ("activation", ACTIVATIONS)):
            for before in sorted(inside.intersection(known)):
                for after in known:
                    if after != before:
                        yield Change(kind, _renamed(part, before, after), after, old=before)

    return changes


def _renamed(part: ast.expr, before: str, after: str) -> ast.expr:
    made = part
    for at, each in list(places(part)):
        if isinstance(each, ast.Name) and each.id == before:
            made = put(made, at, _name(after))
        if isinstance(each, ast.Call) and function_of(each) == (before, None):
            made = put(made, (*at, ("func", None)), _name(after))
    return made


def _sums(part: ast.expr) -> Iterator[Change]:
    axis = ast.keyword("axis", ast.Constant(0))
    if isinstance(part, ast.Call) and function_of(part)[0] in ("sum", "mean"):
        words = [axis, *(word for word in part.keywords if word.arg != "axis")]
        yield Change("sum", put(part, (("keywords", None),), words))  # type: ignore[arg-type]
    yield Change("sum", ast.Call(_name("sum"), [part], [axis]))


def _missing(names: Sequence[str]) -> Way:
    return lambda part: (
        Change("missing", ast.BinOp(part, ast.Mult(), _expression(each)), each) for each in names
    )


def _missing_matrix(letters: Sequence[str]) -> Way:
    def changes(part: ast.expr) -> Iterator[Change]:
        for each in letters:
            turned = transposed(_name(each))
            yield Change("missing_matrix", ast.BinOp(part, ast.MatMult(), turned), each)
            yield Change("missing_matrix", ast.BinOp(turned, ast.MatMult(), part), each)

    return changes


def _extra(part: ast.expr) -> Iterator[Change]:
    match part:
        case ast.BinOp(left=left, op=ast.Mult() | ast.MatMult(), right=right):
            yield Change("extra", left, dropped=right)
            yield Change("extra", right, dropped=left)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            yield Change("extra", left, dropped=ast.BinOp(ast.Constant(1), ast.Div(), right))


def _extra_calls(part: ast.expr) -> Iterator[Change]:
    if isinstance(part, ast.Call) and len(part.args) == 1 and function_of(part)[1] is None:
        yield Change("extra", part.args[0], dropped=_name(function_of(part)[0] or ""))


def _extra_terms(part: ast.expr) -> Iterator[Change]:
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add | ast.Sub):
        yield Change("extra_term", part.left, dropped=part.right)
        yield Change("extra_term", part.right, dropped=part.left)


def _slopes(slopes: Sequence[str]) -> Way:
    return lambda part: (Change("activation", _name(each), each) for each in slopes)


def _replaced(letters: Sequence[str]) -> Way:
    def changes(part: ast.expr) -> Iterator[Change]:
        if isinstance(transposed(part), ast.Name) or isinstance(part, ast.Name):
            for each in letters:
                yield Change("replaced", _name(each), each)
                yield Change("replaced_turned", transposed(_name(each)), each)

    return changes


def _forgotten(targets: Sequence[str]) -> Way:
    """What a loss does to its argument: a function, the target that it takes away, no square."""

    def changes(part: ast.expr) -> Iterator[Change]:
        if isinstance(part, ast.Constant):
            return
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
            yield _instead(part.left)
        for each in FORGOTTEN:
            yield _instead(ast.Call(_name(each), [part], []))
        for each in targets:
            yield _instead(ast.BinOp(part, ast.Sub(), _name(each)))

    return changes


def _instead(new: ast.expr) -> Change:
    return Change("replaced", new, ast.unparse(new))


def _multiples(part: ast.expr) -> Iterator[Change]:
    """One term of a sum with a factor more or less."""
    if not isinstance(part, ast.BinOp) or not isinstance(part.op, ast.Add | ast.Sub):
        return
    for each in FACTORS:
        factor = _expression(each)
        for field in ("left", "right"):
            term = getattr(part, field)
            more, less = ast.BinOp(factor, ast.Mult(), term), ast.BinOp(term, ast.Div(), factor)
            yield Change("missing", put(part, ((field, None),), more), each)
            yield Change("extra", put(part, ((field, None),), less), dropped=factor)


def _exchanged(letters: Sequence[str]) -> Way:
    """Two letters, each in the place of the other."""

    def changes(part: ast.expr) -> Iterator[Change]:
        inside = {each.id for each in ast.walk(part) if isinstance(each, ast.Name)}
        for a, b in combinations(sorted(inside.intersection(letters)), 2):
            swapped = _renamed(_renamed(_renamed(part, a, "\0"), b, a), "\0", b)
            yield Change("replaced", swapped, b, old=a)

    return changes
