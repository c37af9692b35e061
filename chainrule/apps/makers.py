"""The nets of the tasks by name: a closed registry, so that a config.json asks for nothing else.

A maker is one function under `@maker`, with the limits of its arguments beside it. Read next:
`baselines.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.apps.factors import Factors
from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.nn import (
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    MaxPooling2D,
    Module,
)
from chainrule.train import Sequential

MOST_LAYERS = 8


@dataclass(frozen=True)
class Maker:
    """How a kind of net is made for a task, and the least and most that each argument may be.

    An argument with integer limits takes an integer; one whose name is in `lists` a list of them.
    """

    task: str
    make: Callable[..., list[Module]]
    limits: Mapping[str, tuple[float, float]]
    lists: tuple[str, ...] = ()


MAKERS: dict[str, Maker] = {}


def maker(
    task: str, *, lists: tuple[str, ...] = (), **limits: tuple[float, float]
) -> Callable[[Callable[..., list[Module]]], Callable[..., list[Module]]]:
    """Register a function that gives the layers; `limits` are those of its arguments."""

    def register(make: Callable[..., list[Module]]) -> Callable[..., list[Module]]:
        MAKERS[make.__name__] = Maker(task, make, limits, lists)
        return make

    return register


@maker(
    "images",
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


@maker("text", words=(1, 1_000_000), size=(1, 256), dropout=(0.0, 0.95), classes=(2, 1000))
def bag(words: int, size: int, dropout: float, classes: int) -> list[Module]:
    """The mean of the vectors of all n-grams in a text, then one dense layer.

    Joulin et al., "Bag of Tricks for Efficient Text Classification", 2016. Logits come out.
    """
    vectors = Embedding(words + 1, size, mask_zero=True)
    return [vectors, GlobalAveragePooling1D(), Dropout(dropout), Dense(classes)]


@maker(
    "recommend",
    users=(1, 1_000_000),
    items=(1, 1_000_000),
    size=(1, 256),
    mean=(-1e6, 1e6),
    l2=(0.0, 1.0),
    bias_l2=(0.0, 1.0),
)
def factors(
    users: int, items: int, size: int, mean: float, l2: float, bias_l2: float
) -> list[Module]:
    """The rating of (user, item) as their biases and the product of their vectors."""
    return [Factors(users, items, size, mean, l2, bias_l2)]


def make_model(
    name: str,
    arguments: Mapping[str, Any],
    shape: tuple[int, ...],
    seed: int,
    task: str | None = None,
) -> Any:
    """The model of a maker's name and arguments, built for examples of `shape`.

    UnknownNameError for a maker that is none, or not one of `task`; ArgumentError for arguments
    outside its limits.
    """
    known = [each for each, found in MAKERS.items() if task in (None, found.task)]
    if not isinstance(name, str) or name not in known:
        raise UnknownNameError("model", name, known)
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
