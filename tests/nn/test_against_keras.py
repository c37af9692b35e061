"""Layers and losses against Keras 3 by name: the values, and the defaults of every argument.

Nothing here knows a layer but by its `sample`, nor a loss but by its `Check`. What Keras has
otherwise stands in the tables of `docs/from-keras.md`, which are held against both libraries.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import losses
from chainrule.nn.activations import ACTIVATIONS
from chainrule.nn.constraints import CONSTRAINTS
from chainrule.nn.initializers import INITIALIZERS
from chainrule.nn.module import LAYERS
from chainrule.nn.regularizers import REGULARIZERS
from chainrule.train import optim
from tests.nn.test_layers import arguments
from tests.nn.test_losses import CASES, ROWS, draw

WHY = "pip install 'chainrule[peers]'"
os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch", reason=WHY)
keras = pytest.importorskip("keras", reason=WHY)
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's
]

PAGE = Path(__file__).parents[2] / "docs" / "from-keras.md"
OURS = {name: cls for name, cls in LAYERS.items() if cls.__module__.startswith("chainrule.")}

LAYERS_APART = {
    "Residual": "Keras has no such layer",
    "RNN": "a layer around one of ours; compared in test_recurrent_against_peers",
    "Bidirectional": "likewise",
    "TimeDistributed": "likewise",
}
LOSSES_APART = {
    "bpr": "Keras has no such loss; compared with PyTorch",
    "triplet": "Keras has no such loss; compared with PyTorch",
}
# Arguments that Keras takes elsewhere, and how its layer is then called.
CALLS: dict[str, tuple[set[str], Callable]] = {
    "MultiHeadAttention": ({"causal"}, lambda layer, x: layer(x, x, use_causal_mask=True)),
    # In Keras these are training unless told otherwise.
    **{
        name: (set(), lambda layer, x: layer(x, training=False))
        for name in ("RandomErasing", "RandomFlip", "RandomRotation", "RandomTranslation")
    },
}
# What Keras's layer holds, for samples whose arguments are layers.
HELD: dict[str, Callable] = {
    "RNN": lambda: keras.layers.GRUCell(2, reset_after=False, dtype="float64"),
    "Bidirectional": lambda: keras.layers.SimpleRNN(2, return_sequences=True, dtype="float64"),
    "TimeDistributed": lambda: keras.layers.BatchNormalization(dtype="float64"),
}


def example(cls: Any) -> Any:
    """What `test_layers.py` draws, in float64, and as the list that Keras takes for several."""
    rng = np.random.default_rng(7)
    shape = cls.sample["input"]
    if cls.takes_integers:
        return rng.integers(0, cls.sample["classes"], shape)
    return (
        [rng.normal(size=s) for s in shape] if isinstance(shape, list) else rng.normal(size=shape)
    )


def options(cls: Any) -> tuple[dict, dict]:
    """The sample's options for ours and for Keras's, without those that Keras has not at all."""
    known = inspect.signature(getattr(keras.layers, cls.__name__)).parameters
    given = cls.sample.get("kwargs", {})
    shared = {name: value for name, value in given.items() if name in known}
    at_call = {name: given[name] for name in CALLS.get(cls.__name__, ((), None))[0]}
    return {**shared, **at_call}, shared


def ready(cls: Any) -> nn.Module:
    """The layer with random float64 numbers, above 0, in every parameter and state."""
    rng = np.random.default_rng(3)
    layer = cls(*arguments(cls), **options(cls)[0]).build_for(cls.sample["input"])

    def drawn(leaf: Any) -> Any:
        return type(leaf)(rng.uniform(0.5, 1.5, leaf.shape)) if leaf.dtype.kind == "f" else leaf

    return cr.tree_map(drawn, layer)


def peer(cls: Any, layer: nn.Module, x: Any, **at_call: Any) -> Callable:
    """Keras's layer of the same name and arguments with the same numbers in its weights."""
    call = CALLS.get(cls.__name__, ((), lambda layer, x: layer(x)))[1]
    given = (HELD[cls.__name__](),) if cls.__name__ in HELD else arguments(cls)
    theirs = getattr(keras.layers, cls.__name__)(*given, **options(cls)[1], dtype="float64")
    call(theirs, x)
    ours = [*layer.named_parameters().values(), *layer.named_states().values()]
    for weight, tensor in zip(theirs.weights, ours, strict=True):
        weight.assign(tensor.numpy())
    if at_call:
        return lambda x: keras.ops.convert_to_numpy(theirs(x, **at_call))
    return lambda x: keras.ops.convert_to_numpy(call(theirs, x))


