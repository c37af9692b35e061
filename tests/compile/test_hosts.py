"""What NumPy runs of a compiled graph is what `docs/performance.md` lists, and no training step."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile.program import Program
from chainrule.core.graph import Graph
from chainrule.core.op import OPS
from chainrule.core.tensor import Tensor
from chainrule.grad.scan import Loop
from chainrule.nn import losses
from chainrule.train.optim import OPTIMIZERS
from tests.nn.test_layers import OURS, example, make, weighted
from tests.nn.test_losses import CASES, draw
from tests.op_checks import arrays_of, restricted
from tests.optimizer_checks import gradients, start

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
SECTION = PAGE.read_text(encoding="utf-8").split("## What NumPy still runs, and why\n")[1]
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| .+\|$", SECTION, re.MULTILINE)
EXAMPLES = [code.strip("`") for _, code in ROWS if code.startswith("`cr.")]
LISTED = {
    name for first, code in ROWS if code.strip("`") not in EXAMPLES
    for name in re.findall(r"`(\w+)`", first)
}  # fmt: skip
LOOPS = {"choose", "scan", "part", "unstack"}  # of `cond` and `scan`, which are cases, not ops
NAMES = {
    "x": np.ones((3, 4), np.float32),
    "i": np.ones((3, 3), np.int64),
    "keys": np.ones((3, 2), np.uint32),
    "flag": np.array(True),
}


def hosts(fn: Callable, *args: Any) -> set[str]:
    """The ops that NumPy runs when `fn` is compiled; nothing is compiled for that."""
    return in_graph(cr.jit(fn).graph(*args))


def in_graph(graph: Graph) -> set[str]:
    """Those of a graph; a loop is none where its body has none."""
    program = Program(graph, [False] * len(graph.inputs))
    if any(0 in node.shape for node in program.unfolded.order):
        return {node.op.name for node in graph.order}
    found: set[str] = set()
    for segment in program.draft().segments:
        if segment.node is None:
            continue
        loop = segment.node.attrs.get("holds")
        inside = in_graph(loop.step()) if isinstance(loop, Loop) else {segment.node.op.name}
        found |= inside
    return found


def of_op(op: Any) -> set[str]:
    """What NumPy runs of an op's samples and of their gradients."""
    found: set[str] = set()
    for sample in op.samples:
        arrays = arrays_of(op, sample, "float32")
        found |= hosts(lambda *x, attrs=sample.attrs: op(*x, **attrs), *arrays)
        fn, floats = restricted(op, sample, arrays)
        if floats and fn(*floats).dtype.kind == "f":
            found |= hosts(lambda *x, fn=fn: cr.vjp(fn, *x)[1](fn(*x)), *floats)
    return found


def test_the_ops_that_numpy_runs_are_those_of_the_page():
    found = set().union(*map(of_op, list(OPS.values())))
    untried = {op.name for op in OPS.values() if op.kind == "control" and not op.samples}
    assert found | (untried - LOOPS) == LISTED


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_is_run_by_numpy(example):
    fn = eval(f"lambda {', '.join(NAMES)}: {example}", {"cr": cr})
    assert hosts(fn, *NAMES.values())


def test_the_tables_of_the_page_are_read_whole():
    assert len(ROWS) == 2 + 3 + 5 and len(EXAMPLES) == 5


@pytest.mark.parametrize("name", OURS)
def test_a_layer_trains_without_numpy(name):
    layer, x = make(OURS[name]).build_for(OURS[name].sample["input"]), example(OURS[name])
    argnums = () if OURS[name].takes_integers else (1,)
    argnums = (0, *argnums) if layer.named_parameters() else argnums
    assert not hosts(cr.grad(lambda m, x: weighted(m, x, True), argnums=argnums), layer, x)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_loss_has_its_gradient_without_numpy(name, options):
    y, p = draw(name, options)
    assert not hosts(cr.value_and_grad(lambda p, y: losses.LOSSES[name](y, p, **options)), p, y)


def test_pairs_are_mixed_without_numpy():
    def mixed(x: Any, y: Any, key: Any) -> Any:
        with nn.random_scope(key):
            return nn.MixUp()((x, y), training=True)

    assert not hosts(mixed, NAMES["x"], np.eye(3, dtype=np.float32), cr.key(0))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_updates_without_numpy(name):
    params = {path: Tensor(p) for path, p in start("float32").items()}
    g = {path: Tensor(g) for path, g in gradients("float32")[0].items()}
    for settings in OPTIMIZERS[name].samples:
        opt = OPTIMIZERS[name](**settings)
        assert not hosts(opt.update, params, g, opt.init(params))
