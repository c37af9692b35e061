"""Every layer, forward and gradient, against PyTorch; losses in `test_losses_against_torch.py`.

Where PyTorch defines something otherwise, its formula is written here in PyTorch's own functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.module import LAYERS

torch = pytest.importorskip("torch", reason="pip install 'chainrule[peers]'")
F = torch.nn.functional
pytestmark = pytest.mark.heavy

# Layers that draw at random and are the identity otherwise: tests/nn/test_augmentation.py and
# test_mixup.py hold them to NumPy.
DRAWN = ("chainrule.nn.augmentation", "chainrule.nn.mixup")
OURS = {
    name
    for name, cls in LAYERS.items()
    if cls.__module__.startswith("chainrule.") and cls.__module__ not in DRAWN
}
IMAGE, TIME = (2, 7, 6, 4), (2, 7, 4)


def first(x: Any) -> Any:
    """Channels after the batch, where PyTorch has them."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    return x.movedim(1, -1)


def conv(x: Any, w: dict, **options: Any) -> Any:
    kernel = w["kernel"].movedim(-1, 0).movedim(-1, 1)
    function = F.conv1d if kernel.ndim == 3 else F.conv2d
    return last(function(first(x), kernel, w.get("bias"), **options))


def depthwise(x: Any, kernel: Any, **options: Any) -> Any:
    rows, columns, channels, multiplier = kernel.shape
    mixed = kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, rows, columns)
    return last(F.conv2d(first(x), mixed, groups=channels, **options))


def separable(x: Any, w: dict) -> Any:
    return depthwise(x, w["depthwise_kernel"]) @ w["pointwise_kernel"][0, 0] + w["bias"]


def transposed(x: Any, w: dict, stride: int, **options: Any) -> Any:
    kernel = w["kernel"].movedim((-1, -2), (0, 1))
    function = F.conv_transpose1d if kernel.ndim == 3 else F.conv_transpose2d
    return last(function(first(x), kernel, w["bias"], stride=stride, **options))


def pooled(function: Any, **options: Any) -> Any:
    return lambda x, w: last(function(first(x), **options))


def attention(causal: bool) -> Any:
    def run(x: Any, w: dict) -> Any:
        query, value, key = x if isinstance(x, tuple) else (x, x, x)
        projected = [
            torch.einsum("ntf,fhd->nhtd", part, w[f"{name}_kernel"]) + w[f"{name}_bias"][:, None]
            for part, name in ((query, "query"), (key, "key"), (value, "value"))
        ]
        read = F.scaled_dot_product_attention(*projected, is_causal=causal)
        return torch.einsum("nhqd,hdo->nqo", read, w["output_kernel"]) + w["output_bias"]

    return run


def layer_norm(axes: tuple[int, ...]) -> Any:
    return lambda x, w: F.layer_norm(x, [x.shape[a] for a in axes], w["gamma"], w["beta"], 1e-3)


GATES = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}  # PyTorch's order, from ours


def recurrent(name: str, x: Any, w: dict, at: str = "cell/") -> Any:
    """PyTorch's layer `name` with the weights that stand at this path, its gates in its order."""
    kernels = w[at + "kernel"], w[at + "recurrent_kernel"]
    bias = w[at + "bias"]
    both = bias if bias.ndim == 2 else torch.stack([bias, torch.zeros_like(bias)])
    units = kernels[1].shape[0]

    def in_order(x: Any) -> Any:
        parts = x.split(units, -1)
        return torch.cat([parts[i] for i in GATES[name]], -1)

    layer = getattr(torch.nn, name)(x.shape[-1], units, batch_first=True).double()
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    given = [in_order(k).T for k in kernels] + list(in_order(both))
    return torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (x,))[0]


def both_ways(x: Any, w: dict) -> Any:
    forth = recurrent("RNN", x, w, "forward_simple_rnn/cell/")
    back = recurrent("RNN", x.flip(1), w, "backward_simple_rnn/cell/").flip(1)
    return torch.cat([forth, back], -1)


