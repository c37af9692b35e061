"""What must hold for every rewrite rule; run by `test_rewrites.py` and, for planted faults, by
`test_test_ops.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.op import OPS
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.rewrite.engine import RULES, Pattern, Rewrite, rewrite_graph

EDGES = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, np.inf, -np.inf, np.nan, 1e-30, 1e30, 100.0, -100.0)
WALKS = 3
LARGE = 30.0  # "x >> 0" of a docstring begins here


def recorded(fn: Callable, *arrays: np.ndarray) -> Graph:
    """The graph of `fn` for arrays of these shapes."""
    with Recording(concrete=False) as recording:
        inputs = [recording.input(Tensor(x)) for x in arrays]
        y = recording.node_of(fn(*inputs))
        return Graph([x.node for x in inputs], [y], recording.origins)


def variables(pattern: Any) -> list[str]:
    """The variables of a pattern, in order."""
    if not isinstance(pattern, Pattern):
        return []
    inner = [name for part in pattern.parts for name in variables(part)]
    return sorted({*([pattern.variable] if pattern.variable else []), *inner})


def built(pattern: Any, values: dict[str, Tensor]) -> Any:
    """The left side of a pattern rule as what a user would have written."""
    if not isinstance(pattern, Pattern):
        return pattern
    if pattern.variable:
        return values[pattern.variable]
    return OPS[pattern.op](*[built(part, values) for part in pattern.parts])


def left_side(rule: Rewrite, arrays: list[np.ndarray]) -> Graph:
    names = variables(rule.pattern)
    return recorded(lambda *xs: built(rule.pattern, dict(zip(names, xs))), *arrays)


def declared(rule: Rewrite, x: np.ndarray) -> np.ndarray:
    """Where the rule's docstring says the two sides differ."""
    apart = np.zeros(x.shape, bool)
    if found := re.search(r"but for (.*)", rule.doc):
        for number in re.findall(r"-?(?:inf|nan|\d+(?:\.\d+)?)", found.group(1)):
            value = float(number)
            apart |= (x == value) & (np.signbit(x) == np.signbit(value))
    if "x << 0" in rule.doc:
        apart |= x < -LARGE
    if "x >> 0" in rule.doc:
        apart |= x > LARGE
    return apart


def check_rule_fires(rule: Rewrite, graph: Graph) -> None:
    """The rule fires on its sample, alone and among all rules, and then all is at rest."""
    alone = {rule.op: [rule]}
    once, fired = rewrite_graph(graph, alone)
    assert rule.name in fired, f"{rule.name} does not fire:\n{graph}"
    assert not rewrite_graph(once, alone)[1], f"{rule.name} fires again on what it made:\n{once}"
    rested, more = rewrite_graph(graph)
    for _ in range(WALKS):  # one walk does not look inside what its own rules made
        rested, more = rewrite_graph(rested) if more else (rested, more)
    assert not more, f"rewriting goes on with {more}:\n{rested}"
    for table in (alone, RULES):
        after = rewrite_graph(graph, table)[0]
        ends = [(n.shape, n.dtype) for n in after.outputs]
        assert ends == [(n.shape, n.dtype) for n in graph.outputs], rule.name


def check_sides_equal(rule: Rewrite, graph: Graph, arrays: list[np.ndarray]) -> None:
    """Before and after give the same number, or the docstring says where they do not: sums "in
    another order" are the same to rounding, "of finite numbers" for those alone."""
    after = rewrite_graph(graph, {rule.op: [rule]})[0]
    if "finite numbers" in rule.doc:
        arrays = [np.where(np.isfinite(x), x, 1).astype(x.dtype) for x in arrays]
    with np.errstate(all="ignore"):
        (left,), (right,) = graph.run(*arrays), after.run(*arrays)
        gap = np.abs(left - right)
    if "in another order" in rule.doc:
        finite = np.isfinite(left) & np.isfinite(right)
        most = np.max(np.abs(left[finite]), initial=0) * 1e4 * np.finfo(left.dtype).eps
        assert np.array_equal(np.isfinite(left), np.isfinite(right)), rule.name
        assert np.all(gap[finite] <= most), f"{rule.name}: {left} became {right}"
        return
    same = np.isclose(left, right, rtol=8 * np.finfo(left.dtype).eps, atol=0, equal_nan=True)
    same |= gap < 8 * np.finfo(left.dtype).eps  # in 1 + e the last digits of e are lost
    zeros = (left == 0) & (right == 0)
    same &= ~zeros | (np.signbit(left) == np.signbit(right))
    if rule.pattern is not None:
        for x in arrays:
            same |= declared(rule, x)
    assert np.all(same), (
        f"{rule.name}: at {[x[~same] for x in arrays]} left {left[~same]}, right {right[~same]}"
    )


def points(count: int, dtype: str) -> list[np.ndarray]:
    """Random points and all combinations of the edges, for `count` variables."""
    rng = np.random.default_rng(0)
    edges = np.array(np.meshgrid(*[EDGES] * count)).reshape(count, -1)
    return list(np.concatenate([edges, rng.normal(size=(count, 50)) * 3], axis=1).astype(dtype))


def check_pattern_rule(rule: Rewrite) -> None:
    """All claims for a rule that shows its own left side."""
    for dtype in ("float32", "float64"):
        arrays = points(len(variables(rule.pattern)), dtype)
        graph = left_side(rule, arrays)
        check_rule_fires(rule, graph)
        check_sides_equal(rule, graph, arrays)
