"""Every public function made of ops, value and gradient, against PyTorch in float64.

A row of LIKE is a function of chainrule, PyTorch's, and what to draw: a shape, an array that is
kept, or `spd` for positive definite matrices. Several results are compared one by one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr

torch = pytest.importorskip("torch", reason="pip install 'chainrule[peers]'")
F = torch.nn.functional
pytestmark = pytest.mark.heavy

DRAWN = "its draws are Philox's, which PyTorch's generator does not make"
APART = {
    **dict.fromkeys(
        "bernoulli categorical fold_in key normal permutation randint truncated_normal uniform"
        .split(),
        DRAWN,
    ),
}  # fmt: skip
MATRIX, CUBE = (3, 4), (2, 3, 4)
SQUARE = (3, 3)
IMAGE, KERNEL = (2, 7, 6, 3), (3, 2, 3, 4)
SERIES = (2, 8, 3)
IDS = np.array([[0, 2], [1, 1]])
ALONG = np.array([[0, 3, 1], [2, 2, 0], [1, 0, 3]])
SIGNS = np.array([[True, False, True, True]] * 3)


def spd(rng: Any) -> np.ndarray:
    x = rng.normal(size=(3, 3))
    return x @ x.T + 3 * np.eye(3)


def first(x: Any) -> Any:
    return x.movedim(-1, 1)


def convolved(x: Any, kernel: Any, **options: Any) -> Any:
    return F.conv2d(first(x), kernel.permute(3, 2, 0, 1), **options).movedim(1, -1)


def pooled(x: Any, *args: Any) -> Any:
    return F.max_pool2d(first(x), *args).movedim(1, -1)


def apart(x: Any, kernel: Any, **options: Any) -> Any:
    rows, columns, channels, many = kernel.shape
    weights = kernel.permute(2, 3, 0, 1).reshape(channels * many, 1, rows, columns)
    return F.conv2d(first(x), weights, groups=channels, **options).movedim(1, -1)


def resized(x: Any, size: tuple, mode: str) -> Any:
    corners = None if mode == "nearest" else False
    return F.interpolate(first(x), size, mode=mode, align_corners=corners).movedim(1, -1)


Row = tuple[str, Callable, Callable, tuple]
LIKE: list[Row] = [
    ("average_pool1d", cr.average_pool1d, lambda x: F.avg_pool1d(first(x), 2).movedim(1, -1),
     (SERIES,)),
    ("average_pool2d", lambda x: cr.average_pool2d(x, 3, 2),
     lambda x: F.avg_pool2d(first(x), 3, 2).movedim(1, -1), (IMAGE,)),
    ("conv1d", lambda x, k: cr.conv1d(x, k, stride=2),
     lambda x, k: F.conv1d(first(x), k.permute(2, 1, 0), stride=2).movedim(1, -1),
     (SERIES, (3, 3, 4))),
    ("conv_transpose1d", lambda x, k: cr.conv_transpose1d(x, k, stride=2),
     lambda x, k: F.conv_transpose1d(first(x), k.permute(2, 1, 0), stride=2).movedim(1, -1),
     (SERIES, (3, 4, 3))),
    ("conv_transpose2d", lambda x, k: cr.conv_transpose2d(x, k, stride=2),
     lambda x, k: F.conv_transpose2d(first(x), k.permute(3, 2, 0, 1), stride=2).movedim(1, -1),
     (IMAGE, (3, 2, 4, 3))),
    ("depthwise_conv2d", cr.depthwise_conv2d, apart, (IMAGE, (3, 2, 3, 2))),
    ("max_pool1d", cr.max_pool1d, lambda x: F.max_pool1d(first(x), 2).movedim(1, -1), (SERIES,)),
    ("resize", lambda x: cr.resize(x, (14, 12)), lambda x: resized(x, (14, 12), "nearest"),
     (IMAGE,)),
    ("resize", lambda x: cr.resize(x, (5, 9), "bilinear"),
     lambda x: resized(x, (5, 9), "bilinear"), (IMAGE,)),
    ("all", lambda x: cr.all(cr.greater(x, -1), 1), lambda x: (x > -1).all(1), (MATRIX,)),
    ("any", lambda x: cr.any(cr.greater(x, 1), 1), lambda x: (x > 1).any(1), (MATRIX,)),
    ("arange", lambda: cr.arange(5), lambda: torch.arange(5), ()),
    ("argmax", lambda x: cr.argmax(x, 1), lambda x: x.argmax(1), (CUBE,)),
    ("argmax", cr.argmax, torch.argmax, (CUBE,)),
    ("argmin", lambda x: cr.argmin(x, -1), lambda x: x.argmin(-1), (CUBE,)),
    ("argsort", lambda x: cr.argsort(x, 1), lambda x: x.argsort(1), (CUBE,)),
    ("broadcast_to", lambda x: cr.broadcast_to(x, (2, 3, 4)), lambda x: x.expand(2, 3, 4), ((4,),)),
    ("cast", lambda x: cr.cast(x, "int64"), lambda x: x.long(), (MATRIX,)),
    ("clip", lambda x: cr.clip(x, -0.5, 0.7), lambda x: x.clip(-0.5, 0.7), (MATRIX,)),
    ("clip", lambda x: cr.clip(x, max=0.3), lambda x: x.clip(max=0.3), (MATRIX,)),
    ("concatenate", lambda x, z: cr.concatenate([x, z], 1), lambda x, z: torch.cat([x, z], 1),
     (CUBE, (2, 2, 4))),
    ("conv2d", cr.conv2d, convolved, (IMAGE, KERNEL)),
    ("conv2d", lambda x, k: cr.conv2d(x, k, stride=2, dilation=(2, 1)),
     lambda x, k: convolved(x, k, stride=2, dilation=(2, 1)), (IMAGE, KERNEL)),
    ("conv2d", lambda x, k: cr.conv2d(x, k, padding="same"),
     lambda x, k: convolved(x, k, padding="same"), (IMAGE, (3, 3, 3, 2))),
    ("count_nonzero", lambda x: cr.count_nonzero(cr.relu(x), 0),
     lambda x: F.relu(x).count_nonzero(0), (MATRIX,)),
    ("cumprod", lambda x: cr.cumprod(x, 1), lambda x: x.cumprod(1), (CUBE,)),
    ("cumsum", lambda x: cr.cumsum(x, 1), lambda x: x.cumsum(1), (CUBE,)),
    ("dot", cr.dot, torch.dot, ((5,), (5,))),
    ("einsum", lambda x, z: cr.einsum("bij,bkj->ki", x, z),
     lambda x, z: torch.einsum("bij,bkj->ki", x, z), (CUBE, (2, 5, 4))),
    ("einsum", lambda x: cr.einsum("ii->i", x), lambda x: torch.einsum("ii->i", x), (SQUARE,)),
    ("elu", lambda x: cr.elu(x, 0.7), lambda x: F.elu(x, 0.7), (MATRIX,)),
    ("expand_dims", lambda x: cr.expand_dims(x, 1), lambda x: x.unsqueeze(1), (MATRIX,)),
    ("flip", lambda x: cr.flip(x, (0, 2)), lambda x: x.flip(0, 2), (CUBE,)),
    ("gelu", cr.gelu, F.gelu, (MATRIX,)),
    ("gelu", lambda x: cr.gelu(x, True), lambda x: F.gelu(x, approximate="tanh"), (MATRIX,)),
    ("greater", cr.greater, torch.gt, (MATRIX, MATRIX)),
    ("greater_equal", cr.greater_equal, torch.ge, (MATRIX, MATRIX)),
    ("inv", cr.inv, torch.linalg.inv, (spd,)),
    ("leaky_relu", lambda x: cr.leaky_relu(x, 0.1), lambda x: F.leaky_relu(x, 0.1), (MATRIX,)),
    ("log_softmax", lambda x: cr.log_softmax(x, 1), lambda x: x.log_softmax(1), (CUBE,)),
    ("logsumexp", lambda x: cr.logsumexp(x, (0, 2)), lambda x: x.logsumexp((0, 2)), (CUBE,)),
    ("matmul", cr.matmul, torch.matmul, (CUBE, (4, 5))),
    ("matmul", cr.matmul, torch.matmul, ((4,), (2, 4, 5))),
    ("matmul", cr.matmul, torch.matmul, ((5, 1, 3, 4), (2, 4, 2))),
    ("max", lambda x: cr.max(x, (0, 1), True), lambda x: x.amax((0, 1), True), (CUBE,)),
    ("max_pool2d", cr.max_pool2d, lambda x: pooled(x, 2), (IMAGE,)),
    ("max_pool2d", lambda x: cr.max_pool2d(x, 3, 2), lambda x: pooled(x, 3, 2), (IMAGE,)),
    ("mean", lambda x: cr.mean(x, 1), lambda x: x.mean(1), (CUBE,)),
    ("meshgrid", lambda x, z: cr.meshgrid(x, z),
     lambda x, z: torch.meshgrid(x, z, indexing="xy"), ((3,), (4,))),
    ("meshgrid", lambda x, z: cr.meshgrid(x, z, indexing="ij"),
     lambda x, z: torch.meshgrid(x, z, indexing="ij"), ((3,), (4,))),
    ("min", lambda x: cr.min(x, 1), lambda x: x.amin(1), (CUBE,)),
    ("moveaxis", lambda x: cr.moveaxis(x, 0, 2), lambda x: x.movedim(0, 2), (CUBE,)),
    ("norm", cr.norm, torch.linalg.vector_norm, (CUBE,)),
    ("norm", lambda x: cr.norm(x, 1, ord=1), lambda x: torch.linalg.vector_norm(x, 1, 1), (CUBE,)),
    ("norm", lambda x: cr.norm(x, 1, ord=np.inf),
     lambda x: torch.linalg.vector_norm(x, torch.inf, 1), (CUBE,)),
    ("one_hot", lambda ids: cr.one_hot(ids, 4, "int64"), lambda ids: F.one_hot(ids, 4), (IDS,)),
    ("outer", cr.outer, torch.outer, ((3,), (4,))),
    ("pad", lambda x: cr.pad(x, [(1, 0), (2, 1)], 0.5), lambda x: F.pad(x, (2, 1, 1, 0), value=0.5),
     (MATRIX,)),
    ("pad", lambda x: cr.pad(x, [(0, 0), (0, 0), (2, 1)], mode="reflect"),
     lambda x: F.pad(x, (2, 1), "reflect"), (CUBE,)),
    ("pad", lambda x: cr.pad(x, [(0, 0), (0, 0), (2, 3)], mode="edge"),
     lambda x: F.pad(x, (2, 3), "replicate"), (CUBE,)),
    ("permute_dims", lambda x: cr.permute_dims(x, (2, 0, 1)), lambda x: x.permute(2, 0, 1),
     (CUBE,)),
    ("prod", lambda x: cr.prod(x, 1), lambda x: x.prod(1), (CUBE,)),
    ("prod", cr.prod, torch.prod, (np.array([2.0, 0.0, 3.0]),)),
    ("repeat", lambda x: cr.repeat(x, 2, 1), lambda x: x.repeat_interleave(2, 1), (MATRIX,)),
    ("repeat", lambda x: cr.repeat(x, [2, 0, 3], 0),
     lambda x: x.repeat_interleave(torch.tensor([2, 0, 3]), 0), (MATRIX,)),
    ("reshape", lambda x: cr.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), (CUBE,)),
    ("roll", lambda x: cr.roll(x, (1, -2), (0, 1)), lambda x: x.roll((1, -2), (0, 1)), (MATRIX,)),
    ("segment_sum", lambda x: cr.segment_sum(x, np.array([2, 0, 2]), 4),
     lambda x: torch.zeros(4, 4).double().index_add(0, torch.tensor([2, 0, 2]), x), (MATRIX,)),
    ("selu", cr.selu, F.selu, (MATRIX,)),
    ("silu", cr.silu, F.silu, (MATRIX,)),
    ("slogdet", cr.slogdet, torch.linalg.slogdet, ((2, 3, 3),)),
    ("softmax", lambda x: cr.softmax(x, 1), lambda x: x.softmax(1), (CUBE,)),
    ("softplus", cr.softplus, F.softplus, (MATRIX,)),
    ("solve", cr.solve, torch.linalg.solve, (spd, (3, 2))),
    ("solve", cr.solve, torch.linalg.solve, (spd, (3,))),
    ("sort", lambda x: cr.sort(x, 1, descending=True),
     lambda x: x.sort(1, descending=True).values, (CUBE,)),
    ("split", lambda x: cr.split(x, 2, 2), lambda x: x.tensor_split(2, 2), (CUBE,)),
    ("split", lambda x: cr.split(x, [1, 2], 1), lambda x: x.tensor_split([1, 2], 1), (CUBE,)),
    ("squeeze", lambda x: cr.squeeze(x, 1), lambda x: x.squeeze(1), ((3, 1, 4),)),
    ("stack", lambda x, z: cr.stack([x, z], 1), lambda x, z: torch.stack([x, z], 1),
     (MATRIX, MATRIX)),
    ("std", lambda x: cr.std(x, 1), lambda x: x.std(1, correction=0), (CUBE,)),
    ("sum", lambda x: cr.sum(x, (0, 2)), lambda x: x.sum((0, 2)), (CUBE,)),
    ("swapaxes", lambda x: cr.swapaxes(x, 0, 2), lambda x: x.swapaxes(0, 2), (CUBE,)),
    ("take", lambda x: cr.take(x, IDS, 1), lambda x: x[:, torch.tensor(IDS)], (CUBE,)),
    ("take_along_axis", lambda x: cr.take_along_axis(x, ALONG, 1),
     lambda x: x.take_along_dim(torch.tensor(ALONG), 1), (MATRIX,)),
    ("tensordot", lambda x, z: cr.tensordot(x, z, 2), lambda x, z: torch.tensordot(x, z, 2),
     (CUBE, (3, 4, 2))),
    ("tensordot", lambda x, z: cr.tensordot(x, z, ([0, 1], [1, 0])),
     lambda x, z: torch.tensordot(x, z, ([0, 1], [1, 0])), (CUBE, (3, 2, 5))),
    ("tile", lambda x: cr.tile(x, (2, 1, 3)), lambda x: x.tile(2, 1, 3), (MATRIX,)),
    ("top_k", lambda x: cr.top_k(x, 2, 1), lambda x: x.topk(2, 1), (CUBE,)),
    ("transpose", cr.transpose, lambda x: x.permute(2, 1, 0), (CUBE,)),
    ("tril", lambda x: cr.tril(x, 1), lambda x: x.tril(1), (CUBE,)),
    ("triu", lambda x: cr.triu(x, -1), lambda x: x.triu(-1), (CUBE,)),
    ("var", lambda x: cr.var(x, (0, 1), correction=1), lambda x: x.var((0, 1)), (CUBE,)),
    ("vecdot", lambda x, z: cr.vecdot(x, z, 1), lambda x, z: torch.linalg.vecdot(x, z, dim=1),
     (CUBE, CUBE)),
    ("where", lambda x, z: cr.where(SIGNS, x, z),
     lambda x, z: torch.where(torch.tensor(SIGNS), x, z), (MATRIX, MATRIX)),
]  # fmt: skip


def public() -> set[str]:
    """The functions of `cr` that stand in `ops/` and are no op themselves."""
    return {
        name
        for name, value in ((name, getattr(cr, name)) for name in dir(cr))
        if inspect.isfunction(value) and value.__module__.startswith("chainrule.ops.")
    }


def drawn(what: Any, rng: Any) -> np.ndarray:
    if callable(what):
        return what(rng)
    return rng.normal(size=what) if isinstance(what, tuple) else what


def several(y: Any) -> list:
    return list(y) if isinstance(y, list | tuple) else [y]


def test_every_public_function_is_compared_or_has_a_reason() -> None:
    compared = {name for name, *_ in LIKE}
    assert public() - compared - set(APART) == set(), "a row of LIKE, or APART with the reason"
    assert compared | set(APART) <= public() and not compared & set(APART)


@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"),
    [pytest.param(*row[1:], id=f"{row[0]}-{i}") for i, row in enumerate(LIKE)],
)
def test_function_and_its_gradient_are_those_of_torch(ours, theirs, shapes) -> None:
    rng = np.random.default_rng(0)
    arrays = [drawn(what, rng) for what in shapes]
    given = [torch.tensor(x).requires_grad_(x.dtype.kind == "f") for x in arrays]
    expected = several(theirs(*given))
    found = [y.numpy() for y in several(ours(*arrays))]
    for y, z in zip(found, expected, strict=True):
        assert y.dtype.name == str(z.dtype).removeprefix("torch.")
        np.testing.assert_allclose(y, z.detach().numpy(), rtol=1e-12, atol=1e-13)
    sloped = [i for i, z in enumerate(expected) if z.requires_grad]
    if not sloped:
        return
    w = [rng.uniform(0.5, 1.5, y.shape) for y in found]
    sum([(expected[i] * torch.tensor(w[i])).sum() for i in sloped]).backward()

    def total(*xs: Any) -> Any:
        y = several(ours(*xs))
        return sum([cr.sum(y[i] * w[i]) for i in sloped], start=0.0)

    which = [i for i, x in enumerate(arrays) if x.dtype.kind == "f"]
    for i, g in zip(which, cr.grad(total, argnums=which)(*arrays), strict=True):
        wanted = given[i].grad
        assert wanted is not None
        np.testing.assert_allclose(g.numpy(), wanted.numpy(), rtol=1e-10, atol=1e-11)
