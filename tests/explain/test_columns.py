"""Which columns one entry moves: what is left out of the sums is what does not move."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain.columns import WHOLE, moved_columns
from chainrule.explain.cut import Flow
from chainrule.explain.difference import check_entry
from chainrule.explain.subject import subject_of_model

LAYERS = {
    "dense": lambda: [nn.Dense(4, "tanh"), nn.Flatten(), nn.Dense(4, "relu"), nn.Dense(3)],
    "conv": lambda: [
        nn.Conv2D(4, 3, activation="relu"),
        nn.BatchNormalization(),
        nn.MaxPooling2D(2, strides=1),
        nn.Conv2D(3, 2, activation="tanh"),
        nn.LayerNormalization(),
        nn.Flatten(),
        nn.Dense(3),
    ],
    "depthwise": lambda: [nn.DepthwiseConv2D(3), nn.Conv2D(3, 1), nn.GlobalAveragePooling2D()],
    "transposed": lambda: [
        nn.Conv2DTranspose(4, 2),
        nn.AveragePooling2D(2),
        nn.Flatten(),
        nn.Dense(3),
    ],
}


def flow_of(name, path, rng):
    model = cr.Sequential(LAYERS[name](), seed=4)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = rng.normal(size=(6, 5, 5, 2)).astype(np.float32)
    model(x)
    found = next(each for each in model.named_parameters() if each.endswith(path))
    return Flow(subject_of_model(model, x, np.array([0, 2, 1, 1, 0, 2]), found, True, None))


@pytest.mark.parametrize("path", ["kernel", "bias"])
@pytest.mark.parametrize("name", LAYERS)
def test_nothing_moves_outside_of_the_columns(name, path):
    rng = np.random.default_rng(3)
    flow = flow_of(name, path, rng)
    values = flow.wide.recording.values
    index = tuple(int(rng.integers(n)) for n in flow.parameter.shape)
    columns = moved_columns(flow.order, flow.parameter, index)
    assert columns.keys() == flow.moved
    moved = dict(values)
    moved[flow.parameter] = values[flow.parameter].copy()
    moved[flow.parameter][index] += 0.5
    narrow = 0
    for node in flow.order:
        if node in flow.moved and node.inputs:
            moved[node] = node.op.ref(*[moved[each] for each in node.inputs], **node.attrs)
        if columns.get(node, WHOLE) != WHOLE:
            narrow += 1
            still = np.delete(moved[node] == values[node], columns[node], axis=-1)
            assert still.all(), node.op.name
    assert narrow >= (20 if name == "conv" else 1)  # as far as the second convolution


@pytest.mark.parametrize("name", LAYERS)
def test_difference_is_that_of_the_whole_loss(name):
    rng = np.random.default_rng(5)
    flow = flow_of(name, "kernel", rng)
    index = tuple(int(rng.integers(n)) for n in flow.parameter.shape)
    found = check_entry(flow, index)
    ends = []
    for sign in (1, -1):
        moved = dict(flow.wide.recording.values)
        moved[flow.parameter] = moved[flow.parameter].copy()
        moved[flow.parameter][index] += sign * found.step
        for node in flow.order:
            if node in flow.moved and node.inputs:
                moved[node] = node.op.ref(*[moved[each] for each in node.inputs], **node.attrs)
        ends.append(float(moved[flow.loss]))
    assert found.mark == "ok"
    assert np.isclose(
        found.difference, (ends[0] - ends[1]) / (2 * found.step), rtol=1e-9, atol=1e-9
    )
