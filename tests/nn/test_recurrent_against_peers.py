"""Recurrent layers, forward and gradient, against PyTorch's; masks and wrappers against Keras's."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from tests.nn.test_recurrent import HOLES, RIGHT, close, ready

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
pytestmark = pytest.mark.heavy

X = np.random.default_rng(3).normal(size=(2, 5, 3))
# The order of PyTorch's gates, by the position of each in ours: i, f, c, o and z, r, h.
PEERS: list[tuple[Any, Any, list[int]]] = [
    (nn.SimpleRNN, torch.nn.RNN, [0]),
    (nn.LSTM, torch.nn.LSTM, [0, 1, 2, 3]),
    (nn.GRU, torch.nn.GRU, [1, 0, 2]),
]
every_peer = pytest.mark.parametrize(("ours", "theirs", "order"), PEERS, ids=["RNN", "LSTM", "GRU"])


def permuted(array: Any, order: list[int]) -> Any:
    """The gates of the last axis in another order, and features last to first as PyTorch's."""
    parts = np.split(np.array(array), len(order), -1)
    return np.concatenate([parts[at] for at in order], -1).T


def pour(cell: Any, peer: Any, order: list[int], suffix: str = "") -> None:
    """Our cell's weights into a direction of PyTorch's layer."""
    bias = np.array(cell.bias)
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    given = {
        "weight_ih_l0": permuted(cell.kernel, order),
        "weight_hh_l0": permuted(cell.recurrent_kernel, order),
        "bias_ih_l0": permuted(both[:1], order)[:, 0],
        "bias_hh_l0": permuted(both[1:], order)[:, 0],
    }
    with torch.no_grad():
        for name, value in given.items():
            getattr(peer, name + suffix).copy_(torch.tensor(value))


def gradients(peer: Any, order: list[int], suffix: str = "") -> list[np.ndarray]:
    """PyTorch's gradients of kernel, recurrent kernel and first bias, with our order of gates."""
    back = list(np.argsort(order))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
    return [permuted(getattr(peer, name + suffix).grad.numpy().T, back).T for name in names]


@every_peer
@pytest.mark.parametrize("both", [False, True], ids=["ahead", "both ways"])
def test_recurrent_layers_are_those_of_pytorch(ours, theirs, order, both):
    made = ours(4, return_sequences=True)
    layer = ready(nn.Bidirectional(made) if both else made)
    peer = theirs(3, 4, batch_first=True, bidirectional=both).double()
    cells = [layer.forward_layer.cell, layer.backward_layer.cell] if both else [layer.cell]
    for cell, suffix in zip(cells, ("", "_reverse"), strict=False):
        pour(cell, peer, order, suffix)
    x = torch.tensor(X, requires_grad=True)
    y, _ = peer(x)
    weights = np.random.default_rng(5).normal(size=tuple(y.shape))
    (y * torch.tensor(weights)).sum().backward()
    close(layer(X), y.detach().numpy())
    close(cr.jit(lambda m, x: m(x))(layer, X), y.detach().numpy())
    for grad in (cr.grad, lambda *args, **options: cr.jit(cr.grad(*args, **options))):
        of_layer, of_x = grad(lambda m, x: cr.sum(m(x) * weights), argnums=(0, 1))(layer, X)
        close(of_x, x.grad.numpy())
        halves = [of_layer.forward_layer, of_layer.backward_layer] if both else [of_layer]
        for half, suffix in zip(halves, ("", "_reverse"), strict=False):
            bias = np.array(half.cell.bias)
            found = [
                half.cell.kernel,
                half.cell.recurrent_kernel,
                bias[0] if bias.ndim == 2 else bias,
            ]
            for g, wanted in zip(found, gradients(peer, order, suffix), strict=True):
                close(g, wanted)


@every_peer
def test_right_masks_are_packed_sequences(ours, theirs, order):
    layer = ready(ours(4, return_state=True))
    peer = theirs(3, 4, batch_first=True).double()
    pour(layer.cell, peer, order)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(X), torch.tensor(RIGHT.sum(1)), batch_first=True, enforce_sorted=False
    )
    _, states = peer(packed)
    states = states if isinstance(states, tuple) else (states,)
    for found, wanted in zip(layer(X, mask=RIGHT)[1:], states, strict=True):
        close(found, wanted[0].detach().numpy())


WRAPPED: list[tuple[str, dict]] = [
    ("LSTM", {"return_sequences": True}),
    ("LSTM", {"return_state": True, "go_backwards": True}),
    ("GRU", {"return_sequences": True, "return_state": True}),
    ("GRU", {"reset_after": False, "return_sequences": True, "zero_output_for_mask": True}),
    ("SimpleRNN", {"return_sequences": True, "use_bias": False}),
]


@pytest.mark.parametrize(("name", "options"), WRAPPED, ids=[f"{i}" for i in range(len(WRAPPED))])
@pytest.mark.parametrize("mask", [None, RIGHT, HOLES], ids=["all", "right", "holes"])
@pytest.mark.parametrize("mode", ["alone", "concat", "ave", None])
def test_masks_and_both_ways_are_those_of_keras(name, options, mask, mode):
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install keras")
    ours = getattr(nn, name)(4, **options)
    theirs = getattr(keras.layers, name)(4, **options, dtype="float64")
    if mode != "alone":
        if options.get("go_backwards"):
            return
        ours = nn.Bidirectional(ours, mode)
        theirs = keras.layers.Bidirectional(theirs, mode, dtype="float64")
    layer = ready(ours)
    theirs.build(X.shape)
    for weight, tensor in zip(theirs.weights, layer.named_parameters().values(), strict=True):
        weight.assign(tensor.numpy())
    wanted = theirs(X, mask=None if mask is None else torch.tensor(mask))
    for y, z in zip(cr.flatten(layer(X, mask=mask))[0], cr.flatten(wanted)[0], strict=True):
        # Keras casts to float32 on the way.
        np.testing.assert_allclose(y, keras.ops.convert_to_numpy(z), rtol=1e-5, atol=1e-6)


def test_steps_by_themselves_are_those_of_keras():
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install keras")
    layer = ready(nn.TimeDistributed(nn.Dense(4, "tanh")))
    theirs = keras.layers.TimeDistributed(keras.layers.Dense(4, "tanh", dtype="float64"))
    theirs.build(X.shape)
    for weight, tensor in zip(theirs.weights, layer.named_parameters().values(), strict=True):
        weight.assign(tensor.numpy())
    wanted = keras.ops.convert_to_numpy(theirs(X, mask=torch.tensor(RIGHT)))
    np.testing.assert_allclose(layer(X, mask=RIGHT), wanted, rtol=1e-5, atol=1e-6)
