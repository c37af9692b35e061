"""For every rewrite rule: it fires, both sides are equal, and rewriting comes to rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
import chainrule.compile.draft  # the rules register
from chainrule.compile.layout import LAYOUT
from chainrule.core.graph import parse
from chainrule.core.op import OPS
from chainrule.core.recording import literal
from chainrule.ops.rows import caught_up, put_parts, put_rows
from chainrule.rewrite.engine import RULES, Rewrite, rewrite, rewrite_graph, rewrite_op, z
from tests.rewrite_checks import (
    check_pattern_rule,
    check_rule_fires,
    check_sides_equal,
    declared,
    points,
    recorded,
)

ALL = [rule for table in (RULES, *LAYOUT) for rules in table.values() for rule in rules]
PATTERNS = [rule for rule in ALL if rule.pattern is not None]
OTHERS = [rule for rule in ALL if rule.pattern is None]


def spread(value: float, dtype: str) -> cr.Tensor:
    return OPS["broadcast_to"](literal(value=value, shape=(), dtype=dtype), shape=(4, 6))


def fold(x: cr.Tensor) -> cr.Tensor:
    """The input gradient of a convolution of (4, 8, 8) with (3, 8, 1), made of x."""
    kernel = cr.concatenate([x, x[:, :2]], axis=1)[:3].reshape((3, 1, 8))
    seen = cr.contract(x.reshape((4, 6, 1)), kernel, spec="nho,ioc->nhic")
    return OPS["unwindows"](seen, axes=(1,), size=(3,), stride=(1,), dilation=(1,), extent=(8,))


def many(x: cr.Tensor) -> cr.Tensor:
    """(4, 6) repeated to (65536, 6)."""
    return cr.broadcast_to(x, (16384, 4, 6)).reshape((65536, 6))


def kept(rows: np.ndarray, *rest: object) -> np.ndarray:
    return rows


def rows_of_four() -> tuple:
    """The last update of each of four rows, all of their ids, a history and the step."""
    zeros = [literal(value=0, shape=s, dtype=t) for s, t in (((1, 1), "float64"), ((), "int32"))]
    return cr.arange(4, "int32"), None, *zeros


def twice() -> tuple:
    """An id that comes twice, and where its row stands."""
    return tuple(literal(value=value, shape=(2,), dtype="int64") for value in (3, 1))


SAMPLES: dict[str, Callable] = {
    "join_transposes": lambda x: cr.transpose(
        cr.transpose(x.reshape((4, 2, 3)), (1, 2, 0)), (2, 0, 1)
    ),
    "read_needed_rows": lambda x: cr.take(
        caught_up(x.reshape((4, 2, 3)), *rows_of_four(), rule=kept)[1], cr.arange(2).reshape(2, 1)
    ),
    "choose_rows": lambda x: cr.where(
        cr.sum(x) > 0.0, put_rows(x, cr.arange(2) + 1, x[:2]), x
    ),
    "choose_parts": lambda x: cr.where(
        cr.sum(x) > 0.0, put_parts(cr.reshape(x, (4, 2, 3)), *twice(), x[:2, :3], x[2:, 3:]),
        cr.reshape(x, (4, 2, 3)),
    ),
    "join_pads": lambda x: (
        cr.pad(x[:, 4:], [(0, 0), (4, 0)]) + cr.pad(x[:, 1:3] * 2.0, [(0, 0), (1, 3)])
    ),
    "join_reshapes": lambda x: x.reshape((2, 12)).reshape((3, 8)),
    "spread_constants": lambda x: x * spread(2.5, x.dtype.name),
    "multiply_constants": lambda x: x + cr.multiply(spread(0.1, x.dtype.name), 3),
    "canonical": lambda x: cr.contract(x, x, spec="ij,kj->ki"),
    "laid_out": lambda x: cr.contract(x, x, spec="ij,kj->ik"),
    "by_products": lambda x: cr.contract(x, x, spec="ij,ij->j"),
    "gather_windows": lambda x: fold(x),
    "gather_slice": lambda x: fold(x)[:, 1:6],
    "part_sums": lambda x: cr.contract(many(x), many(x)[:, :3], spec="ki,kj->ij"),
    "sum_of_squares": lambda x: cr.sum(cr.transpose(x @ x.T) * cr.transpose(x @ x.T)),
    "two_steps": lambda x: cr.sum(many(x * x).reshape((64, -1, 6)), axis=(0, 1)),
    "reshape_constants": lambda x: x.reshape((12, 2)) * literal(
        value=2.5, shape=(4, 6), dtype=x.dtype.name
    ).reshape((12, 2)),
}  # fmt: skip


def named(rules: list[Rewrite]) -> list:
    return [pytest.param(rule, id=rule.name) for rule in rules]


@pytest.mark.parametrize("rule", named(PATTERNS))
def test_pattern_rule_keeps_its_claims(rule: Rewrite) -> None:
    check_pattern_rule(rule)


@pytest.mark.parametrize("rule", named(OTHERS))
def test_op_rule_keeps_its_claims(rule: Rewrite) -> None:
    assert rule.name in SAMPLES, f"{rule.name} needs an entry in SAMPLES on which it fires"
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        x = rng.normal(size=(4, 6)).astype(dtype)
        x.flat[:3] = 0, np.inf, np.nan
        graph = recorded(SAMPLES[rule.name], x)
        if rule.name == "multiply_constants":
            graph = rewrite_graph(graph, {"broadcast_to": RULES["broadcast_to"]})[0]
        check_rule_fires(rule, graph)
        check_sides_equal(rule, graph, [x])


def test_declared_differences_are_read_from_the_docstring() -> None:
    def rule(doc: str) -> Rewrite:
        return Rewrite("r", "add", doc, lambda node, recording: None)

    x = np.array([0.0, -0.0, -np.inf, np.inf, 100.0, -100.0])
    assert not declared(rule("x -> x"), x).any()
    assert declared(rule("x -> x, but for -inf and -0.0"), x).tolist() == [0, 1, 1, 0, 0, 0]
    assert declared(rule("x -> x: fine for x >> 0"), x).tolist() == [0, 0, 0, 1, 1, 0]
    assert declared(rule("x -> x: fine for x << 0"), x).tolist() == [0, 0, 1, 0, 0, 1]


def test_a_variable_met_twice_must_be_the_same_node() -> None:
    from chainrule.rewrite.engine import match, x

    a, b = points(2, "float64")
    twice = recorded(lambda a, b: a + a, a, b).outputs[0]
    apart = recorded(lambda a, b: a + b, a, b).outputs[0]
    assert match(x + x, twice, {}) and match(x + x, apart, {}) is None
    assert match(x + z, apart, {})


def test_softplus_is_left_as_it_is() -> None:
    x = points(1, "float32")[0]
    graph = recorded(cr.softplus, x)
    assert rewrite_graph(graph)[1] == []
    assert rewrite_graph(recorded(lambda x: cr.log(1 + cr.exp(x)), x))[1] == ["log_of_one_plus_exp"]


def test_commutative_operands_match_in_both_orders() -> None:
    x = points(1, "float32")[0]
    for graph in (recorded(lambda x: x * 1, x), recorded(lambda x: 1 * x, x)):
        assert rewrite_graph(graph)[1] == ["drop_factor_one"]
    assert rewrite_graph(recorded(lambda x: 0 - x, x))[1] == []


def test_rules_fire_on_what_other_rules_made() -> None:
    x = points(1, "float32")[0]
    after, fired = rewrite_graph(recorded(lambda x: cr.negative(-((x * 1) ** 2)), x))
    assert fired == ["drop_factor_one", "square_by_product", "cancel_negatives"]
    assert [node.op.name for node in after.order] == ["input", "multiply"]


def test_origins_go_along() -> None:
    x = points(1, "float32")[0]
    graph = recorded(lambda x: x**3, x)
    after = rewrite_graph(graph)[0]
    place = graph.origins[graph.outputs[0]].place
    assert all(after.origins[n].place == place for n in after.order if n.inputs)


def test_a_rewritten_graph_still_prints_and_reads_back() -> None:
    x = points(1, "float32")[0]
    after = rewrite_graph(recorded(lambda x: cr.log(1 + cr.exp(x)) / 1, x))[0]
    again = parse(str(after))
    np.testing.assert_array_equal(after.run(x)[0], again.run(x)[0])


def test_rules_that_undo_each_other_are_told() -> None:
    x = points(1, "float32")[0]

    def forth(node, recording):
        return cr.subtract(*[recording.tensor(source) for source in node.inputs])

    def back(node, recording):
        return cr.add(*[recording.tensor(source) for source in node.inputs])

    undo = [
        Rewrite("forth", "add", "a -> b", forth),
        Rewrite("back", "subtract", "b -> a", back),
    ]
    graph = recorded(lambda x: x + cr.exp(x), x)
    with pytest.raises(AssertionError, match=r"do not end: .*forth.*back"):
        rewrite_graph(graph, {rule.op: [rule] for rule in undo})


def test_a_rule_needs_a_docstring_and_a_name_of_its_own() -> None:
    with pytest.raises(ImportError, match="wordless lacks a docstring 'before -> after'"):

        @rewrite(z * 1)
        def wordless(z: cr.Tensor) -> cr.Tensor:
            return z

    with pytest.raises(ImportError, match="join_reshapes is registered twice"):

        @rewrite_op("reshape")
        def join_reshapes(node, tensor):
            """a -> b"""
