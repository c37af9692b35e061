"""A learner whose answer is one of several classes: what images and texts have in common.

Read next: `images.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.apps.learner import Learner
from chainrule.apps.runs import Run
from chainrule.apps.tasks import Mistake, Part
from chainrule.core.errors import ArgumentError


@dataclass
class Classifier(Learner):
    """Its model gives one logit for each of `classes`."""

    metrics = ("accuracy", "loss")
    classes: tuple[str, ...]

    def evaluate(self, x: Any, y: np.ndarray) -> dict[str, float]:
        """Accuracy and mean cross-entropy (nats)."""
        self.model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        found = self.model.evaluate(self.inputs(x), y)
        return {"accuracy": found["accuracy"], "loss": found["loss"]}

    def report(self, metrics: Mapping[str, float], count: int) -> Sequence[tuple[str, str]]:
        """How many are right, and the loss."""
        right = round(metrics["accuracy"] * count)
        return (
            ("accuracy", f"{metrics['accuracy']:.2%}: {right:,} of {count:,} test {self.things}"),
            ("loss", f"{metrics['loss']:.4f} nats per {self.thing}"),
        )

    def probabilities(self, x: Any) -> np.ndarray:
        """One row of class probabilities for each example, in float64."""
        logits = np.asarray(self.model.predict(self.inputs(x)), dtype=np.float64)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def described(self, shares: np.ndarray) -> dict[str, Any]:
        """Class probabilities in JSON's terms."""
        return {
            "class": self.classes[int(shares.argmax())],
            "probability": shares.max(),
            "probabilities": dict(zip(self.classes, shares.tolist())),
        }

    def told(self, answer: Mapping[str, Any]) -> tuple[str, str, str]:
        """The most probable class, its probability, and the next class with its own."""
        shares = answer["probabilities"]
        first, second = sorted(shares, key=shares.__getitem__, reverse=True)[:2]
        return first, f"{shares[first]:.1%}", f"{second} {shares[second]:.1%}"

    @classmethod
    def read(cls, run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
        """The fields, the classes checked."""
        classes = config["classes"]
        known = all(isinstance(name, str) for name in classes)
        if not known or len(classes) != config["model"]["arguments"].get("classes"):
            raise ArgumentError("classes must name each class of the model")
        return super().read(run, config)


def find_mistakes(classifier: Classifier, test: Part) -> list[Mistake]:
    """The test examples that were taken for another class."""
    given, names = classifier.probabilities(test.x).argmax(axis=-1), classifier.classes
    wrong = (given != test.y).nonzero()[0]
    return [Mistake(test.x[i], names[test.y[i]], names[given[i]]) for i in wrong]
