"""Image classifiers by name: a closed registry, so that a config.json can ask for nothing else.

A maker is one function under `@maker`, with the limits of its arguments beside it. Read next:
`baselines.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.nn import Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Module
from chainrule.train import Sequential

MOST_LAYERS = 8


@dataclass(frozen=True)
class Maker:
    """How a kind of net is made, and the least and most that each argument may be.

    An argument with integer limits takes an integer; one whose name is in `lists` a list of them.
    """

    make: Callable[..., list[Module]]
    limits: Mapping[str, tuple[float, float]]
    lists: tuple[str, ...] = ()


MAKERS: dict[str, Maker] = {}


def maker(
    *, lists: tuple[str, ...] = (), **limits: tuple[float, float]
) -> Callable[[Callable[..., list[Module]]], Callable[..., list[Module]]]:
    """Register a function that gives the layers; `limits` are those of its arguments."""

    def register(make: Callable[..., list[Module]]) -> Callable[..., list[Module]]:
        MAKERS[make.__name__] = Maker(make, limits, lists)
        return make

    return register


@maker(
    filters=(1, 512),
    pools=(1, 4),
    units=(1, 4096),
    dropout=(0.0, 0.95),
    classes=(2, 1000),
    lists=("filters", "pools"),
)
def cnn(
    filters: list[int], pools: list[int], units: int, dropout: float, classes: int
) -> list[Module]:
    """3x3 convolutions, each followed by pooling of its size (1: none), then two dense layers.

    Logits come out.
    """
    if len(filters) != len(pools):
        raise ArgumentError(f"cnn: one pool is needed for each of filters {filters}, got {pools}")
    layers: list[Module] = []
    for count, size in zip(filters, pools):
        layers.append(Conv2D(count, 3, padding="same", activation="relu"))
        if size > 1:
            layers.append(MaxPooling2D(size))
    layers += [Flatten(), Dropout(dropout), Dense(units, activation="relu")]
    return [*layers, Dropout(dropout), Dense(classes)]


def make_model(name: str, arguments: Mapping[str, Any], shape: tuple[int, ...], seed: int) -> Any:
    """The model of a maker's name and arguments, built for images of `shape`.

    UnknownNameError for a maker that is none, ArgumentError for arguments outside its limits.
    """
    if not isinstance(name, str) or name not in MAKERS:
        raise UnknownNameError("model", name, MAKERS)
    found = MAKERS[name]
    check_arguments(name, found, arguments)
    model = Sequential(found.make(**arguments), seed=seed)
    model.build_for((1, *shape))
    return model


def check_arguments(name: str, found: Maker, arguments: Mapping[str, Any]) -> None:
    """ArgumentError unless each argument is there, of its type and within its limits."""
    if set(arguments) != set(found.limits):
        raise ArgumentError(
            f"{name} takes exactly {', '.join(found.limits)}, got {', '.join(arguments) or 'none'}"
        )
    for key, (least, most) in found.limits.items():
        given = arguments[key]
        values = given if key in found.lists else [given]
        if not isinstance(values, list | tuple) or not 1 <= len(values) <= MOST_LAYERS:
            raise ArgumentError(f"{name}: {key} is a list of 1 to {MOST_LAYERS}, got {given!r}")
        kinds = int if isinstance(least, int) else (int, float)
        for value in values:
            number = isinstance(value, kinds) and not isinstance(value, bool)
            if not number or not least <= value <= most:
                raise ArgumentError(f"{name}: {key} lies in {least} .. {most}, got {value!r}")
