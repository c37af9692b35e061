"""`find_nonfinite` by hand: steps of one's own, loops, harmless infinities, and what runs natively
alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile import replay
from chainrule.compile.replay import find_nonfinite
from chainrule.core.errors import ArgumentError

X = np.float32([[3, 1, 2], [1, 2, 0], [1, 1, 1], [5, 6, 7]])  # a 0 in example 1


def line(found: Any) -> str:
    """What stands behind the last # of the source line."""
    assert found.place.file == __file__
    return found.place.source.rpartition("# ")[2]


def test_a_step_of_ones_own_is_looked_into() -> None:
    opt = cr.optim.Adam(1e-3)

    @cr.jit(donate=("params", "state"))
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        def loss_fn(params: Any) -> Any:
            p = x @ params["w"]
            return -cr.mean(y * cr.log(p))  # loss of the step

        loss, grads = cr.value_and_grad(loss_fn)(params)
        params, state = opt.update(params, grads, state)
        return params, state, loss

    params = {"w": cr.Tensor(np.eye(3, dtype=np.float32))}
    state = opt.init(params)
    found = find_nonfinite(step, params, state, X, X, batch=["x", "y"])
    assert (found.op, found.index, found.example, found.reason) == ("log", (1, 2), 1, "log_zero")
    assert line(found) == "loss of the step" and not found.gradient
    assert params["w"].known  # nothing was donated
    assert find_nonfinite(step, params, state, X + 1, X) is None


def test_a_function_that_looks_at_its_numbers_is_looked_into() -> None:
    def loss(x: Any) -> Any:
        if float(cr.min(x)) > 0:
            return cr.sum(x)
        return cr.sum(cr.log(x))  # only there

    assert line(find_nonfinite(loss, X)) == "only there"
    assert find_nonfinite(loss, X + 1) is None


def test_infinities_that_do_no_harm_are_not_named() -> None:
    def loss(x: Any) -> Any:
        scores = cr.where(x > 1, x, -np.inf)  # masked elements, never a whole row
        shares = cr.softmax(cr.concatenate([scores, x], axis=1))
        return cr.sum(shares) + cr.mean(cr.log(x))  # harm

    found = find_nonfinite(cr.value_and_grad(loss), X, batch=["x"])
    assert (found.op, found.example, line(found)) == ("log", 1, "harm")
    assert find_nonfinite(cr.value_and_grad(loss), X + 1) is None


def test_an_infinite_mask_from_outside_is_meant() -> None:
    mask = np.float32([0, -np.inf, -np.inf])
    closed = np.full(3, -np.inf, np.float32)

    def attend(x: Any, mask: Any) -> Any:
        scores = x + mask
        return cr.exp(scores - cr.max(scores, axis=1, keepdims=True))  # attend

    assert find_nonfinite(lambda x: attend(x, mask), X) is None
    found = find_nonfinite(lambda x: attend(x, closed), X)
    assert (found.op, found.reason, line(found)) == ("subtract", "inf_minus_inf", "attend")


def test_an_infinity_of_the_program_that_reaches_the_result_is_named() -> None:
    found = find_nonfinite(lambda x: cr.sum(cr.where(x > 0, x, np.inf)), X)  # choice
    assert (found.op, found.reason, line(found)) == ("where", "infinite", "choice")


def test_a_captured_array_with_nan_is_named() -> None:
    factor = np.float32([1, np.nan, 1])
    found = find_nonfinite(lambda x: x * factor, X)
    assert (found.reason, found.leaf, found.index) == ("data", "a captured array", (1,))


class Both(NamedTuple):
    first: Any
    second: Any


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda x: {"a": [x, x * np.nan]}, "tree['a'][1]"),
        (lambda x: Both(x, x * np.nan), "tree.second"),
        (lambda x: x * np.nan, "tree"),
    ],
)
def test_an_argument_is_told_by_its_path(made: Callable, name: str) -> None:
    def total(tree: Any) -> Any:
        return sum(cr.sum(x) for x in cr.flatten(tree)[0])

    assert find_nonfinite(total, made(X)).leaf == name
    assert find_nonfinite(lambda *each: each[1] + 1, X, X * np.nan).leaf == "each[1]"


def test_a_weight_of_a_model_is_told_by_its_path() -> None:
    model = nn.Dense(2)
    model(X)
    model.kernel.assign(np.float32([[1, 1], [np.inf, 1], [1, 1]]))
    found = find_nonfinite(lambda model, x: model(x), model, X, batch=["x"])
    assert (found.reason, found.leaf, found.index) == ("weights", "model/kernel", (1, 0))


def test_the_step_of_a_loop_is_told_and_of_loops_inside_loops() -> None:
    def inner(total: Any, x: Any) -> Any:
        total = total * x
        return total, cr.log(total + x)  # in both

    def outer(total: Any, row: Any) -> Any:
        return cr.scan(inner, total, row)

    def run(x: Any) -> Any:
        return cr.scan(outer, np.float32(1), x)[1]

    found = find_nonfinite(run, X)
    assert (found.op, found.times, line(found)) == ("log", (1, 2), "in both")