def moving(x: Any, w: dict) -> Any:
    """Evaluation with the statistics of the start, mean 0 and variance 1."""
    zero, one = torch.zeros(x.shape[-1]).double(), torch.ones(x.shape[-1]).double()
    return last(F.batch_norm(first(x), zero, one, w["gamma"], w["beta"], eps=1e-3))


TWINS: list[tuple[nn.Module, Any, Any]] = [
    (nn.Dense(3, "tanh"), (2, 5, 4), lambda x, w: torch.tanh(x @ w["kernel"] + w["bias"])),
    (nn.Activation("silu"), (2, 5), lambda x, w: F.silu(x)),
    (nn.Conv1D(6, 3), TIME, conv),
    (
        nn.Conv1D(6, 3, dilation_rate=2, groups=2),
        TIME,
        lambda x, w: conv(x, w, dilation=2, groups=2),
    ),
    (nn.Conv1D(3, 3, padding="causal"), TIME, lambda x, w: conv(F.pad(x, (0, 0, 2, 0)), w)),
    (nn.Conv2D(3, (3, 2), strides=2), IMAGE, lambda x, w: conv(x, w, stride=2)),
    (
        nn.Conv2D(6, 3, padding="same", groups=2),
        IMAGE,
        lambda x, w: conv(x, w, padding=1, groups=2),
    ),
    (nn.Conv2D(4, 2, padding=[[1, 1], [1, 1]]), IMAGE, lambda x, w: conv(x, w, padding=1)),
    (nn.Conv1DTranspose(3, 2, strides=2), TIME, lambda x, w: transposed(x, w, 2)),
    (
        nn.Conv2DTranspose(6, 3, strides=2, groups=2),
        IMAGE,
        lambda x, w: transposed(x, w, 2, groups=2),
    ),
    (nn.Conv2DTranspose(3, 3), IMAGE, lambda x, w: transposed(x, w, 1)),
    (nn.Conv2DTranspose(3, 3, strides=2), IMAGE, lambda x, w: transposed(x, w, 2)),
    (
        nn.Conv2DTranspose(3, 4, strides=2, padding="same"),
        IMAGE,
        lambda x, w: transposed(x, w, 2, padding=1),
    ),
    (
        nn.Conv2DTranspose(2, 2, strides=3),
        IMAGE,
        lambda x, w: transposed(x, w, 3, output_padding=1),
    ),
    (
        nn.Conv2DTranspose(2, 3, padding=((1, 1), (1, 1)), dilation_rate=2),
        IMAGE,
        lambda x, w: transposed(x, w, 1, padding=1, dilation=2),
    ),
    (
        nn.DepthwiseConv2D(3, strides=2, depth_multiplier=2, use_bias=False),
        IMAGE,
        lambda x, w: depthwise(x, w["depthwise_kernel"], stride=2),
    ),
    (nn.SeparableConv2D(5, 3, depth_multiplier=2), IMAGE, separable),
    (nn.MaxPooling1D(3, 2), TIME, pooled(F.max_pool1d, kernel_size=3, stride=2)),
    (nn.MaxPooling2D(3, 2), IMAGE, pooled(F.max_pool2d, kernel_size=3, stride=2)),
    (nn.AveragePooling1D(2), TIME, pooled(F.avg_pool1d, kernel_size=2)),
    (nn.AveragePooling2D((2, 3)), IMAGE, pooled(F.avg_pool2d, kernel_size=(2, 3))),
    (
        nn.AveragePooling2D(3, 2, padding=((1, 1), (1, 1))),
        IMAGE,
        pooled(F.avg_pool2d, kernel_size=3, stride=2, padding=1, count_include_pad=False),
    ),
    (nn.GlobalAveragePooling1D(), TIME, lambda x, w: x.mean(1)),
    (nn.GlobalMaxPooling1D(keepdims=True), TIME, lambda x, w: x.amax(1, keepdim=True)),
    (nn.GlobalAveragePooling2D(keepdims=True), IMAGE, lambda x, w: x.mean((1, 2), keepdim=True)),
    (nn.GlobalMaxPooling2D(), IMAGE, lambda x, w: x.amax((1, 2))),
    (nn.Flatten(), IMAGE, lambda x, w: x.flatten(1)),
    (nn.Reshape((-1, 8)), IMAGE, lambda x, w: x.reshape(2, -1, 8)),
    (nn.Permute((3, 1, 2)), IMAGE, lambda x, w: x.permute(0, 3, 1, 2)),
    (nn.ZeroPadding2D(((1, 2), (0, 3))), IMAGE, lambda x, w: F.pad(x, (0, 0, 0, 3, 1, 2))),
    (nn.UpSampling2D((2, 3)), IMAGE, pooled(F.interpolate, scale_factor=(2.0, 3.0))),
    (
        nn.UpSampling2D((2, 3), "bilinear"),
        IMAGE,
        pooled(F.interpolate, scale_factor=(2.0, 3.0), mode="bilinear"),
    ),
    (nn.Add(), [(2, 3)] * 3, lambda x, w: x[0] + x[1] + x[2]),
    (nn.Subtract(), [(2, 3)] * 2, lambda x, w: x[0] - x[1]),
    (nn.Multiply(), [(2, 3)] * 3, lambda x, w: x[0] * x[1] * x[2]),
    (nn.Average(), [(2, 3)] * 3, lambda x, w: torch.stack(x).mean(0)),
    (nn.Maximum(), [(2, 3)] * 2, lambda x, w: torch.maximum(*x)),
    (nn.Concatenate(1), [(2, 3, 2), (2, 1, 2)], lambda x, w: torch.cat(x, 1)),
    (
        nn.Residual([nn.Dense(4, "tanh"), nn.Dense(3)]),
        (2, 3),
        lambda x, w: (
            x
            + torch.tanh(x @ w["dense/kernel"] + w["dense/bias"]) @ w["dense_1/kernel"]
            + w["dense_1/bias"]
        ),
    ),
    (nn.BatchNormalization(), IMAGE, moving),
    (nn.LayerNormalization(), TIME, layer_norm((2,))),
    (nn.LayerNormalization(axis=(1, 2)), TIME, layer_norm((1, 2))),
    (
        nn.GroupNormalization(2),
        IMAGE,
        lambda x, w: last(F.group_norm(first(x), 2, w["gamma"], w["beta"], 1e-3)),
    ),
    (nn.RMSNormalization(), TIME, lambda x, w: F.rms_norm(x, [4], w["scale"], 1e-6)),
    (nn.Dropout(0.5), TIME, lambda x, w: F.dropout(x, 0.5, False)),
    (nn.SpatialDropout2D(0.5), IMAGE, lambda x, w: F.dropout2d(x, 0.5, False)),
    (nn.GaussianNoise(0.5), TIME, lambda x, w: x),
    (nn.RNN(nn.LSTMCell(3)), TIME, lambda x, w: recurrent("LSTM", x, w)[:, -1]),
    (nn.SimpleRNN(3, return_sequences=True), TIME, lambda x, w: recurrent("RNN", x, w)),
    (nn.LSTM(3, return_sequences=True), TIME, lambda x, w: recurrent("LSTM", x, w)),
    (nn.LSTM(2, go_backwards=True), TIME, lambda x, w: recurrent("LSTM", x.flip(1), w)[:, -1]),
    (nn.GRU(3, return_sequences=True), TIME, lambda x, w: recurrent("GRU", x, w)),
    (nn.Bidirectional(nn.SimpleRNN(3, return_sequences=True)), TIME, both_ways),
    (
        nn.TimeDistributed(nn.Dense(3, "tanh")),
        TIME,
        lambda x, w: torch.tanh(x @ w["layer/kernel"] + w["layer/bias"]),
    ),
    (nn.Embedding(9, 4), "ids", lambda x, w: F.embedding(x, w["embeddings"])),
    (nn.MultiHeadAttention(2, 3), TIME, attention(False)),
    (nn.MultiHeadAttention(2, 3, causal=True), TIME, attention(True)),
    (nn.MultiHeadAttention(3, 2, value_dim=5, output_shape=6), [TIME, (2, 5, 3)], None),
    (nn.MultiHeadAttention(1, 2), [TIME, (2, 5, 3), (2, 5, 2)], attention(False)),
]
TWINS = [
    (layer, shape, twin or (lambda x, w: attention(False)((x[0], x[1], x[1]), w)))
    for layer, shape, twin in TWINS
]


