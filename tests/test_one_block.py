"""A new op, rewrite, layer, loss or optimiser is one block: each is added here and nothing else.

Each block below is all that a new thing consists of. The generic claims are then made of it, the
same functions that hold for everything chainrule comes with. The pages `docs/add-*.md` say how
to write such a block.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile.kernel import Value
from chainrule.compile.text import TextBuilder
from chainrule.core.graph import parse
from chainrule.core.op import OPS, Op
from chainrule.nn import losses
from chainrule.nn.losses.record import Loss
from chainrule.nn.module import LAYERS
from chainrule.ops.elementwise import divide, elementwise, multiply, sqrt
from chainrule.ops.reduce import reduction
from chainrule.rewrite.engine import RULES, op, rewrite, x
from chainrule.train.optim import OPTIMIZERS
from chainrule.train.optimizer import Optimizer
from tests import op_checks, optimizer_checks
from tests.nn import test_layers, test_losses
from tests.ops import test_every_op
from tests.rewrite_checks import check_pattern_rule

TABLES: tuple[dict, ...] = (
    OPS, LAYERS, OPTIMIZERS, losses.LOSSES, losses.CHECKS, losses.CLASSES,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tables_as_before() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = [dict(table) for table in TABLES]
    rules = {name: list(found) for name, found in RULES.items()}
    yield
    for table, kept in zip([*TABLES, RULES], [*before, rules], strict=True):
        table.clear()
        table.update(kept)


def add_elementwise_op() -> Op:
    return elementwise(
        "cauchy",
        r"\frac{1}{1 + #1^2}",
        ref=lambda x: 1 / (1 + x * x),
        deriv=lambda x, y: -2 * x * y * y,
        body=lambda k, x: 1.0 / (x * x + 1.0),
        takes="float",
    )


def add_reduction_op() -> Op:
    return reduction(
        "lowest",
        r"\min #1",
        ref=np.min,
        initial=np.inf,
        empty=False,
        body=lambda k, lowest, x: k.min(lowest, x),
        vjp=lambda g, y, x, axis, keepdims: (_spread(g, x, axis) * _is_lowest(y, x, axis),),
        jvp=lambda tangents, y, x, axis, keepdims: cr.sum(
            tangents[0] * _is_lowest(y, x, axis), axis, keepdims
        ),
    )


def _spread(y: cr.Tensor, x: cr.Tensor, axis: tuple[int, ...]) -> cr.Tensor:
    kept = [1 if i in axis else n for i, n in enumerate(x.shape)]
    return cr.broadcast_to(cr.reshape(y, kept), x.shape)


def _is_lowest(y: cr.Tensor, x: cr.Tensor, axis: tuple[int, ...]) -> cr.Tensor:
    return cr.cast(cr.equal(x, _spread(y, x, axis)), x.dtype)


OP_CLAIMS = [*op_checks.CHECKS, test_every_op.check_misfits, test_every_op.check_gradient_dtype]


@pytest.mark.parametrize("add", [add_elementwise_op, add_reduction_op])
@pytest.mark.parametrize("claim", OP_CLAIMS, ids=lambda claim: claim.__name__)
def test_new_op_keeps_the_claim(add: Callable[[], Op], claim: Callable) -> None:
    made = add()
    assert made.samples
    for sample in made.samples:
        claim(made, sample)


@pytest.mark.parametrize("add", [add_elementwise_op, add_reduction_op])
def test_new_op_is_compiled_differentiated_batched_and_printed(add: Callable[[], Op]) -> None:
    made = add()
    attrs = made.samples[0].attrs
    x = np.random.default_rng(0).normal(size=(5, 2, 3))

    def slopes(x: Any) -> Any:
        return cr.grad(lambda x: cr.sum(made(x, **attrs) ** 2))(x)

    batched = cr.jit(cr.vmap(slopes))
    np.testing.assert_allclose(batched(x), np.stack([slopes(part) for part in x]), rtol=1e-12)
    graph = batched.graph(x)
    assert f"{made.name}(" in str(graph) and made.tex
    np.testing.assert_array_equal(parse(str(graph)).run(x)[0], graph.run(x)[0])
    assert cr.check_gradient(lambda x: cr.sum(slopes(x) ** 2), [x[0]])


def test_body_of_a_new_op_prints_as_instructions() -> None:
    k = TextBuilder(lanes=1, slots={})
    add_elementwise_op().body(k, Value(k, "x", "float64"))
    assert [line.split(" = ")[1] for line in k.lines][-1] == "1 / v2"


def test_without_its_block_there_is_no_such_op() -> None:
    assert "cauchy" not in OPS and "lowest" not in OPS


def add_rewrite() -> None:
    @rewrite(op("abs", op("negative", x)))
    def size_of_opposite(x: cr.Tensor) -> cr.Tensor:
        """abs(-x) -> abs(x)"""
        return cr.abs(x)


def test_new_rewrite_keeps_its_claims_and_fires_in_jit(capsys, monkeypatch) -> None:
    add_rewrite()
    (rule,) = [rule for rule in RULES["abs"] if rule.name == "size_of_opposite"]
    check_pattern_rule(rule)
    monkeypatch.setenv("CHAINRULE_SHOW", "rewrites")
    compiled = cr.jit(lambda x: cr.abs(-x))
    assert compiled(np.float64([-2.0, 3.0])).numpy().tolist() == [2, 3]
    assert capsys.readouterr().err.split("\n")[:2] == ["# rewrites", "size_of_opposite"]


def add_layer() -> type[nn.Module]:
    class Stretch(nn.Module):
        """Each feature times a factor of its own."""

        sample = dict(args=(), input=(4, 3))

        def build(self, shape: tuple[int, ...]) -> None:
            self.parameter("factor", shape[-1:], "glorot_uniform")

        def call(self, x: Any) -> Any:
            nn.checks.needs_axes(self, x.shape, "(batch, ..., features)", 2, more=True)
            nn.checks.needs_width(self, x.shape, self.factor.shape[0], "features")
            return x * self.factor

    return Stretch


def claims_of(module: Any, *given: str) -> list[Callable]:
    """The test functions of a module that take these arguments, and no fixture."""
    free = {"training", "built", "dtype"}
    return [
        fn
        for name, fn in vars(module).items()
        if name.startswith("test_")
        and set(given) <= (names := set(inspect.signature(fn).parameters))
        and names <= {*given, *free}
    ]


def all_ways(claim: Callable) -> Iterator[dict[str, Any]]:
    """Both values of each switch that a claim takes."""
    values = {"training": (False, True), "built": (False, True), "dtype": (np.float32, np.float64)}
    names = [name for name in inspect.signature(claim).parameters if name in values]
    for chosen in product(*[values[name] for name in names]):
        yield dict(zip(names, chosen, strict=True))


LAYER_CLAIMS = claims_of(test_layers, "cls")
LAYER_CLAIMS.remove(test_layers.test_another_width_names_layer_and_mend)  # it names its own file


@pytest.mark.parametrize("claim", LAYER_CLAIMS, ids=lambda claim: claim.__name__)
def test_new_layer_keeps_the_claim(claim: Callable) -> None:
    cls = add_layer()
    assert LAYERS["Stretch"] is cls
    for ways in all_ways(claim):
        claim(cls, **ways)


def test_error_of_a_new_layer_shows_the_line_of_its_block() -> None:
    layer = add_layer()().build_for((4, 3))
    with pytest.raises(cr.ShapeError, match="stretch: Stretch was built for 3 features") as caught:
        layer(np.ones((2, 4)))
    assert "test_one_block.py" in str(caught.value) and "mend: " in str(caught.value)


def add_loss() -> None:
    @losses.register(
        targets="values",
        ref=lambda y, p, scale=1.0: np.mean(scale * (np.sqrt(1 + (p - y) ** 2) - 1)),
        options=({"scale": 0.5},),
    )
    def charbonnier(y_true: Any, y_pred: Any, scale: float = 1.0) -> Any:
        r"""$s(\sqrt{1 + e^2} - 1)$ with $e = \hat y - y$."""
        gap = y_pred - y_true
        return (sqrt(gap * gap + 1.0) - 1.0) * scale

    @dataclass(frozen=True)
    class Charbonnier(Loss):
        """`charbonnier` with its `scale`."""

        function = staticmethod(charbonnier)
        scale: float = 1.0


LOSS_CLAIMS = [*claims_of(test_losses, "name", "options"), *claims_of(test_losses, "name")]


@pytest.mark.parametrize("claim", LOSS_CLAIMS, ids=lambda claim: claim.__name__)
def test_new_loss_keeps_the_claim(claim: Callable, monkeypatch) -> None:
    add_loss()
    # To be seen by users as `losses.Charbonnier` is a line in the list of names, not a second part.
    monkeypatch.setattr(losses, "Charbonnier", losses.CLASSES["charbonnier"], raising=False)
    options = [{"options": each} for each in ({}, {"scale": 0.5})]
    chosen = options if "options" in inspect.signature(claim).parameters else [{}]
    for given, ways in product(chosen, all_ways(claim)):
        claim("charbonnier", **given, **ways)


def add_optimiser() -> type[Optimizer]:
    @dataclass(eq=False)
    class Damped(Optimizer):
        """Steps along the gradient divided by the root of 1 and its square."""

        learning_rate: Any = 0.01
        samples = ({}, dict(learning_rate=0.1))

        def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
            return param - divide(multiply(g, rate), sqrt(g * g + 1.0)), ()

        def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Any) -> np.ndarray:
            return p - self.learning_rate * g / np.hypot(g, 1)

    return Damped


@pytest.mark.parametrize("claim", optimizer_checks.CHECKS, ids=lambda claim: claim.__name__)
def test_new_optimiser_keeps_the_claim(claim: Callable) -> None:
    cls = add_optimiser()
    assert OPTIMIZERS["damped"] is cls
    for settings in cls.samples:
        claim(cls, settings)
