"""Every registered layer by its `sample`: a new layer is tested here without an edit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.module import LAYERS
from chainrule.nn.parts import held

OURS = {name: cls for name, cls in LAYERS.items() if cls.__module__.startswith("chainrule.")}
every_layer = pytest.mark.parametrize("cls", OURS.values(), ids=OURS.keys())
either_mode = pytest.mark.parametrize("training", [False, True], ids=["evaluating", "training"])


class Wrapped(nn.Module):
    """A model of one layer, to see paths."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.inner = layer

    def call(self, x: Any, *, training: bool = False) -> Any:
        return self.inner(x, training=training)


def arguments(cls: Any) -> tuple:
    """The sample's arguments; a function makes those that hold layers, new for each use."""
    args = cls.sample["args"]
    return args() if callable(args) else args


def make(cls: Any) -> nn.Module:
    return cls(*arguments(cls), **cls.sample.get("kwargs", {}))


def example(cls: Any, dtype: Any = np.float32) -> Any:
    """An array; a tuple of arrays where the sample has a list of shapes."""
    rng = np.random.default_rng(7)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        if cls.takes_integers:
            return rng.integers(0, cls.sample["classes"], shape)
        return rng.normal(size=shape).astype(dtype)

    shape = cls.sample["input"]
    return tuple(map(draw, shape)) if isinstance(shape, list) else draw(shape)


def each(function: Any, *examples: Any) -> Any:
    """`function` of each array of the examples."""
    return cr.tree_map(function, *examples)


def run(layer: nn.Module, x: Any, training: bool) -> Any:
    with nn.random_scope(cr.key(3)):
        return layer(x, training=training)


def weighted(layer: nn.Module, x: Any, training: bool) -> Any:
    """One number in which each output has a weight of its own, and its square one too."""
    y = run(layer, x, training)
    weights = np.random.default_rng(1).normal(size=y.shape)
    return cr.mean(y * cr.cast(weights, y.dtype) + y * y * 0.3)


def test_the_library_has_its_layers():
    wanted = "Activation BatchNormalization Conv2D Dense Dropout Flatten MaxPooling2D".split()
    assert set(wanted) <= set(OURS)
    assert all(getattr(nn, name) is cls for name, cls in OURS.items())


@every_layer
def test_output_follows_the_batch(cls):
    layer, x = make(cls), example(cls)
    one, two = layer(x), layer(each(lambda x: np.concatenate([x, x]), x))
    assert two.shape == (2 * one.shape[0], *one.shape[1:])
    assert one.dtype == np.float32 and np.isfinite(one.numpy()).all()
    np.testing.assert_allclose(two.numpy()[: one.shape[0]], one.numpy(), rtol=1e-5, atol=1e-6)


@every_layer
def test_building_alone_gives_what_the_first_call_gives(cls):
    called, built = make(cls), make(cls).build_for(cls.sample["input"])
    called(example(cls))
    assert built.built and called.built
    assert list(built.named_parameters()) == list(called.named_parameters())
    for name, tensor in called.named_parameters().items():
        np.testing.assert_array_equal(tensor, built.named_parameters()[name])


@every_layer
@either_mode
def test_a_layer_has_its_gradients(cls, training):
    layer, x = make(cls).build_for(cls.sample["input"]), example(cls, np.float64)
    found = cr.check_gradient(lambda m, x: weighted(m, x, training), [layer, x])
    assert found, found
    of_layer, of_x = cr.grad(lambda m, x: weighted(m, x, training), argnums=(0, 1))(layer, x)
    moved = [g.numpy() for g in cr.flatten(of_x)[0] if g is not None]
    assert len(moved) == (0 if cls.takes_integers else len(cr.flatten(x)[0]))
    found = of_layer.named_parameters()
    assert list(found) == list(layer.named_parameters())
    moved += [g.numpy() for g in found.values()]
    assert all(np.abs(g).max() > 1e-6 for g in moved)


@every_layer
@either_mode
def test_eager_equals_jit(cls, training):
    x = example(cls)
    eager, captured = (make(cls).build_for(cls.sample["input"]) for _ in range(2))
    passed = copy.deepcopy(eager)
    y = run(eager, x, training).numpy()
    by_capture = cr.jit(lambda x: run(captured, x, training))
    by_argument = cr.jit(lambda m, x: run(m, x, training))
    for found in (by_capture(x), by_argument(passed, x)):
        np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-6)
    for name, state in eager.named_states().items():
        for other in (captured, passed):
            np.testing.assert_allclose(other.named_states()[name], state, rtol=1e-5, atol=1e-6)


