"""Every layer without recurrence, forward and gradient, and every loss, against PyTorch.

Where PyTorch defines something otherwise, its formula is written here in PyTorch's own functions.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import losses
from chainrule.nn.module import LAYERS

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
F = torch.nn.functional
pytestmark = pytest.mark.heavy

FAMILIES = (
    "dense conv depthwise pooling shape merge normalisation regularisation embedding attention"
).split()
OURS = {n for n, c in LAYERS.items() if c.__module__ in {f"chainrule.nn.{f}" for f in FAMILIES}}
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
    kernel = w["kernel"].permute(3, 2, 0, 1)
    return last(F.conv_transpose2d(first(x), kernel, w["bias"], stride=stride, **options))


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


def focal(y: Any, z: Any) -> Any:
    p = torch.sigmoid(z)
    hit = torch.where(y > 0.5, p, 1 - p)
    return ((1 - hit) ** 2 * F.binary_cross_entropy_with_logits(z, y, reduction="none")).mean()


def many_focal(y: Any, z: Any) -> Any:
    logs = F.log_softmax(z, -1)
    return -(0.25 * (1 - logs.exp()) ** 2 * y * logs).sum(-1).mean()


def bpr(y: Any, z: Any) -> Any:
    each = []
    for flags, scores in zip(y, z, strict=True):
        gaps = scores[flags == 1][:, None] - scores[flags == 0]
        each.append(-F.logsigmoid(gaps).mean() if gaps.numel() else z.sum() * 0)
    return torch.stack(each).mean()


def triplet(y: Any, z: Any) -> Any:
    """PyTorch's margin loss of squared distances, each anchor's triplets written out."""
    each = []
    for a in range(len(z)):
        found = [
            F.relu(((z[a] - z[b]) ** 2).sum() - ((z[a] - z[c]) ** 2).sum() + 1)
            for b in range(len(z))
            for c in range(len(z))
            if a != b and y[a] == y[b] and y[a] != y[c]
        ]
        each.append(torch.stack(found).mean() if found else z.sum() * 0)
    return torch.stack(each).mean()


def signed(y: Any) -> Any:
    return 2 * y - 1


def hardest(y: Any, z: Any) -> Any:
    return F.relu(((1 - y) * z).amax(-1) - (y * z).sum(-1) + 1).mean()


LOGITS = {"from_logits": True}
LIKE: dict[str, tuple[str, dict, Any]] = {
    "mean_squared_error": ("values", {}, lambda y, z: F.mse_loss(z, y)),
    "mean_absolute_error": ("values", {}, lambda y, z: F.l1_loss(z, y)),
    "huber": ("values", {"delta": 0.7}, lambda y, z: F.huber_loss(z, y, delta=0.7)),
    "log_cosh": ("values", {}, lambda y, z: torch.log(torch.cosh(z - y)).mean()),
    "poisson": (
        "rates",
        {},
        lambda y, z: F.poisson_nll_loss(z, y, log_input=False, eps=1e-7),
    ),
    "kl_divergence": ("rates", {}, lambda y, z: F.kl_div(z.log(), y, reduction="batchmean")),
    "cosine_similarity": ("values", {}, lambda y, z: -F.cosine_similarity(y, z, -1).mean()),
    "binary_crossentropy": (
        "flags",
        {**LOGITS, "label_smoothing": 0.2},
        lambda y, z: F.binary_cross_entropy_with_logits(z, y * 0.8 + 0.1),
    ),
    "binary_focal_crossentropy": ("flags", LOGITS, focal),
    "categorical_crossentropy": (
        "shares",
        {**LOGITS, "label_smoothing": 0.2},
        lambda y, z: F.cross_entropy(z, y, label_smoothing=0.2),
    ),
    "categorical_focal_crossentropy": ("shares", LOGITS, many_focal),
    "sparse_categorical_crossentropy": ("classes", LOGITS, lambda y, z: F.cross_entropy(z, y)),
    "hinge": ("flags", {}, lambda y, z: F.relu(1 - signed(y) * z).mean()),
    "squared_hinge": ("flags", {}, lambda y, z: (F.relu(1 - signed(y) * z) ** 2).mean()),
    "categorical_hinge": ("shares", {}, hardest),
    "bpr": ("flags", {}, bpr),
    "triplet": ("classes", {}, triplet),
}


@pytest.mark.parametrize("name", losses.CHECKS)
def test_loss_and_its_gradient(name):
    kind, options, twin = LIKE[name]
    rng = np.random.default_rng(3)
    z = rng.normal(size=(8, 5))
    targets = {
        "values": rng.normal(size=z.shape),
        "rates": rng.dirichlet(np.ones(5), 8),
        "flags": rng.integers(0, 2, z.shape).astype(float),
        "shares": rng.dirichlet(np.ones(5), 8),
        "classes": rng.integers(0, 3, 8),
    }
    y = targets[kind]
    z = rng.dirichlet(np.ones(5), 8) if kind == "rates" else z
    given = leaf(z)
    theirs = twin(torch.tensor(y), given)
    theirs.backward()
    loss = losses.LOSSES[name]
    assert "weights" in inspect.signature(loss).parameters
    value, g = cr.value_and_grad(lambda z: loss(y, z, **options))(z)
    np.testing.assert_allclose(value.item(), theirs.item(), rtol=1e-6)
    np.testing.assert_allclose(g, given.grad.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_weights_are_those_of_pytorch(name):
    rng = np.random.default_rng(3)
    z, y, share = rng.normal(size=(8, 4)), rng.integers(0, 4, 8), rng.uniform(0.5, 2, 4)
    theirs = F.cross_entropy(torch.tensor(z), torch.tensor(y), weight=torch.tensor(share))
    given = y if name.startswith("sparse") else np.eye(4)[y]
    found = losses.LOSSES[name](given, z, from_logits=True, weights=share[y])
    np.testing.assert_allclose(found.item(), theirs.item(), rtol=1e-9)


def test_given_triplets():
    rng = np.random.default_rng(3)
    a, p, n = (leaf(rng.normal(size=(6, 4))) for _ in range(3))
    theirs = F.triplet_margin_loss(a, p, n, margin=0.7)
    theirs.backward()
    arrays = [t.detach().numpy() for t in (a, p, n)]
    found = cr.value_and_grad(
        lambda a, p, n: losses.triplet_margin(a, p, n, margin=0.7), argnums=(0, 1, 2)
    )(*arrays)
    np.testing.assert_allclose(found[0].item(), theirs.item(), rtol=1e-6)
    for g, t in zip(found[1], (a, p, n), strict=True):
        np.testing.assert_allclose(g, t.grad.numpy(), rtol=1e-5, atol=1e-7)
