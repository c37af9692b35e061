"""The layer strip against what its numbers mean: full Jacobians, gradients of the tail, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.explain import layers as layers_file, through_time
from chainrule.explain.layers import layer_strip
from chainrule.explain.strip import Gap, Layer, Strip

RNG = np.random.default_rng(3)


def compiled(layers: list, loss: str = "mse", seed: int = 0) -> cr.Sequential:
    model = cr.Sequential(layers, seed=seed)
    model.compile("sgd", loss)
    return model


def outputs_of(model: cr.Sequential, x: Any, training: bool) -> list[Any]:
    """What each layer of a chain gives, as in `layer_strip`."""
    with nn.random_scope(cr.key(model.seed)):
        found = [cr.Tensor(np.asarray(x))]
        for layer in model.layers:
            found.append(layer(found[-1], training=training))
    return found


def largest_of_jacobian(layer: Any, x: Any, training: bool) -> float:
    whole = cr.jacobian(lambda x: layer(x, training=training))(x).numpy()
    return float(np.linalg.norm(whole.reshape(-1, x.size).astype(float), 2))


LAYERS = {
    "dense": (lambda: nn.Dense(5, "tanh"), (4, 6)),
    "relu": (lambda: nn.Dense(7, "relu"), (4, 6)),
    "conv": (lambda: nn.Conv2D(3, 3, activation="sigmoid"), (3, 5, 5, 2)),
    "depthwise": (lambda: nn.DepthwiseConv2D(3), (2, 5, 5, 2)),
    "pool": (lambda: nn.MaxPooling2D(2), (3, 4, 4, 2)),
    "layer norm": (nn.LayerNormalization, (3, 6)),
    "batch norm": (nn.BatchNormalization, (5, 4)),
    "attention": (lambda: nn.MultiHeadAttention(2, 3), (2, 4, 6)),
    "lstm": (lambda: nn.LSTM(3), (3, 4, 2)),
    "gru": (lambda: nn.GRU(3, return_sequences=True), (3, 4, 2)),
    "residual": (lambda: nn.Residual([nn.Dense(4, "gelu"), nn.Dense(3)]), (4, 3)),
    "flatten": (nn.Flatten, (3, 2, 2)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_singular_value_is_that_of_the_full_jacobian(name: str, training: bool) -> None:
    make, shape = LAYERS[name]
    x = RNG.normal(size=shape).astype(np.float32)
    model = compiled([make(), nn.Flatten(), nn.Dense(1)])
    found = layer_strip(model, x, np.ones(len(x)), training=training, tolerance=1e-4)
    singular = found.layers[0].singular
    assert singular is not None and singular.converged
    expected = largest_of_jacobian(model.layers[0], x, training)
    assert singular.value == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("seed", range(4))
def test_norms_are_those_of_gradients_of_the_tail(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = ["relu", "tanh", "sigmoid", "gelu", None]
    layers = [nn.Dense(int(rng.integers(2, 6)), kinds[rng.integers(5)]) for _ in range(5)]
    model = compiled([*layers, nn.Dense(2)], seed=seed)
    x, y = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)
    found = layer_strip(model, x, y).layers
    outputs = outputs_of(model, x, True)
    for i, row in enumerate(found):

        def tail(h: Any, after: int = i + 1) -> Any:
            for layer in model.layers[after:]:
                h = layer(h)
            return cr.mean((h - y) ** 2)

        expected = np.linalg.norm(cr.grad(tail)(outputs[i + 1]).numpy())
        assert row.norm == pytest.approx(expected, rel=1e-4)
        last = i + 1 == len(found)
        assert row.ratio == (None if last else pytest.approx(row.norm / found[i + 1].norm))


def slopes(name: str, z: np.ndarray) -> np.ndarray:
    step, apply = 1e-4, nn.Activation(name)
    return (np.asarray(apply(z + step)) - np.asarray(apply(z - step))) / (2 * step)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gelu", "silu", "elu", "softplus"])
def test_closed_gates_are_where_the_slope_vanishes(name: str) -> None:
    z = RNG.normal(size=(8, 30)) * 4
    model = compiled([nn.Activation(name), nn.Dense(1)])
    gates = layer_strip(model, z, np.ones(8)).layers[0].gates
    assert gates is not None and gates.total == z.size
    assert gates.closed == np.count_nonzero(np.abs(slopes(name, z)) < 0.01) > 0


@pytest.mark.parametrize(
    "layer", [nn.Dense(3), nn.LayerNormalization(), nn.Activation("softmax"), nn.Flatten()]
)
def test_layer_without_a_switch_has_no_gates(layer: Any) -> None:
    found = layer_strip(compiled([layer, nn.Dense(1)]), RNG.normal(size=(4, 3)), np.ones(4))
    assert found.layers[0].gates is None


def test_dropped_elements_are_closed_gates_of_the_same_mask() -> None:
    x = RNG.normal(size=(40, 25)).astype(np.float32)
    model = compiled([nn.Dense(25), nn.Dropout(0.4), nn.Dense(1)], seed=5)
    row = layer_strip(model, x, np.ones(40)).layers[1]
    with nn.random_scope(cr.key(5)):
        mask = np.asarray(nn.Dropout(0.4, name="dropout")(np.ones((40, 25), "f4"), training=True))
    assert row.gates is not None and row.singular is not None
    assert row.gates.closed == np.count_nonzero(mask[: row.examples] == 0) > 0
    assert row.singular.value == pytest.approx(1 / 0.6)
    assert layer_strip(model, x, np.ones(40), training=False).layers[1].gates is None


def test_gates_of_a_recurrent_layer_are_counted_at_each_step() -> None:
    x = RNG.normal(size=(4, 7, 3)) * 6
    layer = nn.SimpleRNN(5, return_sequences=True)
    model = compiled([layer, nn.Flatten(), nn.Dense(1)])
    gates = layer_strip(model, x, np.ones(4)).layers[0].gates
    y = np.asarray(layer(x.astype(np.float32)))
    assert gates is not None and gates.total == y.size
    assert gates.closed == np.count_nonzero(1 - y * y < 0.01) > 0


def norm_over_time(layer: Any, x: np.ndarray, t: int) -> float:
    """The largest singular value of the last state in the state before step t."""
    width = len(layer._state_shapes(1))
    last = []
    for i in range(len(x)):
        states = tuple(cr.Tensor(np.zeros((1, layer.cell.units), "f4")) for _ in range(width))
        if t:
            states = tuple(layer(x[i : i + 1, :t], initial_state=states)[1:])

        def end(states: Any, i: int = i) -> Any:
            return layer(x[i : i + 1, t:], initial_state=states)[1:]

        rows = [
            np.concatenate([np.asarray(part).reshape(layer.cell.units, -1) for part in row], axis=1)
            for row in cr.jacobian(end)(states)
        ]
        last.append(np.linalg.norm(np.concatenate(rows).astype(float), 2))
    return float(max(last))


@pytest.mark.parametrize("written_out", [0, 256])
@pytest.mark.parametrize("kind", [nn.SimpleRNN, nn.GRU, nn.LSTM])
def test_curve_over_time_is_that_of_the_states_jacobian(
    kind: Any, written_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(through_time, "WRITTEN_OUT", written_out)
    x = RNG.normal(size=(3, 6, 2)).astype(np.float32)
    layer = kind(4, return_state=False)
    model = compiled([layer, nn.Dense(1)])
    (curve,) = layer_strip(model, x, np.ones(3), tolerance=1e-4).curves
    assert (curve.path, curve.steps, curve.times) == (layer.name, 6, tuple(range(6)))
    assert curve.converged and curve.exact == (written_out > 0)
    twin = kind(4, return_state=True).build_for(x.shape)
    for name in ("kernel", "recurrent_kernel", "bias"):
        getattr(twin.cell, name).assign(getattr(layer.cell, name))
    for t, norm in zip(curve.times, curve.norms, strict=True):
        assert norm == pytest.approx(norm_over_time(twin, x, t), rel=1e-3)


def test_backward_layer_has_its_curve_in_the_order_of_its_steps() -> None:
    x = RNG.normal(size=(2, 5, 2)).astype(np.float32)
    forth, back = nn.GRU(3), nn.GRU(3, go_backwards=True)
    one, other = compiled([forth, nn.Dense(1)]), compiled([back, nn.Dense(1)])
    one(x), other(x)
    other.set_weights(
        {a: one.get_weights()[b] for a, b in zip(other.get_weights(), one.get_weights())}
    )
    (first,) = layer_strip(one, x, np.ones(2)).curves
    (second,) = layer_strip(other, x[:, ::-1], np.ones(2)).curves
    assert second.norms == pytest.approx(first.norms, rel=1e-5)


def test_curves_are_found_inside_of_other_layers() -> None:
    layers = [nn.Embedding(9, 4), nn.Bidirectional(nn.LSTM(3)), nn.Dense(1)]
    x = RNG.integers(0, 9, (4, 6))
    found = layer_strip(compiled(layers), x, np.ones(4))
    assert [curve.path.partition("/")[0] for curve in found.curves] == ["bidirectional"] * 2
    assert found.layers[0].singular is None
    opened = layer_strip(compiled(layers), x, np.ones(4), inside="bidirectional")
    assert [row.kind for row in opened.layers] == ["LSTM", "LSTM"]


def test_search_that_was_ended_early_says_so() -> None:
    x = RNG.normal(size=(3, 40)).astype(np.float32)
    model = compiled([nn.Dense(40, "tanh"), nn.Dense(1)])
    ended = layer_strip(model, x, np.ones(3), most=2, tolerance=1e-6).layers[0].singular
    whole = layer_strip(model, x, np.ones(3), tolerance=1e-6).layers[0].singular
    assert ended is not None and not ended.converged and ended.steps == 2 and ended.error > 1e-6
    assert whole is not None and whole.converged and ended.value < whole.value


@cr.custom_gradient
def tripled_back(x: Any) -> Any:
    return x * 2, lambda g: (g * 3,)


class Custom(nn.Module):
    """Goes forth and back by different factors."""

    def call(self, x: Any) -> Any:
        return tripled_back(x)


def test_custom_gradient_counts_as_the_gradient_sees_it() -> None:
    model = compiled([nn.Dense(3), Custom(), nn.Dense(1)])
    row = layer_strip(model, RNG.normal(size=(4, 3)), np.ones(4)).layers[1]
    assert row.singular is not None and row.singular.value == pytest.approx(3)


class Centred(nn.Module):
    """Takes the batch's mean away."""

    def call(self, x: Any) -> Any:
        return x * x - cr.mean(x * x, axis=0)