@every_layer
def test_only_what_takes_training_is_different_in_it(cls):
    layer, x = make(cls), example(cls)
    rest, work = run(layer, x, False).numpy(), run(layer, x, True).numpy()
    assert np.array_equal(rest, work) != cls._takes_training


@every_layer
def test_evaluating_changes_nothing(cls):
    layer, x = make(cls), example(cls)
    first = layer(x).numpy()
    np.testing.assert_array_equal(layer(x).numpy(), first)
    other = make(cls).build_for(cls.sample["input"])
    for name, state in layer.named_states().items():
        np.testing.assert_array_equal(state, other.named_states()[name])


@every_layer
def test_repr_shows_class_arguments_and_shapes(cls):
    layer = make(cls)
    has_parameters = cls.build is not nn.Module.build
    assert repr(layer).startswith(cls.__name__ + "(")
    if not callable(cls.sample["args"]):
        assert all(repr(arg) in repr(layer) for arg in cls.sample["args"])
        assert ("not built" in repr(layer)) == has_parameters
    layer.build_for(cls.sample["input"])
    for name, tensor in layer.named_parameters().items():
        assert f"{name.rpartition('/')[2]} {tensor.shape}" in repr(layer)
    assert "not built" not in repr(layer)


@every_layer
def test_parameters_have_paths_and_seeds(cls):
    def built(seed: int) -> dict[str, Any]:
        with nn.seeded(seed):
            return Wrapped(make(cls)).build_for(cls.sample["input"]).named_parameters()

    first, same, other = built(5), built(5), built(6)
    assert all(path.startswith("inner/") for path in first)
    for path, tensor in first.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, same[path])
    drawn = [path for path, tensor in first.items() if np.unique(tensor.numpy()).size > 1]
    assert all(not np.array_equal(first[path], other[path]) for path in drawn)


@every_layer
def test_as_a_tree_it_is_itself(cls):
    layer, x = make(cls), example(cls)
    y = layer(x).numpy()
    leaves, structure = cr.flatten(layer)
    assert len(leaves) == len(layer.named_parameters()) + len(layer.named_states())
    again = cr.unflatten(structure, leaves)
    assert type(again) is cls and again.name == layer.name and again.built
    np.testing.assert_array_equal(again(x), y)
    assert cr.flatten(again)[1] == structure and hash(structure) == hash(cr.flatten(again)[1])


def layers_in(layer: nn.Module) -> list:
    return [part for _, part in held(layer) if isinstance(part, nn.Module)]


@every_layer
def test_another_width_names_layer_and_mend(cls):
    model, x = Wrapped(make(cls)), example(cls)
    model(x)
    if not model.named_parameters() or cls.takes_integers:
        model(each(lambda x: np.concatenate([x, x], axis=-1), x))
        return
    with pytest.raises(cr.ShapeError) as caught:
        model(each(lambda x: np.concatenate([x, x[..., :1]], axis=-1), x))
    text = str(caught.value)
    named = [cls, *map(type, layers_in(model.inner))]
    assert text.startswith("inner") and any(c.__name__ in text for c in named) and "mend: " in text
    assert f"for {x.shape[-1]} " in text and f"got {x.shape[-1] + 1}" in text
    assert "test_layers.py" in text


@every_layer
@pytest.mark.parametrize("built", [False, True])
def test_an_input_without_axes_names_layer_and_mend(cls, built):
    layer = make(cls).build_for(cls.sample["input"]) if built else make(cls)
    try:
        y = Wrapped(layer)(np.int64(1) if cls.takes_integers else np.float32(1))
    except cr.ShapeError as error:
        text = str(error)
    else:
        assert y.shape == ()  # a layer of elements alone takes any shape
        return
    named = [cls, *map(type, layers_in(layer))]
    assert text.startswith("inner") and any(c.__name__ in text for c in named) and "mend: " in text


@every_layer
def test_a_name_can_be_given(cls):
    kwargs = {**cls.sample.get("kwargs", {}), "name": "mine"}
    assert cls(*arguments(cls), **kwargs).name == "mine"
