"""`why_no_grad`: each way in which a path breaks is told by its reason, its line and a mend."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.grad.path import why_no_grad
from chainrule.grad.reasons import MESSAGES, GradientPath
from chainrule.grad.scan import scan

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)


def found(fn: Any, p: Any = None, **given: Any) -> GradientPath:
    p = cr.Tensor(W) if p is None else p
    with cr.record():
        loss = fn(p)
    return why_no_grad(loss, p, **given)


def unread(p):
    cr.tanh(X @ p)  # the last use
    return cr.sum(cr.exp(X))


def numbers(h):
    return cr.sum(cr.exp(h.numpy()))  # a copy


CUT = [  # reason, op, what the place's line says, function of the parameter
    ("used_elsewhere", "tanh", "the last use", unread),
    ("copied", "exp", "a copy", numbers),
    ("copied", "exp", "a copy", lambda p: numbers(X @ p)),
    ("copied", "multiply", "float", lambda p: cr.sum(cr.exp(X) * float(cr.sum(p)))),
    ("copied", "tanh", "numpy()[0]", lambda p: cr.sum(cr.tanh(p.numpy()[0]))),
    ("stopped", "stop_gradient", "X @ p", lambda p: cr.sum(cr.stop_gradient(X @ p))),
    ("integers", "cast", "int32", lambda p: cr.sum(cr.cast(cr.cast(X @ p, "int32"), "float32"))),
    ("integers", "equal", "argmax", lambda p: cr.mean(cr.cast(cr.argmax(p, 1), "float32"))),
    ("integers", "equal", "argmax", lambda p: cr.sum(cr.argmax(X @ p, 1))),
    ("integers", "less", "p > 0", lambda p: cr.sum(cr.where(p > 0, 1.0, 0.0) * 2.0)),
    ("flat", "round", "round", lambda p: cr.sum(cr.round(X @ p))),
    ("flat", "sign", "sign", lambda p: cr.sum(cr.sign(p) * 3)),
    ("flat", "floor", "floor", lambda p: cr.sum(cr.floor(p))),
    ("zero", "relu", "relu", lambda p: cr.sum(cr.relu(X @ p - 100.0))),
    ("zero", "multiply", "* 0.0", lambda p: cr.sum(X @ p) * 0.0),
    ("zero", "where", "where", lambda p: cr.sum(cr.where(p > 1e6, p, 1.0))),
    ("zero", "contract", "zeros", lambda p: cr.sum(X @ p @ np.zeros((2, 2), np.float32))),
    ("zero", "clip", "clip", lambda p: cr.sum(cr.clip(p, 50, 60))),
    ("cancelled", "subtract", "p - p", lambda p: cr.sum(p - p)),
    ("not_finite", "sqrt", "sqrt", lambda p: cr.sum(cr.sqrt(p * 0.0))),
]


@pytest.mark.parametrize(("reason", "op", "line", "fn"), CUT)
def test_a_cut_is_told_with_its_line_and_a_mend(reason: str, op: str, line: str, fn) -> None:
    why = found(fn)
    assert (why.reason, why.op) == (reason, op) and not why
    assert line in why.place.source and why.node.op.name == op
    assert why.mend and why.mend in str(why)
    assert str(why.place) in str(why) and "{" not in str(why)


def test_a_gradient_that_flows_is_told_with_its_norm() -> None:
    why = found(lambda p: cr.sum(X @ p))
    g = cr.grad(lambda p: cr.sum(X @ p))(W).numpy()
    assert why and why.reason == "flows" and why.mend == ""
    assert why.norm == pytest.approx(np.linalg.norm(g), rel=1e-6)
    assert f"norm is {why.norm:.6g}" in str(why)


def test_a_value_on_the_way_can_be_asked_for_too() -> None:
    with cr.record():
        h = cr.tanh(X @ cr.Tensor(W))
        loss = cr.sum(cr.sign(h)) + cr.sum(h * h)
        dead = cr.relu(-cr.exp(h))
        closed = cr.sum(dead)
    assert why_no_grad(loss, h)
    assert why_no_grad(closed, dead)
    assert why_no_grad(closed, h).op == "relu"


def test_what_cannot_have_a_gradient_is_told() -> None:
    total = lambda p: cr.sum(cr.cast(p, "float32"))  # noqa: E731
    assert found(total, cr.State(W)).reason == "state"
    assert found(total, cr.Tensor(np.arange(3))).reason == "integer"
    assert found(lambda p: cr.sum(p) + 1.0, cr.Tensor(W[:0])).reason == "empty"


def test_a_tensor_that_nothing_uses_is_told() -> None:
    assert found(lambda p: cr.sum(cr.exp(X))).reason == "unused"
    labels = np.zeros(3, np.float32)
    bias = cr.Tensor(np.zeros(3, np.float32))
    assert found(lambda p: cr.sum(cr.exp(X) - labels), bias).reason == "unused"


def test_a_numpy_array_is_known_by_its_numbers_only() -> None:
    assert found(lambda p: cr.sum(cr.tanh(p)), W).reason == "copied"


def test_the_cut_nearest_the_loss_is_named_and_others_are_counted() -> None:
    def fn(p):
        a = cr.stop_gradient(p)
        b = cr.round(p)
        return cr.sum(cr.exp(a)) * cr.sum(b)

    why = found(fn)
    assert why.others == 1 and {why.op} < {"stop_gradient", "round"}
    assert "So end 1 more of its paths." in str(why)


def test_a_cut_on_one_of_two_paths_is_none() -> None:
    assert found(lambda p: cr.sum(cr.stop_gradient(p) * p))


def test_the_first_of_two_zeros_on_one_path_is_named() -> None:
    assert found(lambda p: cr.sum(cr.relu(p * 0.0 - 1.0))).op == "relu"
    assert found(lambda p: cr.sum(cr.relu(p - 1e6) * 0.0)).op == "multiply"


def test_what_softmax_stops_inside_is_not_taken_for_the_cut() -> None:
    def loss(h):
        return nn.losses.sparse_categorical_crossentropy([0, 1, 1, 0], h, from_logits=True)

    closed = found(lambda p: loss(cr.relu(X @ p - 100.0)))
    assert (closed.reason, closed.op, closed.others) == ("zero", "relu", 0)
    stopped = found(lambda p: loss(cr.stop_gradient(X @ p)))
    assert (stopped.reason, stopped.others) == ("stopped", 0)
    assert "cr.stop_gradient" in stopped.place.source


def test_a_zero_beside_a_stopped_path_is_told_as_zero() -> None:
    why = found(lambda p: cr.sum(cr.stop_gradient(p)) + cr.sum(cr.relu(p - 100.0)))
    assert (why.reason, why.op) == ("zero", "relu")
    why = found(lambda p: cr.sum(cr.relu(p - p)) + cr.sum(cr.round(p)) + cr.sum(p * 0.0))
    assert why.reason == "zero" and why.others == 2


def test_a_loop_is_a_place_like_any_other() -> None:
    def run(start: float) -> GradientPath:
        def body(c, x):
            return cr.relu(c * p + start) + x, None

        p = cr.Tensor(np.float32([0.3, 0.2]))
        with cr.record():
            last, _ = scan(body, cr.Tensor(np.zeros(2, np.float32)), np.ones((4, 2), np.float32))
            loss = cr.sum(cr.tanh(last))
        return why_no_grad(loss, p)

    assert run(1.0).reason == "flows"
    closed = run(-9.0)
    assert (closed.reason, closed.op) == ("zero", "scan") and "scan(body" in closed.place.source
    assert "inside the body of this loop" in str(closed) and "call the body once" in closed.mend


def test_a_cut_inside_cond_or_checkpoint_says_where_to_ask() -> None:
    hidden = found(lambda p: cr.sum(cr.checkpoint(lambda p: cr.stop_gradient(p) * 2)(p)))
    assert (hidden.reason, hidden.op) == ("zero", "choose")
    assert "inside what cond or checkpoint runs" in str(hidden)


def model_and_loss() -> tuple[Any, Any]:
    model = cr.Sequential([nn.Dense(4, activation="relu"), nn.Dense(1)], seed=0)
    model.build_for(X.shape)
    model.layers[0].bias.assign(np.full(4, -100, np.float32))
    with cr.record():
        loss = cr.mean((model(X) - 1.0) ** 2)
    return model, loss


def test_a_parameter_is_asked_for_itself_or_by_its_path() -> None:
    model, loss = model_and_loss()
    for why in (
        why_no_grad(loss, model.layers[0].kernel),
        why_no_grad(loss, "dense/kernel", model),
    ):
        assert (why.reason, why.op, why.layer) == ("zero", "relu", "dense")
        assert "model(X)" in why.place.source and "in dense" in str(why)
    assert why.who == "dense/kernel" and "dense/kernel" in str(why)
    assert why_no_grad(loss, "dense_1/bias", model)


def test_a_frozen_parameter_is_told_where_its_model_is_given() -> None:
    model, loss = model_and_loss()
    model.layers[1].trainable = False
    why = why_no_grad(loss, "dense_1/bias", model)
    assert why.reason == "frozen" and why.norm > 0 and "trainable" in why.mend
    model.layers[1].trainable = True
    assert why_no_grad(loss, model.layers[1].bias, model).reason == "flows"
    model.compile(cr.optim.Groups("sgd", {"dense_1": None}), loss="mse")
    assert why_no_grad(loss, model.layers[1].bias, model).reason == "frozen"


def test_it_leaves_the_recording_as_good_as_it_was() -> None:
    p = cr.Tensor(W)
    with cr.record():
        loss = cr.sum(cr.tanh(X @ p))
    before = cr.gradient(loss, p).numpy()
    assert str(why_no_grad(loss, p)) == str(why_no_grad(loss, p))
    np.testing.assert_array_equal(cr.gradient(loss, p), before)


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda: why_no_grad(3.0, W), cr.GradientError, r"got a float(.|\n)*keep the Tensor"),
        (lambda: why_no_grad(cr.Tensor(3.0), W), cr.GradientError, r"recorded(.|\n)*cr.record"),
        (lambda: found(lambda p: X @ p), cr.GradientError, r"one float number.*float32\[4, 2\]"),
        (lambda: why_no_grad(model_and_loss()[1], "a"), cr.ArgumentError, r"(.|\n)*model=model"),
        (
            lambda: why_no_grad(model_and_loss()[1], "dense/kern", model_and_loss()[0]),
            cr.UnknownNameError,
            "did you mean 'dense/kernel'",
        ),
    ],
)
def test_what_cannot_be_asked_is_told(ask, error, text: str) -> None:
    with pytest.raises(error, match=text):
        ask()


def test_inside_jit_there_are_no_numbers_to_look_at() -> None:
    with pytest.raises(cr.GradientError, match=r"with its numbers(.|\n)*outside of cr.jit"):
        cr.jit(lambda p: why_no_grad(cr.sum(p * 2), p))(W)


def test_every_message_names_only_what_the_record_holds() -> None:
    fields = set(GradientPath.__dataclass_fields__)
    for message in MESSAGES.values():
        for text in message:
            assert {name for _, name, _, _ in string.Formatter().parse(text) if name} <= fields