def test_layer_that_mixes_examples_is_looked_at_whole() -> None:
    x = RNG.normal(size=(24, 3)).astype(np.float32)
    model = compiled([Centred(), nn.Dense(1)])
    row = layer_strip(model, x, np.ones(24), tolerance=1e-4).layers[0]
    assert row.examples == 24 and row.singular is not None
    assert row.singular.value == pytest.approx(
        largest_of_jacobian(lambda x, training: model.layers[0](x), x, False), rel=1e-3
    )


def test_compiled_pass_gives_the_same_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = RNG.normal(size=(6, 5)).astype(np.float32), RNG.integers(0, 3, 6)
    layers = [nn.Dense(8, "relu"), nn.BatchNormalization(), nn.Dropout(0.2), nn.Dense(3)]
    model = compiled(layers, "sparse_categorical_crossentropy")
    by_numpy = layer_strip(model, x, y)
    monkeypatch.setattr(layers_file, "COMPILED", -1.0)
    native = layer_strip(model, x, y)
    assert native.loss == pytest.approx(by_numpy.loss, rel=1e-6)
    for one, other in zip(native.layers, by_numpy.layers, strict=True):
        assert one.norm == pytest.approx(other.norm, rel=1e-5)
        assert one.gates == other.gates


def test_strip_leaves_the_model_as_it_was() -> None:
    x = RNG.normal(size=(6, 4)).astype(np.float32) + 3
    model = compiled([nn.Dense(4), nn.BatchNormalization(), nn.Dense(1)])
    model(x)
    before = model.get_weights()
    layer_strip(model, x, np.ones(6), training=True)
    for name, array in model.get_weights().items():
        np.testing.assert_array_equal(array, before[name])


