"""Explanations made by hand, for the tests of what shows them: true sums, no model needed."""

from __future__ import annotations

from math import prod

from chainrule.explain.explanation import (
    Check,
    Entry,
    Explanation,
    Factor,
    Others,
    Part,
    Partition,
    Summary,
)

CHAIN = (
    r"\frac{\partial L}{\partial o}",
    r"\frac{\partial o}{\partial z^{(2)}}",
    r"\frac{\partial z^{(2)}}{\partial h_{2}}",
    r"\frac{\partial h_{2}}{\partial z^{(1)}_{2}}",
    r"\frac{\partial z^{(1)}_{2}}{\partial w}",
)


def chained(n: int, given: tuple[float, ...], *values: float) -> Part:
    """The product of five factors for example n."""
    factors = tuple(Factor(symbol, value) for symbol, value in zip(CHAIN, values, strict=True))
    return Part((("example", n),), prod(values), factors, given)


def two_two_one() -> Explanation:
    """An entry of the first layer of a 2-2-1 net: two examples, and two that contribute nothing."""
    parts = (
        chained(3, (1.0, 1.0), 0.26977, 0.24844, -0.7, 0.24984, 1.0),
        chained(2, (1.0, 0.0), -0.2208, 0.24659, -0.7, 0.235, 1.0),
    )
    total = sum(part.value for part in parts)
    split = Partition(("example",), "dense", "use", parts, Others(2, 0.0, 0.0, 2), total)
    check = Check(total * (1 + 3e-10), 3e-10, 1e-5, "ok")
    return one(total, (split,), check)


def one(
    gradient: float | None,
    partitions: tuple[Partition, ...],
    check: Check | None = None,
    **more: object,
) -> Explanation:
    """An explanation of one entry with these partitions."""
    fields: dict = {
        "parameter": "dense/kernel",
        "symbol": "W^{(1)}_{0,1}",
        "kind": "Dense",
        "shape": (2, 2),
        "dtype": "float64",
        "index": (0, 1),
        "weight": 0.3,
        "gradient": gradient,
        "loss": 0.251709,
        "loss_name": "mean_squared_error",
        "training": True,
        "examples": 4,
        "check": check,
        "partitions": partitions,
        "lang": "en",
    }
    return Explanation(**{**fields, **more})


def whole_kernel() -> Explanation:
    """A kernel of 128 x 512: its summary, five entries, and what is left out."""
    check = Check(-0.5, 2e-9, 1e-5, "ok")
    entries = tuple(Entry((i, 7 * i), 0.1 * i, -0.5 / (i + 1), check) for i in range(5))
    summary = Summary(65_536, 1.25, 0.031, -1e-4, -0.5, 0.25, 1024, 0)
    return one(
        None,
        (),
        index=None,
        weight=None,
        symbol="W^{(1)}",
        shape=(128, 512),
        summary=summary,
        entries=entries,
        left_out=(("entry", 65_531),),
    )
