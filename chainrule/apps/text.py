"""Text sentiment. `RECIPES` holds what was chosen by looking at the validation part alone.

Another net is a maker in `makers.py` and a recipe here beside `bag`. Read next: `recommend.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.apps.baselines import majority
from chainrule.apps.classifier import Classifier, find_mistakes
from chainrule.apps.runs import VOCABULARY, Run, write_text
from chainrule.apps.tasks import Part, Parts, Recipe, Rival, Task, register
from chainrule.apps.tfidf import tfidf_linear
from chainrule.core.errors import ArgumentError, DataError, FileError
from chainrule.data.batches import epoch_order, split_validation
from chainrule.data.registry import Examples
from chainrule.data.words import Vocabulary, split_words

MOST_LENGTH, MOST_LONGEST, MOST_BYTES = 4096, 8, 2**24

RECIPES = {
    "movie-snippets": (
        Recipe(
            "bag",
            {"size": 16, "dropout": 0.5},
            epochs=40,
            learning_rate=1e-3,
            batch_size=32,
            patience=3,
            reading={"longest": 2, "least": 2, "most": 30_000, "length": 96},
        ),
    ),
    "zh-reviews": (
        Recipe(
            "bag",
            {"size": 16, "dropout": 0.5},
            epochs=40,
            learning_rate=3e-3,
            batch_size=64,
            patience=3,
            reading={"longest": 2, "least": 2, "most": 40_000, "length": 256},
        ),
    ),
}


@dataclass
class TextClassifier(Classifier):
    """It reads the first `length` n-grams of a text that are in its vocabulary."""

    task, thing, things = "text", "text", "texts"
    kept = {"classes": list, "longest": int, "length": int}
    headings = ("class", "probability", "else", "known", "text")
    length: int
    vocabulary: Vocabulary = field(repr=False)

    @property
    def longest(self) -> int:
        """How many words an n-gram has at most."""
        return self.vocabulary.longest

    @property
    def shape_of_one(self) -> tuple[int, ...]:
        """(length,)."""
        return (self.length,)

    def inputs(self, x: Sequence[str]) -> np.ndarray:
        """The numbers of the n-grams of each text."""
        return self.vocabulary.encode(x, self.length)

    def answer(self, given: str) -> list[dict[str, Any]]:
        """The class of a text, and how many of its words training has seen often enough."""
        words = split_words(given)
        if not words:
            raise DataError(f"a text needs at least one word, got {given!r}")
        known = sum(word in self.vocabulary.numbers for word in words)
        about = {"input": given, "words": len(words), "known": known}
        return [{**about, **self.described(self.probabilities([given])[0])}]

    def row(self, answer: Mapping[str, Any]) -> tuple[str, ...]:
        """The class, how much of the text was known, and the text."""
        known = f"{answer['known']} of {answer['words']} words"
        return (*self.told(answer), known, " ".join(answer["input"].split()))

    def write(self, run: Run, training: Mapping[str, Any]) -> None:
        """The vocabulary too, in a file of its own."""
        write_text(run.path / VOCABULARY, "\n".join(self.vocabulary.entries) + "\n")
        super().write(run, training)

    @classmethod
    def read(cls, run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
        """The fields within their limits, and the vocabulary."""
        found = super().read(run, config)
        longest = found.pop("longest")
        for name, value, most in (
            ("longest", longest, MOST_LONGEST),
            ("length", found["length"], MOST_LENGTH),
        ):
            if not 1 <= value <= most:
                raise ArgumentError(f"{name} lies in 1 .. {most}, got {value}")
        vocabulary = Vocabulary(read_entries(run), longest)
        if len(vocabulary.entries) != config["model"]["arguments"].get("words"):
            raise ArgumentError(f"{VOCABULARY} must name each of the model's words")
        return {**found, "vocabulary": vocabulary}


def read_entries(run: Run) -> tuple[str, ...]:
    """The lines of the run's vocabulary; FileError when it is missing or too large."""
    path = run.path / VOCABULARY
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FileError(f"{path} has more than {MOST_BYTES:,} bytes", mend="train again")
        return tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path} cannot be read: {error}", mend="train again") from None


def new(data: str, recipe: Recipe, examples: Examples, parts: Parts, seed: int) -> TextClassifier:
    """An untrained classifier whose vocabulary is that of the training part alone."""
    assert recipe.reading is not None, data
    reading = dict(recipe.reading)
    length = reading.pop("length")
    vocabulary = Vocabulary.of(parts.training.x, **reading)
    classes = classes_of(examples)
    counts = {"words": len(vocabulary.entries), "classes": len(classes)}
    made = (data, recipe.maker, {**recipe.arguments, **counts}, seed)
    return TextClassifier(*made, classes, length, vocabulary)


def classes_of(examples: Examples) -> tuple[str, ...]:
    """The set's own classes; the two signs where its targets are ratings."""
    return examples.classes or ("negative", "positive")


def split(examples: Examples, validation: float) -> Parts:
    """The parts; validation is a share of the training part, drawn by a fixed key.

    A rating becomes a class by its sign, and a text of rating 0 has none: it is left out of all
    parts. So is, from the part that is trained on, a text with the words of one that is held out.
    """
    x, y, neutral = signed(examples.x_train, examples.y_train)
    x_test, y_test, more = signed(examples.x_test, examples.y_test)
    order = epoch_order(len(y), seed=0, epoch=0)
    first, last = (order[part] for part in split_validation(len(y), validation))
    held = {tuple(split_words(text)) for text in x_test}
    last = np.array([i for i in last if tuple(split_words(x[i])) not in held])
    held |= {tuple(split_words(x[i])) for i in last}
    first = np.array([i for i in first if tuple(split_words(x[i])) not in held])
    told = "test: every fifth text of the data; validation: a share of the others, drawn"
    if neutral + more:
        told += f"; {neutral + more} neutral texts, rated exactly 0, are left out of all parts"
    again = len(y) - len(first) - len(last)
    if again:
        told += f"; {again} texts are left out of training because held-out ones have their words"
    return Parts(
        Part([x[i] for i in first], y[first]),
        Part([x[i] for i in last], y[last]),
        Part(x_test, y_test),
        told,
    )


def signed(texts: Iterable[str], targets: np.ndarray) -> tuple[list[str], np.ndarray, int]:
    """Texts with their classes, and how many had none; see `split`."""
    if targets.dtype.kind in "iu":
        return list(texts), targets, 0
    kept = targets != 0
    found = [text for text, keep in zip(texts, kept, strict=True) if keep]
    return found, (targets[kept] > 0).astype(np.int64), int(len(targets) - kept.sum())


def compare(parts: Parts) -> dict[str, float]:
    """Test accuracies of the rivals, which learn from the training part as the net does."""
    return {
        "tfidf_linear": tfidf_linear(parts.training, parts.validation, parts.test),
        "majority": majority(parts.training.y, parts.test.y),
    }


TEXT = register(
    Task(
        learner=TextClassifier,
        summary="Train a net to tell the sentiment of a text",
        recipes=RECIPES,
        loss="sparse_categorical_crossentropy",
        monitor="val_loss",
        rivals=(
            Rival("tfidf_linear", "TF-IDF and a linear model, for comparison", "TF-IDF"),
            Rival("majority", "always the most frequent class", "majority"),
        ),
        new=new,
        split=split,
        compare=compare,
        mistakes=find_mistakes,
    )
)