def test_of_a_large_batch_the_first_examples_are_read() -> None:
    x = RNG.normal(size=(700, 3))
    model = compiled([nn.Dense(3), nn.Dense(1)])
    whole, part = layer_strip(model, x, np.ones(700)), layer_strip(model, x[:512], np.ones(512))
    assert whole.examples == 512 and whole.loss == part.loss


def test_stateful_layer_is_looked_at_with_its_whole_batch() -> None:
    x = RNG.normal(size=(20, 3, 2))
    found = layer_strip(compiled([nn.GRU(3, stateful=True), nn.Dense(1)]), x, np.ones(20))
    assert found.layers[0].examples == 20 and found.curves[0].examples == 20


def test_inside_shows_the_layers_of_one_layer() -> None:
    model = compiled([nn.Residual([nn.Dense(3, "relu"), nn.Dense(3)]), nn.Dense(1)])
    x = RNG.normal(size=(4, 3))
    assert [row.path for row in layer_strip(model, x, np.ones(4)).layers] == ["residual", "dense"]
    inner = layer_strip(model, x, np.ones(4), inside="residual")
    assert [row.path for row in inner.layers] == ["residual/dense", "residual/dense_1"]
    with pytest.raises(UnknownNameError, match=r"residul.*did you mean 'residual'"):
        layer_strip(model, x, np.ones(4), inside="residul")


