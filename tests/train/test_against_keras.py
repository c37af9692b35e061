"""Metrics, schedules and optimisers against Keras 3: the same numbers on random data.

Metrics and schedules go through their registered samples; an optimiser takes 50 steps. Losses,
layers and the defaults of all arguments are compared in `tests/nn/test_against_keras.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train import metrics, optim, schedules, scores
from tests.train.test_metrics import drawn, over_batches

WHY = "pip install 'chainrule[peers]'"
os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch", reason=WHY)
keras = pytest.importorskip("keras", reason=WHY)
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's
]

# Names that Keras resolves otherwise than by `keras.metrics.get`.
METRICS: dict[str, Callable] = {
    "accuracy": lambda: keras.metrics.SparseCategoricalAccuracy(),  # what `compile` makes of it
    "acc": lambda: keras.metrics.SparseCategoricalAccuracy(),
    "f1_score": lambda: keras.metrics.F1Score(average="macro"),
    "r2": lambda: keras.metrics.R2Score(class_aggregation="uniform_average"),
    "rmse": lambda: keras.metrics.RootMeanSquaredError(),
}
BINARY = {"precision": scores.Precision, "recall": scores.Recall}  # Keras has them of one class


def theirs(name: str) -> Any:
    if name in METRICS:
        return METRICS[name]()
    camel = "".join(word.capitalize() for word in name.split("_"))
    special = {"Auc": "AUC", "KlDivergence": "KLDivergence"}
    cls = getattr(keras.metrics, special.get(camel, camel), None)
    return keras.metrics.get(name) if cls is None else cls()


def by_keras(metric: Any, y: np.ndarray, p: np.ndarray) -> float:
    metric.update_state(y, p)
    return float(np.asarray(keras.ops.convert_to_numpy(metric.result())))


@pytest.mark.parametrize("name", sorted(set(metrics.METRICS) - set(BINARY)))
def test_metric_gives_what_keras_gives(name: str) -> None:
    y, p = drawn(metrics.CHECKS[name].targets)
    of_shares = name == "f1_score"  # Keras wants its targets one-hot
    wanted = by_keras(theirs(name), np.eye(p.shape[-1])[y] if of_shares else y, p)
    assert over_batches(metrics.METRICS[name](), y, p, 10) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_score_of_one_output_is_that_of_keras(name: str) -> None:
    y, p = drawn("flags")
    assert over_batches(BINARY[name](), y, p, 9) == pytest.approx(by_keras(theirs(name), y, p))


@pytest.mark.parametrize("k", [1, 3])
def test_top_k_is_that_of_keras(k: int) -> None:
    y, p = drawn("classes")
    wanted = by_keras(keras.metrics.SparseTopKCategoricalAccuracy(k), y, p)
    assert over_batches(metrics.TopK(k), y, p, 10) == pytest.approx(wanted)


def waved(
    rate: Any,
    decay_steps: int,
    restarts: bool = False,
    alpha: float = 0.0,
    t_mul: int = 1,
    **a: Any,
) -> Any:
    if not restarts:
        return keras.optimizers.schedules.CosineDecay(rate, decay_steps, alpha)
    found = keras.optimizers.schedules.CosineDecayRestarts
    return found(rate, decay_steps, t_mul=t_mul, alpha=alpha, **a)  # which by itself has t_mul=2


SCHEDULES: dict[str, Callable] = {
    "piecewise": lambda boundaries, rates: keras.optimizers.schedules.PiecewiseConstantDecay(
        boundaries, rates
    ),
    "exponential": lambda rate, **a: keras.optimizers.schedules.ExponentialDecay(rate, **a),
    "polynomial": lambda rate, decay_steps, end=1e-4, power=1.0: (
        keras.optimizers.schedules.PolynomialDecay(rate, decay_steps, end, power)
    ),
    "cosine": waved,
}
SCHEDULES_APART = {
    "constant": "a number in Keras",
    "one_cycle": "PyTorch's, and compared with it",
    "warmup": "in Keras a part of CosineDecay alone, from 0 on; compared with PyTorch",
}


def test_every_schedule_has_a_twin_or_a_reason() -> None:
    assert SCHEDULES.keys() | SCHEDULES_APART.keys() == schedules.SCHEDULES.keys()


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_gives_what_keras_gives(name: str) -> None:
    for sample in schedules.CHECKS[name].samples:
        ours, peer = schedules.SCHEDULES[name](**sample), SCHEDULES[name](**sample)
        for step in range(60):
            wanted = float(keras.ops.convert_to_numpy(peer(step)))
            assert float(ours(step)) == pytest.approx(wanted, rel=2e-6, abs=1e-7), step


RATE, DECAY = 2.0**-6, 2.0**-8  # Keras rounds both to float32
SHAPES = {"w": (3, 4), "b": (3,)}
OURS_ALONE = {"nadam": {"momentum_decay"}}
# Where definitions part: Keras scales Muon's step by `rms_rate`, ours only that of tall matrices,
# and the share `adam_lr_ratio` does not reach the weight decay of its Adam.
MEANT: dict[str, tuple[dict, dict]] = {
    "adamw": ({"weight_decay": DECAY}, {}),
    "muon": ({"adam_lr_ratio": 1.0}, {"rms_rate": None}),
}


def settings(name: str) -> list[dict]:
    cls = optim.OPTIMIZERS[name]
    alone = OURS_ALONE.get(name, set())
    return [{k: v for k, v in sample.items() if k not in alone} for sample in cls.samples]


RUNS = [
    pytest.param(name, given, id=f"{name}-{i}")
    for name in optim.OPTIMIZERS
    if hasattr(keras.optimizers, optim.OPTIMIZERS[name].__name__)
    for i, given in enumerate(settings(name))
]


def test_every_optimiser_has_a_namesake_in_keras() -> None:
    lacking = [
        cls.__name__
        for cls in optim.OPTIMIZERS.values()
        if cls.__module__.startswith("chainrule.") and not hasattr(keras.optimizers, cls.__name__)
    ]
    assert not lacking


def fifty_steps(ours: Any, peer: Any) -> Any:
    """Both take 50 steps from one start with the same gradients; the state of ours."""
    rng = np.random.Generator(np.random.Philox(key=7))
    start = {key: rng.normal(size=shape) for key, shape in SHAPES.items()}
    variables = [keras.Variable(x, dtype="float64") for x in start.values()]
    peer.build(variables)
    params: Any = {key: Tensor(x) for key, x in start.items()}
    state, update = ours.init(params), cr.jit(ours.update)
    for _ in range(50):
        grads = {key: rng.normal(size=shape) for key, shape in SHAPES.items()}
        params, state = update(params, {key: Tensor(g) for key, g in grads.items()}, state)
        peer.apply([torch.tensor(g) for g in grads.values()], variables)
    for key, variable in zip(SHAPES, variables, strict=True):
        wanted = keras.ops.convert_to_numpy(variable)
        assert np.abs(wanted - start[key]).max() > 0.02
        np.testing.assert_allclose(params[key].numpy(), wanted, rtol=0, atol=1e-6, err_msg=key)
    return state


@pytest.mark.parametrize(("name", "given"), RUNS)
def test_fifty_steps_are_those_of_keras(name: str, given: dict) -> None:
    """With Keras's own epsilons, and where they stand; 1e-6 in float64."""
    cls = optim.OPTIMIZERS[name]
    here, there = MEANT.get(name, ({}, {}))
    ours = cls(**{"learning_rate": RATE, **given, **here})
    shared = {k: v for k, v in vars(ours).items() if k not in OURS_ALONE.get(name, set())}
    fifty_steps(ours, getattr(keras.optimizers, cls.__name__)(**shared, **there))