def test_the_carry_of_a_loop_is_followed_to_the_step_that_broke_it() -> None:
    def body(total: Any, x: Any) -> Any:
        return total * 2 + 1 / x, None  # in the carry

    found = find_nonfinite(lambda x: cr.scan(body, np.float32(0), x)[0], np.float32([1, 2, 0, 4]))
    assert (found.op, found.times, found.reason) == ("divide", (2,), "by_zero")
    assert line(found) == "in the carry"
    start = find_nonfinite(lambda c, x: cr.scan(body, c, x)[0], np.float32(np.inf), X[0])
    assert start.leaf == "c"
    sliced = find_nonfinite(lambda x: cr.scan(body, np.float32(0), x)[0], np.float32([1, np.nan]))
    assert (sliced.leaf, sliced.index) == ("x", (1,))


def test_a_derivative_in_a_loop_names_the_op_it_is_of() -> None:
    def body(total: Any, x: Any) -> Any:
        return total + cr.sqrt(x), None  # root in a loop

    found = find_nonfinite(
        cr.grad(lambda x: cr.scan(body, np.float32(0), x)[0]), np.float32([1, 4, 0, 9])
    )
    assert (found.gradient, found.of, found.times) == (True, "sqrt", (2,))
    assert line(found) == "root in a loop"


def test_float64_has_its_own_limits() -> None:
    found = find_nonfinite(cr.exp, np.float64([1, 800]))
    assert (found.reason, found.dtype, found.index) == ("exp_overflow", "float64", (1,))
    assert "709.8" in found.message and find_nonfinite(cr.exp, np.float64([100])) is None


def test_what_only_native_code_makes_infinite_is_found() -> None:
    def scaled(x: Any) -> Any:
        return cr.sum(1e-10 / cr.sqrt(x))  # tiny

    x = np.float32([1, 1e-40])  # native code takes so small a number for 0
    native = bool(np.isinf(cr.jit(scaled)(x).numpy()))
    found = find_nonfinite(scaled, x)
    assert (found is not None) == native
    assert found is None or (found.op, found.index, line(found)) == ("divide", (1,), "tiny")


def test_what_a_rewrite_mends_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(x: Any) -> Any:
        return cr.sum(cr.log(cr.sigmoid(x)))

    x = np.float32([-200])
    native = bool(np.isfinite(cr.jit(loss)(x).numpy()))
    assert (find_nonfinite(loss, x) is None) == native
    monkeypatch.setattr(replay, "machine", lambda: None)
    assert find_nonfinite(loss, x).op == "log"


def test_gradients_by_rows_are_looked_into() -> None:
    table = np.ones((50, 2), np.float32)
    table[7] = 0

    def loss(table: Any, ids: Any) -> Any:
        return cr.sum(cr.sqrt(cr.take(table, ids)))  # rows

    found = find_nonfinite(cr.grad(loss, rows=True), table, np.array([3, 4, 7, 8]), batch=["ids"])
    assert (found.gradient, found.of, found.example) == (True, "sqrt", 2)


def test_a_gradient_of_ones_own_is_looked_into() -> None:
    @cr.custom_gradient
    def steep(x: Any) -> Any:
        return cr.abs(x), lambda g: g / x

    def total(x: Any) -> Any:
        return cr.sum(steep(x))  # own gradient

    found = find_nonfinite(cr.grad(total), X, batch=["x"])
    assert (found.op, found.example, line(found)) == ("divide", 1, "own gradient")


def test_a_matrix_that_is_all_nan_is_followed_to_where_it_came_from() -> None:
    def solved(x: Any) -> Any:
        return cr.solve(x, cr.sum(x, axis=1))

    found = find_nonfinite(solved, np.full((2, 2), np.nan, np.float32))
    assert (found.reason, found.leaf) == ("data", "x")


def test_one_example_is_found_where_the_batch_is_folded_away() -> None:
    x = X.copy()
    x[2] = 3e19

    def loss(x: Any) -> Any:
        return cr.sum(cr.transpose(x, (1, 0)) @ x)  # folded

    found = find_nonfinite(loss, x, batch=["x"])
    assert (found.op, found.example, line(found)) == ("contract", 2, "folded")


def test_state_stays_as_it_is() -> None:
    layer = nn.BatchNormalization()
    layer(X)
    before = layer.moving_mean.numpy().copy()
    found = find_nonfinite(lambda x: cr.log(layer(x, training=True) * 0), X)
    assert found.reason == "log_zero"
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)


def test_a_batch_that_is_no_argument_is_refused() -> None:
    with pytest.raises(ArgumentError, match="batch names z, and the arguments are x"):
        find_nonfinite(lambda x: x, X, batch=["z"])
    with pytest.raises(ArgumentError, match="different lengths: 3, 4"):
        find_nonfinite(lambda x, y: cr.sum(x) + cr.sum(y), X, X[:3], batch=["x", "y"])


def test_a_finding_is_plain_data() -> None:
    found = find_nonfinite(lambda x: cr.log(x).sum(), X, batch=["x"])
    kept = json.loads(json.dumps(asdict(found)))
    assert (kept["op"], kept["index"], kept["examples"], kept["batch"]) == ("log", [1, 2], [1], 4)
    assert kept["place"] == [__file__, found.place.line]


def test_the_sentences_are_short_and_say_how_to_mend() -> None:
    told = str(find_nonfinite(lambda x: cr.log(x).sum(), X, batch=["x"])).splitlines()
    assert len(told) == 5 and all(len(row) < 120 for row in told)
    assert (
        told[0] == "first not finite: log gives -inf at [1, 2] of float32[4,3]: the logarithm of 0"
    )
    assert told[2:4] == ["  inputs: 0  (beside it 1, 2)", "  example 1 of the batch (from 0)"]
    assert told[4].startswith("  mend: cr.log(x + 1e-7)")