def drawn(shape: Any, rng: Any) -> Any:
    if isinstance(shape, list):
        return tuple(drawn(part, rng) for part in shape)
    return rng.integers(0, 9, (3, 5)) if shape == "ids" else rng.normal(size=shape)


def ready(layer: Any, x: Any, rng: Any) -> Any:
    """The layer in float64, with random values in every parameter."""
    layer.build_for(shapes(x))
    return cr.tree_map(
        lambda p: p if isinstance(p, cr.State) else cr.Tensor(rng.normal(size=p.shape)), layer
    )


def shapes(x: Any) -> Any:
    return [part.shape for part in x] if isinstance(x, tuple) else x.shape


def leaf(array: Any) -> Any:
    tensor = torch.tensor(np.array(array))
    return tensor.requires_grad_(tensor.is_floating_point())


def test_every_layer_has_a_twin():
    assert {type(layer).__name__ for layer, _, _ in TWINS} == OURS


@pytest.mark.parametrize(
    ("layer", "shape", "twin"),
    TWINS,
    ids=[f"{i}-{type(t[0]).__name__}" for i, t in enumerate(TWINS)],
)
def test_forward_and_gradient(layer, shape, twin):
    rng = np.random.default_rng(0)
    x = drawn(shape, rng)
    layer = ready(layer, x, rng)
    w = {name: leaf(tensor) for name, tensor in layer.named_parameters().items()}
    inputs = tuple(map(leaf, x)) if isinstance(x, tuple) else leaf(x)
    theirs = twin(inputs, w)
    weights = rng.normal(size=tuple(theirs.shape))
    (theirs * torch.tensor(weights)).sum().backward()

    np.testing.assert_allclose(layer(x), theirs.detach().numpy(), rtol=1e-9, atol=1e-11)
    of_layer, of_x = cr.grad(lambda m, x: cr.sum(m(x) * weights), argnums=(0, 1))(layer, x)
    for name, g in of_layer.named_parameters().items():
        np.testing.assert_allclose(g, w[name].grad.numpy(), rtol=1e-8, atol=1e-9, err_msg=name)
    ours = [g for g in cr.flatten(of_x)[0] if g is not None]
    wanted = [t.grad for t in (inputs if isinstance(inputs, tuple) else [inputs])]
    for g, t in zip(ours, [t for t in wanted if t is not None], strict=True):
        np.testing.assert_allclose(g, t.numpy(), rtol=1e-8, atol=1e-9)


def test_training_by_batch_statistics_has_the_gradient_of_torch():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=IMAGE), rng.normal(size=IMAGE)
    layer = ready(nn.BatchNormalization(), x, rng)
    gamma, beta, given = (leaf(t) for t in (layer.gamma, layer.beta, x))
    theirs = last(F.batch_norm(first(given), None, None, gamma, beta, training=True, eps=1e-3))
    (theirs * torch.tensor(weights)).sum().backward()

    def total(layer: Any, x: Any) -> Any:
        return cr.sum(layer(x, training=True) * weights)

    np.testing.assert_allclose(layer(x, training=True), theirs.detach().numpy(), rtol=1e-9)
    of_layer, of_x = cr.grad(total, argnums=(0, 1))(layer, x)
    for g, t in ((of_layer.gamma, gamma), (of_layer.beta, beta), (of_x, given)):
        np.testing.assert_allclose(g, t.grad.numpy(), rtol=1e-8, atol=1e-9)
