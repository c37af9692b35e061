"""Recommendation: how many stars a user would give a film. Read next: `chainrule/cli/train.py`.

`RECIPES` holds what was chosen by looking at the validation part alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.apps.baselines import bias_only, root_mean_square
from chainrule.apps.learner import Learner
from chainrule.apps.runs import Run
from chainrule.apps.tasks import Part, Parts, Recipe, Rival, Task, register
from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.data.batches import epoch_order
from chainrule.data.registry import Examples, load

TEST = 0.1  # the share of the ratings that is judged on
OFFERED = 5  # how many films are recommended to a user

RECIPES = {
    "movielens-100k": (
        Recipe(
            "factors",
            {"size": 16, "l2": 1e-4, "bias_l2": 3e-5},
            epochs=40,
            learning_rate=3e-3,
            batch_size=512,
            patience=3,
        ),
    ),
}


@dataclass
class Recommender(Learner):
    """It reads pairs (user, film) of numbers from 0; people and files count from 1.

    What it gives is kept within the range of stars, `low` to `high`.
    """

    task, thing, things = "recommend", "rating", "ratings"
    metrics = ("rmse", "mae")
    kept = {"low": (int, float), "high": (int, float)}
    headings = ("user", "stars", "film", "title")
    low: float
    high: float

    @property
    def shape_of_one(self) -> tuple[int, ...]:
        """A user and a film."""
        return (2,)

    def ratings(self, x: Any) -> np.ndarray:
        """The stars for each pair, in float64."""
        return np.clip(self.model.predict(x).astype(np.float64), self.low, self.high)

    def evaluate(self, x: Any, y: np.ndarray) -> dict[str, float]:
        """Root of the mean squared error, and mean absolute error, in stars."""
        gaps = self.ratings(x) - y
        return {"rmse": root_mean_square(gaps), "mae": float(np.mean(np.abs(gaps)))}

    def report(self, metrics: Mapping[str, float], count: int) -> Sequence[tuple[str, str]]:
        """Both errors."""
        return (
            ("rmse", f"{metrics['rmse']:.4f} stars, of {count:,} test ratings"),
            ("mae", f"{metrics['mae']:.4f} stars"),
        )

    @cached_property
    def examples(self) -> Examples:
        """The data that it was trained on: titles, and which films a user has rated."""
        return load(self.data)

    def answer(self, given: str) -> list[dict[str, Any]]:
        """USER:FILM, by number or title: the stars; USER alone: the best films not rated yet."""
        who, colon, what = given.partition(":")
        user = self._number("user", who, self.arguments["users"])
        if colon:
            films = np.array([self._film(what.strip())])
        else:
            films = self._unrated(user)
        pairs = np.stack([np.full_like(films, user), films], axis=1)
        stars = self.ratings(pairs)
        if not colon:
            best = np.argsort(-stars, kind="stable")[:OFFERED]
            films, stars = films[best], stars[best]
        titles = self.examples.extra["titles"]
        return [
            {"input": given, "user": user + 1, "film": film + 1, "title": titles[film], "stars": s}
            for film, s in zip(films.tolist(), stars.tolist())
        ]

    def row(self, answer: Mapping[str, Any]) -> tuple[str, ...]:
        """The pair and its stars."""
        stars = f"{answer['stars']:.2f}"
        return (str(answer["user"]), stars, str(answer["film"]), answer["title"])

    def _number(self, what: str, text: str, most: int) -> int:
        if not (text.strip().isdecimal() and 1 <= int(text) <= most):
            raise ArgumentError(
                f"a {what} is a number in 1 .. {most}, got {text.strip()!r}",
                mend="USER:FILM as in 196:242, or USER alone for the best films",
            )
        return int(text) - 1

    def _film(self, text: str) -> int:
        titles = self.examples.extra["titles"]
        if text in titles:
            return titles.index(text)
        if text.isdecimal() or not text:
            return self._number("film", text, self.arguments["items"])
        error = UnknownNameError("film", text, titles)
        raise ArgumentError(error.message, mend="its number, or its title as the data has it")

    def _unrated(self, user: int) -> np.ndarray:
        pairs = np.concatenate([self.examples.x_train, self.examples.x_test])
        rated = pairs[pairs[:, 0] == user, 1]
        return np.setdiff1d(np.arange(self.arguments["items"]), rated)

    @classmethod
    def read(cls, run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
        """The range of stars."""
        if not -1e6 <= config["low"] < config["high"] <= 1e6:
            raise ArgumentError(f"stars cannot go from {config['low']} to {config['high']}")
        return super().read(run, config)


def new(data: str, recipe: Recipe, examples: Examples, parts: Parts, seed: int) -> Recommender:
    """An untrained recommender; the mean is that of the training part."""
    users = max(int(each.x[:, 0].max()) for each in (parts.training, parts.validation, parts.test))
    y = parts.training.y
    counts = {
        "users": users + 1,
        "items": len(examples.extra["titles"]),
        "mean": float(y.mean(dtype=np.float64)),
    }
    made = (data, recipe.maker, {**recipe.arguments, **counts}, seed)
    return Recommender(*made, float(y.min()), float(y.max()))


def split(examples: Examples, validation: float) -> Parts:
    """Ratings drawn at random by a fixed key, as published numbers for this measure have them.

    The data set's own parts are put together first: its test part is each user's latest ratings,
    and telling those from the earlier ones is a harder question.
    """
    x = np.concatenate([examples.x_train, examples.x_test])
    y = np.concatenate([examples.y_train, examples.y_test])
    order = epoch_order(len(y), seed=0, epoch=0)
    held, judged = round(len(y) * validation), round(len(y) * TEST)
    cuts = np.split(order, [len(y) - judged - held, len(y) - judged])
    told = "ratings drawn at random, the same for every seed; not by time, which would be harder"
    training, decided, tested = (Part(x[part], y[part]) for part in cuts)
    return Parts(training, decided, tested, told)


def compare(parts: Parts) -> dict[str, float]:
    """Test errors of the rivals, which learn from the training part as the net does."""
    mean = parts.training.y.mean(dtype=np.float64)
    return {
        "bias_only": bias_only(
            *((part.x, part.y) for part in (parts.training, parts.validation, parts.test))
        ),
        "global_mean": root_mean_square(parts.test.y - mean),
    }


RECOMMEND = register(
    Task(
        learner=Recommender,
        summary="Train matrix factorisation to tell how users would rate films",
        recipes=RECIPES,
        loss="mse",
        monitor="val_rmse",
        rivals=(
            Rival("bias_only", "user and film biases alone, for comparison", "biases"),
            Rival("global_mean", "always the mean rating", "mean"),
        ),
        new=new,
        split=split,
        compare=compare,
    )
)