def ours_of(layer: nn.Module, x: Any) -> np.ndarray:
    return layer(tuple(x) if isinstance(x, list) else x).numpy()


def test_every_layer_has_a_namesake_or_a_reason() -> None:
    lacking = [name for name in OURS if not hasattr(keras.layers, name)]
    assert set(lacking) <= set(LAYERS_APART) <= set(OURS)


@pytest.mark.parametrize("name", [name for name in OURS if name not in LAYERS_APART])
def test_layer_gives_what_keras_gives(name: str) -> None:
    cls = OURS[name]
    layer, x = ready(cls), example(cls)
    np.testing.assert_allclose(ours_of(layer, x), peer(cls, layer, x)(x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional"])
@pytest.mark.parametrize("kept", [[3, 1], [2, 3]])
def test_masked_steps_are_skipped_as_in_keras(name: str, kept: list) -> None:
    cls = OURS[name]
    layer, x = ready(cls), example(cls)
    mask = np.arange(3) < np.array(kept)[:, None]
    theirs = peer(cls, layer, x, mask=mask)
    np.testing.assert_allclose(layer(x, mask=mask).numpy(), theirs(x), rtol=1e-6, atol=1e-7)


def test_moving_statistics_move_as_in_keras() -> None:
    cls = nn.BatchNormalization
    layer, x = ready(cls), example(cls)
    theirs = keras.layers.BatchNormalization(dtype="float64")
    theirs.build(x.shape)
    for weight, tensor in zip(theirs.weights, cr.flatten(layer)[0], strict=True):
        weight.assign(tensor.numpy())
    y = keras.ops.convert_to_numpy(theirs(x, training=True))
    np.testing.assert_allclose(layer(x, training=True).numpy(), y, rtol=1e-5)
    for name, state in layer.named_states().items():
        moved = keras.ops.convert_to_numpy(getattr(theirs, name))
        np.testing.assert_allclose(state.numpy(), moved, rtol=1e-5)


BY_NAME = [
    *[(name, ACTIVATIONS[name], "activations") for name in ACTIVATIONS],
    *[(name, REGULARIZERS[name], "regularizers") for name in ("l1", "l2")],
    *[(name, CONSTRAINTS[name], "constraints") for name in CONSTRAINTS],
]


def test_every_regularizer_has_a_twin() -> None:
    assert REGULARIZERS.keys() == {"l1", "l2", "l1_l2"}  # the last has no such name in Keras


@pytest.mark.parametrize(("name", "ours", "module"), BY_NAME)
def test_what_a_name_stands_for_is_the_same_in_keras(name, ours, module) -> None:
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32) * 3
    wanted = keras.ops.convert_to_numpy(getattr(keras, module).get(name)(x))
    np.testing.assert_allclose(ours(cr.Tensor(x)).numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(INITIALIZERS.keys() - {"constant"}))
def test_initial_numbers_spread_as_those_of_keras(name: str) -> None:
    shape = (3, 5, 120, 100)  # a kernel, whose fans count its window
    ours = INITIALIZERS[name](cr.key(0), shape).numpy()
    theirs = keras.ops.convert_to_numpy(keras.initializers.get(name)(shape))
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.02 * float(theirs.std()) + 1e-12)
    if "uniform" in name:
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)


def test_every_loss_has_a_namesake_or_a_reason() -> None:
    lacking = [
        name for name, cls in losses.CLASSES.items() if not hasattr(keras.losses, cls.__name__)
    ]
    assert set(lacking) == set(LOSSES_APART)


def in_keras(name: str, options: dict) -> bool:
    """Whether Keras has the loss and all of the options (it smooths no integer labels)."""
    theirs = getattr(keras.losses, losses.CLASSES[name].__name__, None)
    return theirs is not None and options.keys() <= inspect.signature(theirs).parameters.keys()


ALIKE = [
    pytest.param(name, options, id=f"{name}-{i}")
    for i, (name, options) in enumerate(CASES)
    if in_keras(name, options)
]


