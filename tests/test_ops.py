"""Every claim of `op_checks.py`, for every registered op and each of its samples."""

from __future__ import annotations

import pytest

import chainrule
import chainrule.compile.layout  # it registers an op of its own
from chainrule.core.op import OPS, Op
from tests.op_checks import CHECKS

assert chainrule.__version__

SAMPLES = [
    pytest.param(op, position, id=f"{op.name}-{position}")
    for op in OPS.values()
    for position in range(len(op.samples))
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("op", "position"), SAMPLES)
def test_op_sample_keeps_the_claim(op: Op, position: int, check) -> None:
    check(op, op.samples[position])


def test_every_op_but_leaves_and_control_has_samples() -> None:
    whole = ("leaf", "control")  # the latter are held by grad/test_control.py
    assert not [op.name for op in OPS.values() if op.kind not in whole and not op.samples]
