"""Names of modules: by class, by number, and what a name may be. Read next: `parts.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from chainrule.core.errors import ArgumentError


def snake_case(name: str) -> str:
    """A class's name as a layer's.

    >>> snake_case("Conv2D"), snake_case("MaxPooling2D"), snake_case("GRUCell")
    ('conv2d', 'max_pooling2d', 'gru_cell')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", name).lower()


def number_names(modules: Iterable[Any]) -> None:
    """Name those of a chain that have no name yet by their classes: "dense", "dense_1"."""
    chain = list(modules)
    taken = {module.name for module in chain if module._named}
    for module in chain:
        if module._named:
            continue
        name, number = module.name, 0
        while name in taken:
            number += 1
            name = f"{module.name}_{number}"
        taken.add(name)
        module.name = name


def check_name(name: Any) -> None:
    """ArgumentError unless `name` can be one step of a path."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ArgumentError(
            f"a layer's name must be a text without '/', which parts a path, got {name!r}"
        )
