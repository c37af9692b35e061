"""Every loss and its gradient against PyTorch, in PyTorch's own functions."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import losses

torch = pytest.importorskip("torch", reason="pip install 'chainrule[peers]'")
F = torch.nn.functional
pytestmark = pytest.mark.heavy


def leaf(array: Any) -> Any:
    tensor = torch.tensor(np.array(array))
    return tensor.requires_grad_(tensor.is_floating_point())


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


def ctc(y: Any, z: Any) -> Any:
    logs, counts = F.log_softmax(z, -1).movedim(1, 0), (y != 0).sum(1)
    whole = torch.full((len(z),), z.shape[1])
    return F.ctc_loss(logs, y, whole, counts, reduction="none").mean()


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
    "ctc": ("sequences", LOGITS, ctc),
}


def test_every_loss_has_a_twin():
    assert LIKE.keys() == losses.CHECKS.keys()


@pytest.mark.parametrize("name", losses.CHECKS)
def test_loss_and_its_gradient(name):
    kind, options, twin = LIKE[name]
    rng = np.random.default_rng(3)
    z = rng.normal(size=(8, 9, 5) if kind == "sequences" else (8, 5))
    targets = {
        "values": rng.normal(size=z.shape),
        "rates": rng.dirichlet(np.ones(5), 8),
        "flags": rng.integers(0, 2, z.shape).astype(float),
        "shares": rng.dirichlet(np.ones(5), 8),
        "classes": rng.integers(0, 3, 8),
        "sequences": rng.integers(1, 5, (8, 4)) * (np.arange(4) < rng.integers(0, 5, (8, 1))),
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