@pytest.mark.parametrize(
    ("around", "options"),
    [
        (lambda opt: optim.ClipByValue(opt, 0.3), {"clipvalue": 0.3}),
        (lambda opt: optim.ClipByNorm(opt, 0.5), {"clipnorm": 0.5}),
        (lambda opt: optim.ClipByGlobalNorm(opt, 0.5), {"global_clipnorm": 0.5}),
        (lambda opt: optim.WeightDecay(opt, DECAY), {"weight_decay": DECAY}),
        (lambda opt: optim.Accumulate(opt, 5), {"gradient_accumulation_steps": 5}),
        (lambda opt: optim.Averaged(opt, 0.5), {"use_ema": True, "ema_momentum": 0.5}),
    ],
    ids=["clipvalue", "clipnorm", "global_clipnorm", "weight_decay", "accumulation", "ema"],
)
def test_what_goes_around_an_optimiser_is_an_argument_of_keras(around, options) -> None:
    peer = keras.optimizers.Adam(RATE, **options)
    state = fifty_steps(around(optim.Adam(RATE)), peer)
    if "use_ema" in options:  # the averages begin otherwise, which half of 50 times leaves no more
        for key, variable in zip(SHAPES, peer._model_variables_moving_average, strict=True):
            wanted = keras.ops.convert_to_numpy(variable)
            np.testing.assert_allclose(state["average"][key].numpy(), wanted, atol=1e-6)