@pytest.mark.parametrize(("name", "options"), ALIKE)
def test_loss_gives_what_keras_gives(name: str, options: dict) -> None:
    cls = losses.CLASSES[name]
    theirs = getattr(keras.losses, cls.__name__)(**options, dtype="float64")
    y, p = draw(name, options)
    weights = np.random.default_rng(1).uniform(0.5, 2, ROWS)
    wanted = float(theirs(y, p))
    np.testing.assert_allclose(cls(**options)(y, p).item(), wanted, rtol=1e-6)
    wanted = float(theirs(y, p, sample_weight=weights))
    found = cls(**options)(y, p, weights).item() * weights.mean()  # Keras divides by the number
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def classes() -> Iterator[tuple[str, type, type]]:
    """(kind, ours, Keras's) for every class that both have under one name."""
    kinds: dict[str, tuple[Any, Any]] = {
        "layer": (OURS.values(), keras.layers),
        "loss": (losses.CLASSES.values(), keras.losses),
        "optimiser": (set(optim.OPTIMIZERS.values()), keras.optimizers),
        "initializer": (vars(nn.initializers).values(), keras.initializers),
        "regularizer": (vars(nn.regularizers).values(), keras.regularizers),
        "constraint": (vars(nn.constraints).values(), keras.constraints),
        "callback": (vars(cr.train).values(), keras.callbacks),
        "metric": (vars(cr.train.scores).values(), keras.metrics),
    }
    for kind, (found, theirs) in kinds.items():
        for cls in found:
            ours = isinstance(cls, type) and cls.__module__.startswith("chainrule.")
            if ours and isinstance(getattr(theirs, cls.__name__, None), type):
                yield kind, cls, getattr(theirs, cls.__name__)


def settings(cls: type) -> dict[str, Any]:
    """The arguments and their defaults; `name` is no setting."""
    free = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in free and p.name != "name"}


def takes_any(cls: type) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())


def plain(default: Any) -> Any:
    """One spelling of what is written in several ways: (2, 2) is 2."""
    if isinstance(default, tuple) and len(set(default)) == 1:
        return default[0]
    return (
        {"uniform": "random_uniform"}.get(default, default) if isinstance(default, str) else default
    )


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the page, as cells."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r" \| ", row.strip("|"))] for row in rows[1:]]


def test_defaults_are_those_of_keras_but_for_the_pages() -> None:
    found = set()
    for _, ours, theirs in classes():
        mine, other = settings(ours), settings(theirs)
        for name in mine.keys() & other.keys():
            a, b = plain(mine[name]), plain(other[name])
            if b is not inspect.Parameter.empty and a != b:
                found.add(tuple(f"`{each}`" for each in (ours.__name__, name, repr(a), repr(b))))
    assert found == {tuple(row[:4]) for row in table("Other defaults")}
    assert len(list(classes())) > 60


def stated_in(heading: str) -> dict[str, set[str]]:
    """What the page says is not here: names, by what they would be of."""
    stated: dict[str, set[str]] = {}
    for of, names, _ in table(heading):
        for who in re.findall(r"`(\w+)`", of) or [of]:
            stated.setdefault(who, set()).update(re.findall(r"`(\w+)`", names))
    return stated


def test_absent_arguments_are_those_of_the_page() -> None:
    stated = stated_in("Arguments that are not here")
    used: dict[str, set[str]] = {who: set() for who in stated}
    lacking = {}
    for kind, ours, theirs in classes():
        absent = settings(theirs).keys() - settings(ours).keys()
        if takes_any(ours):
            continue
        for who in (ours.__name__, f"every {kind}"):
            if who in stated:
                used[who] |= absent & stated[who]
                absent -= stated[who]
        if absent:
            lacking[f"{kind} {ours.__name__}"] = sorted(absent)
    assert not lacking, f"a row of {PAGE.name} is needed for {lacking}"
    assert used == stated, "a row of what is there"


def test_what_the_model_lacks_is_that_of_the_page() -> None:
    stated = stated_in("The model")
    for name in stated.pop("Model"):
        assert hasattr(keras.Model, name) and not hasattr(cr.Model, name), name
    lacking = {
        name: _arguments(getattr(keras.Model, name)) - _arguments(getattr(cr.Model, name))
        for name in stated
    }
    for name, absent in lacking.items():
        assert absent <= stated[name], f"a row of {PAGE.name} is needed for {name}"
    used, there = (set().union(*each.values()) for each in (lacking, stated))
    assert used == there, "a row of what is there"


def _arguments(method: Any) -> set[str]:
    free = {"kwargs", "filepath"}  # the second is `path` here, and comes first
    return set(inspect.signature(method).parameters) - free
