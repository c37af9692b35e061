"""Module as a pytree: gradients, optimisers, copies, and what recording forbids."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

x = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


class Net(nn.Module):
    """Layers in a list, one that has State, and parameters and State of its own."""

    calls: Any
    norm: nn.Module

    def __init__(self):
        super().__init__()
        self.blocks = [nn.Dense(3, "tanh"), nn.Dense(2)]
        self.norm = nn.BatchNormalization()
        self.scale = 2.0

    def build(self, shape):
        self.parameter("gain", shape[-1:], "ones")
        self.state("calls", (), 0)

    def call(self, x, *, training=False):
        self.calls = self.calls + 1
        x = self.blocks[0](x) * self.gain
        return self.blocks[1](self.norm(x, training=training) * self.scale)


class Shared(nn.Module):
    """One layer under two attributes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Dense(3, "tanh")
        self.second = self.first

    def call(self, x):
        return self.second(self.first(x))


class Lazy(nn.Module):
    """A module that makes its child when it is built."""

    def build(self, shape):
        self.inner = nn.Dense(shape[-1])

    def call(self, x):
        return self.inner(x)


def loss(model, x, training=False):
    return cr.mean(model(x, training=training) * 3.0)


def test_gradients_come_as_a_module():
    model = Net().build_for(x.shape)
    value, g = cr.value_and_grad(loss)(model, x, True)
    assert type(g) is Net and g.calls is None and g.norm.moving_mean is None
    assert model.calls.item() == 1 and value.shape == ()
    moved = cr.tree_map(lambda p, g: p if g is None else p - 0.1 * g, model, g)
    assert list(moved.named_parameters()) == list(model.named_parameters()) and list(
        moved.named_states()
    ) == list(model.named_states())
    assert loss(moved, x, True).item() < value.item()
    assert cr.check_gradient(lambda m, x: loss(m, x, True) ** 2, [model, x], tolerance=1e-3)


def test_an_optimizer_takes_modules():
    model = Net().build_for(x.shape)
    opt = cr.optim.Adam(0.01)
    state = opt.init(model)

    @cr.jit
    def step(model, state, x):
        value, g = cr.value_and_grad(loss)(model, x, True)
        model, state = opt.update(model, g, state)
        return model, state, value

    values = []
    for _ in range(4):
        model, state, value = step(model, state, x)
        values.append(value.item())
    assert values[-1] < values[0] and model.calls.item() == 4
    assert isinstance(model.calls, cr.State) and isinstance(model.norm.moving_mean, cr.State)
    assert len(step.entries) == 1


def test_a_shared_layer_is_one_layer():
    model = Shared().build_for(x.shape)
    assert list(model.named_parameters()) == ["first/kernel", "first/bias"]
    leaves, structure = cr.flatten(model)
    again = cr.unflatten(structure, leaves)
    assert len(leaves) == 2 and again.first is again.second
    found = cr.check_gradient(lambda m, x: cr.sum(m(x)), [model, x])
    assert found, found


def test_configuration_is_part_of_what_jit_compiles_for():
    step = cr.jit(lambda m, x: m(x))
    model = Net().build_for(x.shape)
    first = step(model, x).numpy()
    step(copy.deepcopy(model), x)
    assert len(step.entries) == 1
    model.scale = 4.0
    assert len(step.entries) == 1 and not np.allclose(step(model, x), first)
    assert len(step.entries) == 2


def test_untracked_attributes_are_not():
    class Noted(nn.Dense):
        untracked = ("notes",)
        notes: Any

        def call(self, x):
            self.notes = [*self.notes, x.shape]
            return super().call(x)

    layer = Noted(2)
    layer.notes = []
    step = cr.jit(lambda m, x: m(x))
    step(layer.build_for((1, 3)), x)
    layer.notes = ["changed"]
    step(layer, x)
    assert len(step.entries) == 1 and "notes" not in repr(layer)


def test_copies_are_apart():
    model = Net().build_for(x.shape)
    for other in (copy.deepcopy(model), cr.tree_map(lambda p: p * 1, model)):
        other.gain.assign(np.zeros(3, np.float32))
        other.calls = 7
        assert model.gain.numpy().all() and model.calls.item() == 0
        assert isinstance(other.calls, cr.State)
        assert other.parameter("more", (2,), "ones").shape == (2,)


def test_modules_can_be_pickled():
    model = Net().build_for(x.shape)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again(x), model(x))


def test_an_unbuilt_argument_of_a_transform_is_refused():
    for transform in (cr.jit(loss), cr.grad(loss, argnums=(0, 1))):
        with pytest.raises(cr.GradientError, match=r"not built.*\n.*build_for"):
            transform(Lazy(), x)


@pytest.mark.parametrize("value", [1.0, cr.Tensor([1.0]), nn.Flatten()])
def test_assignment_while_recording_is_refused(value):
    class Careless(nn.Module):
        def call(self, x):
            self.kept = value
            return x

    with pytest.raises(cr.GradientError, match=r"careless.kept was assigned"):
        cr.grad(lambda x: cr.sum(Careless()(x)))(x)
    Careless()(x)


def test_modules_can_be_made_while_recording():
    with cr.record():
        layer = nn.Dense(2, kernel_initializer="ones")
        found = cr.sum(layer(x))
    np.testing.assert_allclose(cr.gradient(found, layer.bias), [4, 4])
