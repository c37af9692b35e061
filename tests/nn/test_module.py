"""Module: what attributes are, names and paths, building, inputs, errors."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

x = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


class Net(nn.Module):
    """Two blocks in a list, one in a dict, one alone; and a State of its own."""

    calls: Any
    norm: nn.Module

    def __init__(self):
        super().__init__()
        self.blocks = [nn.Dense(3, "tanh"), nn.Dense(3, "tanh")]
        self.heads = {"mean": nn.Dense(1)}
        self.norm = nn.BatchNormalization()
        self.scale = 2.0

    def build(self, shape):
        self.parameter("gain", shape[-1:], "ones")
        self.state("calls", (), 0)

    def call(self, x, *, training=False):
        self.calls = self.calls + 1
        for block in self.blocks:
            x = block(x)
        return self.heads["mean"](self.norm(x * self.gain, training=training) * self.scale)


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


PATHS = [
    "blocks_0/kernel",
    "blocks_0/bias",
    "blocks_1/kernel",
    "blocks_1/bias",
    "heads_mean/kernel",
    "heads_mean/bias",
    "norm/gamma",
    "norm/beta",
    "gain",
]


NORM = "gamma beta moving_mean moving_variance".split()


def test_paths_follow_attributes():
    model = Net().build_for(x.shape)
    assert list(model.named_parameters()) == PATHS
    assert list(model.named_states()) == ["norm/moving_mean", "norm/moving_variance", "calls"]
    assert all(isinstance(state, cr.State) for state in model.named_states().values())


def test_paths_nest():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def call(self, x):
            return self.net(x)

    assert list(Outer().build_for(x.shape).named_parameters()) == ["net/" + path for path in PATHS]


def test_origins_carry_the_paths():
    model = Net().build_for(x.shape)
    graph = cr.jit(loss).graph(model, x)
    assert {origin.layer for origin in graph.origins.values()} >= {"blocks_0", "blocks_1", "norm"}


def test_origins_of_a_layer_alone_carry_its_name():
    graph = cr.jit(lambda x: nn.Dense(2)(x)).graph(x)
    assert {origin.layer for origin in graph.origins.values()} - {""} == {"dense"}


def test_a_given_name_wins_and_the_first_holder_names():
    layer = nn.Dense(2, name="mine")
    model = Shared()
    model.third = layer
    assert layer.name == "mine" and model.first.name == "first"


@pytest.mark.parametrize("name", ["", "a/b", 3])
def test_names_that_part_a_path_are_refused(name):
    with pytest.raises(cr.ArgumentError, match="without '/'"):
        nn.Dense(2, name=name)


def test_chains_are_numbered():
    layers = [nn.Dense(1), nn.Flatten(), nn.Dense(1), nn.Dense(1, name="dense_1"), nn.Dense(1)]
    nn.number_names(layers)
    assert [layer.name for layer in layers] == ["dense", "flatten", "dense_2", "dense_1", "dense_3"]


def test_two_tensors_of_one_path_are_refused():
    model = Net()
    model.other = nn.Dense(1, name="norm")
    model.other.build((1, 2))
    model.norm.build((1, 2))
    model.other.gamma = cr.Tensor([1.0])
    with pytest.raises(cr.ArgumentError, match="'norm/gamma'"):
        model.named_parameters()


def test_lists_become_tuples_and_what_cannot_be_compared_is_refused():
    model = Net()
    assert isinstance(model.blocks, tuple)
    model.sizes = [1, [2, 3]]
    assert model.sizes == (1, (2, 3))
    with pytest.raises(cr.ArgumentError, match=r"hashable.*dict"):
        model.options = {"a": 1}
    with pytest.raises(cr.ArgumentError, match="neither a parameter nor configuration"):
        model.table = np.zeros(3)


def test_an_attribute_may_change_its_kind():
    model: Any = nn.Dense(2).build_for((1, 3))
    model.bias = None
    assert list(model.named_parameters()) == ["kernel"]
    model.bias = cr.Tensor([1.0, 2.0])
    assert list(model.named_parameters()) == ["kernel", "bias"]
    del model.bias
    assert list(model.named_parameters()) == ["kernel"]


def test_a_state_keeps_its_identity_when_assigned():
    model = Net().build_for(x.shape)
    state = model.calls
    model.calls = 5
    assert model.calls is state and state.item() == 5
    with pytest.raises(cr.ShapeError):
        model.calls = np.zeros(2)


@pytest.mark.parametrize("build", [lambda m: m(x), lambda m: m.build_for(x.shape)])
def test_where_it_is_built_does_not_change_its_values(build):
    plain = Net()
    build(plain)
    for way in (cr.jit(loss), lambda m, x: cr.grad(lambda x: loss(m, x))(x)):
        other = Net()
        cr.jit(lambda x, other=other: loss(other, x))(x)
        way(other, x)
        for path, tensor in plain.named_parameters().items():
            np.testing.assert_array_equal(other.named_parameters()[path], tensor)
            assert other.named_parameters()[path].known


def test_equal_layers_of_one_model_start_apart():
    model = Net().build_for(x.shape)
    assert not np.array_equal(model.blocks[0].kernel, model.blocks[1].kernel)


def test_a_module_built_below_its_build_has_the_same_paths_at_each_call():
    model = Lazy()
    with nn.seeded(1):
        model(x)
    assert list(model.named_parameters()) == ["inner/kernel", "inner/bias"]
    with pytest.raises(cr.ShapeError, match=r"^inner: Dense was built for 3"):
        model(x[:, :2])
    with nn.seeded(1):
        again = Lazy().build_for(x.shape)
    np.testing.assert_array_equal(again.inner.kernel, model.inner.kernel)


def test_building_computes_nothing():
    layer = nn.Dense(2).build_for((10**9, 3))
    assert layer.kernel.shape == (3, 2)


def test_an_open_batch_is_built_for_as_one_example():
    class Seen(nn.Module):
        def build(self, shape):
            self.shape = shape

        def call(self, x):
            return x

    assert Seen().build_for((None, 3)).shape == (1, 3)


def test_build_by_hand_is_not_undone_by_the_first_call():
    layer = nn.Dense(2)
    layer.build((1, 3))
    assert layer.built
    kernel = layer.kernel
    layer(x)
    assert layer.kernel is kernel
    np.testing.assert_array_equal(nn.Dense(2).build_for((1, 3)).kernel, kernel)
    with pytest.raises(cr.ShapeError, match=r"kernel is needed as \(5, 2\), and is \(3, 2\)"):
        layer.build((1, 5))


def test_parameters_are_not_made_in_init():
    class Early(nn.Module):
        def __init__(self):
            super().__init__()
            self.parameter("w", (3,), "ones")

        def call(self, x):
            return x

    with pytest.raises(cr.ArgumentError, match=r"not known in __init__.*\n.*build"):
        Early()


def test_a_plain_tensor_attribute_is_a_parameter():
    class Gain(nn.Module):
        def __init__(self):
            self.w = cr.Tensor([2.0])

        def call(self, x):
            return x * self.w

    g = cr.grad(lambda m: cr.sum(m(x)))(Gain())
    np.testing.assert_allclose(g.w, [x.sum()], rtol=1e-5)


def test_input_takes_the_dtype_of_the_parameters():
    model = Net().build_for(x.shape)
    for given in (x.astype(np.float64), x.tolist(), cr.Tensor(x)):
        y = model(given)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, model(x))
    pixels = np.arange(12, dtype=np.uint8).reshape(4, 3)
    dense = nn.Dense(2).build_for((1, 3))
    np.testing.assert_array_equal(dense(pixels), dense(pixels.astype(np.float32)))
    assert nn.Flatten()(x.astype(np.float64)).dtype == np.float64
    wide = cr.tree_map(lambda p: cr.cast(p, "float64"), model)
    assert wide(x).dtype == np.float64


def test_a_part_without_parameters_keeps_the_dtype_of_the_whole():
    class Squash(nn.Module):
        def __init__(self):
            self.inner = nn.Activation("tanh")

        def call(self, x):
            return self.inner(x)

    class Whole(nn.Module):
        def __init__(self):
            self.first, self.squash = nn.Dense(3), Squash()

        def call(self, x):
            return self.squash(self.first(x))

    model = Whole().build_for(x.shape)
    wide = cr.tree_map(lambda p: cr.cast(p, "float64"), model)
    assert wide(x).dtype == np.float64 and model(x).dtype == np.float32


def test_several_inputs_come_as_a_dict_or_a_tuple():
    class Pair(nn.Module):
        def __init__(self):
            self.left, self.right = nn.Dense(2), nn.Dense(2)

        def build(self, shape):
            self.seen = tuple(sorted(shape)) if isinstance(shape, dict) else len(shape)

        def call(self, x):
            a, b = (x["a"], x["b"]) if isinstance(x, dict) else x
            return self.left(a) + self.right(b)

    by_name = Pair().build_for({"a": (1, 3), "b": (1, 5)})
    by_place = Pair().build_for([(1, 3), (1, 5)])
    y = by_name({"a": x, "b": np.ones((4, 5))})
    np.testing.assert_array_equal(by_place((x, np.ones((4, 5)))), y)
    np.testing.assert_array_equal(by_place([x, np.ones((4, 5))]), y)
    assert by_name.seen == ("a", "b") and by_place.seen == 2


def test_training_is_a_plain_truth_value():
    with pytest.raises(cr.ArgumentError, match=r"True or False, got Tensor.*\n.*static="):
        cr.jit(lambda x, t: nn.Dropout(0.5)(x, training=t))(x, np.float32(1))
    step = cr.jit(lambda m, x, training: loss(m, x, training), static=("training",))
    model = Net().build_for(x.shape)
    assert step(model, x, True).item() != step(model, x, False).item()


def test_build_for_wants_a_shape():
    with pytest.raises(cr.ArgumentError, match="build_for needs the shape of an input, got 3"):
        nn.Dense(2).build_for(3)


def test_errors_of_ops_name_the_innermost_layer_once():
    class Wrong(nn.Module):
        def call(self, x):
            return cr.matmul(x, np.ones((7, 7), np.float32))

    class Outer(nn.Module):
        def __init__(self):
            self.net = Net()
            self.net.norm = Wrong()

        def call(self, x):
            return self.net(x)

    with pytest.raises(cr.ShapeError, match=r"^net/norm: matmul needs columns") as caught:
        Outer()(x)
    assert caught.value.message.count("net") == 1


def test_repr_is_a_tree():
    text = repr(Net().build_for(x.shape))
    assert text.splitlines() == [
        "Net()  gain (3,), calls ()",
        "  blocks_0: Dense(3, activation='tanh')  kernel (3, 3), bias (3,)",
        "  blocks_1: Dense(3, activation='tanh')  kernel (3, 3), bias (3,)",
        "  heads_mean: Dense(1)  kernel (3, 1), bias (1,)",
        f"  norm: BatchNormalization()  {', '.join(f'{name} (3,)' for name in NORM)}",
        "37 parameters",
    ]
    assert repr(nn.Conv2D(8, 3, padding="same")) == "Conv2D(8, (3, 3), padding='same')  not built"


def test_a_module_without_call_says_so():
    with pytest.raises(NotImplementedError, match="Empty needs a method call"):
        type("Empty", (nn.Module,), {})()(x)


def test_a_module_with_forward_is_told_the_name():
    with pytest.raises(NotImplementedError, match=r"Torch needs a method call.*its forward"):
        type("Torch", (nn.Module,), {"forward": lambda self, x: x})()(x)


def test_help_and_editors_see_the_arguments_of_init():
    assert list(inspect.signature(nn.Dense).parameters)[:2] == ["units", "activation"]
    assert str(inspect.signature(Net)) == "()"


def test_an_unknown_argument_of_a_layer_is_named():
    with pytest.raises(cr.UnknownNameError, match=r"of Dense 'unit' \(did you mean 'units'\?\)"):
        nn.Dense(3, unit=4)
    with pytest.raises(cr.UnknownNameError, match="unknown argument of Net 'size'"):
        Net(size=3)


def test_a_second_derivative_by_a_module_prints():
    layer = nn.Dense(1).build_for((2, 3))
    found = cr.hessian(lambda layer: cr.sum(layer(np.ones((2, 3))) ** 2))(layer)
    assert "kernel (3, 1, 3, 1)" in repr(found) and "16 parameters" in repr(found)
