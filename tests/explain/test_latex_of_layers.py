"""The LaTeX printed for each kind of layer and loss, parsed back, is the engine's gradient."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain.explain import explain
from chainrule.nn.module import LAYERS
from tests.explain.latex_reader import evaluate, sides

OURS = [cls for cls in LAYERS.values() if cls.__module__.startswith("chainrule.")]


def arguments(cls) -> tuple:
    args = cls.sample["args"]
    return args() if callable(args) else args


def in_float64(layer: nn.Module) -> nn.Module:
    """The layer with its float numbers in float64, so that the engine's gradients are too."""

    def widened(leaf):
        array = leaf.numpy()
        return cr.Tensor(array.astype(np.float64)) if array.dtype == np.float32 else leaf

    return cr.tree_map(widened, layer)


def example(cls):
    rng = np.random.default_rng(7)
    shape = cls.sample["input"]
    shapes = shape if isinstance(shape, list) else [shape]
    if cls.takes_integers:
        found = tuple(rng.integers(0, cls.sample["classes"], each) for each in shapes)
    else:
        found = tuple(rng.normal(size=each) for each in shapes)
    return found if isinstance(shape, list) else found[0]


def largest(gradient: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.abs(gradient).argmax(), gradient.shape))


def printed(explanation) -> list[float]:
    """What the numeric sides of all its equations are worth."""
    found = []
    for equation in explanation.to_latex().split("\n\n"):
        bare = re.sub(r"&&[^\n]*?(?= \\\\|\n)", "", equation)
        found += [evaluate(side) for side in sides(bare) if r"\partial" not in side]
    return found


def with_parameters() -> list:
    made = {
        cls: cls(*arguments(cls), **cls.sample.get("kwargs", {})).build_for(cls.sample["input"])
        for cls in OURS
    }
    return [
        pytest.param(layer, id=cls.__name__)
        for cls, layer in made.items()
        if layer.named_parameters()
    ]


@pytest.mark.parametrize("layer", with_parameters())
def test_printed_latex_of_each_layer_is_the_engines_gradient(layer):
    x = example(type(layer))
    layer = in_float64(layer)
    parameters = layer.named_parameters()
    with cr.record(), nn.random_scope(cr.key(3)):
        y = layer(x, training=True)
        weights = np.random.default_rng(1).normal(size=y.shape)
        loss = cr.mean(y * weights + y * y * 0.3)
    gradients = cr.gradient(loss, list(parameters.values()))
    for parameter, gradient in zip(parameters.values(), gradients):
        g = gradient.numpy()
        explanation = explain(loss, parameter, index=largest(g), check="none")
        values = printed(explanation)
        assert len(values) == 2 * len(explanation.partitions) > 0
        assert values == pytest.approx([g[largest(g)]] * len(values), rel=1e-6)


LOSSES = {
    "mse": (1, lambda rng: rng.normal(size=(6, 1))),
    "binary_crossentropy": (1, lambda rng: rng.integers(0, 2, (6, 1))),
    "sparse_categorical_crossentropy": (3, lambda rng: rng.integers(0, 3, 6)),
    "hinge": (1, lambda rng: 2.0 * rng.integers(0, 2, (6, 1)) - 1),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_printed_latex_of_each_loss_is_the_explained_gradient(loss):
    units, draw = LOSSES[loss]
    rng = np.random.default_rng(5)
    last = "sigmoid" if loss == "binary_crossentropy" else None
    layers = [nn.Dense(4, "tanh", kernel_regularizer=nn.regularizers.L2(0.01))]
    model = cr.Sequential([*layers, nn.Dense(units, last)], seed=1)
    model.compile("sgd", loss)
    explanation = explain(model, rng.normal(size=(6, 3)), draw(rng), "dense/kernel", index=(1, 2))
    assert all(each.regulariser for each in explanation.partitions)
    values = printed(explanation)
    assert values == pytest.approx([explanation.gradient] * len(values), rel=1e-6)