def test_layers_of_a_frozen_part_run_as_in_the_model() -> None:
    x = RNG.normal(size=(6, 3)).astype(np.float32) * 9
    body = cr.Sequential([nn.Dense(3), nn.BatchNormalization()], name="body")
    model = compiled([body, nn.Dense(1)])
    free = layer_strip(model, x, np.ones(6), inside="body").layers[1].singular
    body.trainable = False
    frozen = layer_strip(model, x, np.ones(6), inside="body").layers[1].singular
    assert free is not None and frozen is not None
    assert frozen.value == pytest.approx(1, rel=1e-3) and free.value < 0.9


def test_model_of_several_inputs_has_a_strip() -> None:
    x = {"a": RNG.normal(size=(5, 2)), "b": RNG.normal(size=(5, 3))}
    model = compiled([nn.Concatenate(), nn.Dense(2, "relu"), nn.Dense(1)])
    row = layer_strip(model, x, np.ones(5)).layers[0]
    assert row.kind == "Concatenate" and row.singular is not None
    assert row.singular.value == pytest.approx(1)


def test_masked_steps_let_the_gradient_pass() -> None:
    class Masked(cr.Model):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.out = nn.GRU(3), nn.Dense(1)

        def call(self, x: Any) -> Any:
            return self.out(self.gru(x, mask=cr.greater(x[:, :, 0], -5.0)))

    x = RNG.normal(size=(3, 6, 2)).astype(np.float32)
    x[:, 4:, 0] = -9
    model = Masked()
    model.compile("sgd", "mse")
    (curve,) = layer_strip(model, x, np.ones(3)).curves
    assert curve.norms[4:] == pytest.approx((1, 1)) and curve.norms[3] != pytest.approx(1)


def row(i: int, norm: float) -> Layer:
    return Layer(f"dense_{i}", "Dense", (4, 2), norm, None, None, None, 4)


def test_long_strip_folds_and_keeps_what_stands_out() -> None:
    norms = [1.0] * 50
    norms[20], norms[33] = 40.0, 0.001
    whole = Strip(tuple(map(row, range(50), norms)), (), "", 1.0, 4, True, 0.01)
    folded = whole.folded(12)
    kept = [each.path for each in folded if isinstance(each, Layer)]
    assert {"dense_0", "dense_49", "dense_20", "dense_33"} <= set(kept) and len(kept) == 12
    assert sum(each.layers for each in folded if isinstance(each, Gap)) == 38
    assert whole.folded(50) == list(whole.layers)


def test_strip_of_a_model_that_is_not_compiled_says_how() -> None:
    with pytest.raises(ArgumentError, match=r"layer_strip needs a loss(.|\n)*mend"):
        layer_strip(cr.Sequential([nn.Dense(1)]), np.ones((2, 3)), np.ones(2))
    with pytest.raises(ArgumentError, match="layer_strip needs a compiled model, got Dense"):
        layer_strip(nn.Dense(1), np.ones((2, 3)), np.ones(2))
    with pytest.raises(ArgumentError, match="tolerance"):
        layer_strip(compiled([nn.Dense(1)]), np.ones((2, 3)), np.ones(2), tolerance=0)
