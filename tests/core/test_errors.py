"""Errors name the line of the user's program, whatever lies between it and the package."""

from __future__ import annotations

import inspect

import pytest

import chainrule as cr


def dataclass_argument() -> None:
    cr.optim.Adam(-1)


def context_manager() -> None:
    with cr.record(), cr.record():
        pass


@pytest.mark.parametrize("call", [dataclass_argument, context_manager])
def test_place_is_the_users_line(call) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        call()
    lines, first = inspect.getsourcelines(call)
    place = caught.value.place
    assert place.file == __file__ and first < place.line < first + len(lines)
