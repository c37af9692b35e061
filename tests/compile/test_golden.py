"""What each stage of a few programs prints, held against files in `golden/`.

After a change that is meant, `CHAINRULE_GOLDEN=refresh pytest tests/compile/test_golden.py`
writes them anew; the difference belongs in the review.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import draft, module
from chainrule.compile.platforms import AVX512

GOLDEN = Path(__file__).parent / "golden"


def softmax_of_a_layer(x, w):
    return cr.softmax(cr.relu(x @ w + 1.0))


def squared_loss_gradient(x, w):
    return cr.grad(lambda w: cr.mean((cr.tanh(x @ w) - 1.0) ** 2))(w)


def convolution_gradient(x, w):
    image = x.reshape((1, 3, 5, 1))
    kernel = w[:2, :4].reshape((2, 2, 1, 2))
    return cr.grad(lambda k: cr.sum(cr.max_pool2d(cr.conv2d(image, k), 2)))(kernel)


def product_and_its_squares(x, w):
    y = x @ w
    return y, cr.sum(y * y)


PROGRAMS = [
    softmax_of_a_layer,
    squared_loss_gradient,
    convolution_gradient,
    product_and_its_squares,
]


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
def test_the_stages_print_as_before(fn, monkeypatch):
    x, w = np.ones((3, 5), np.float32), np.ones((5, 20), np.float32)
    graph = cr.jit(fn).graph(x, w)
    monkeypatch.setattr(module, "machine", lambda: AVX512)
    native = draft.Draft(graph, [False, False])
    parts = {
        "graph": str(native.graph),
        "rewrites": "\n".join(native.rewrites),
        "kernels": "\n".join(segment.readable(native) for segment in native.segments),
        "memory": f"arena {native.arena_size} bytes",
    }
    text = "\n".join(f"# {stage}\n{part}" for stage, part in parts.items()) + "\n"
    path = GOLDEN / f"{fn.__name__}.txt"
    if os.environ.get("CHAINRULE_GOLDEN") == "refresh":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; see the module's docstring"
