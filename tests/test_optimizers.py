"""Every optimiser with every one of its samples; nothing here names one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from chainrule.train.optim import OPTIMIZERS, Optimizer
from tests.optimizer_checks import CHECKS, check_rule

ROWS = [
    pytest.param(cls, settings, id=f"{name}-{i}")
    for name, cls in sorted(OPTIMIZERS.items())
    for i, settings in enumerate(cls.samples)
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("cls", "settings"), ROWS)
def test_optimizer(cls: type, settings: dict, check: Callable) -> None:
    check(cls, settings)


def test_a_rule_that_differs_from_its_ref_is_caught() -> None:
    @dataclass(eq=False)
    class Wrong(Optimizer):
        learning_rate: float = 0.1

        def step(self, param, g, slots, rate, t):
            return param - g * rate * 1.01, ()

        def ref(self, p, g, t, s):
            return p - self.learning_rate * g

    del OPTIMIZERS["wrong"]
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_rule(Wrong, {})
    assert Wrong(0.5).ref(1.0, 1.0, 1, defaultdict(float)) == 0.5


def test_an_optimiser_without_its_ref_does_not_import() -> None:
    with pytest.raises(ImportError, match="optimiser Half lacks ref"):

        class Half(Optimizer):
            def step(self, param, g, slots, rate, t):
                return param, ()
