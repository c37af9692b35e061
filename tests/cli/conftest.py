"""Short trainings, made once by the command itself, for all tests that need a run.

The text and rating sets are not shipped: small ones of the same form stand in for them.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from chainrule.cli.main import app
from chainrule.data.registry import DATASETS, Examples

EPOCHS = 6


class Answer(NamedTuple):
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """stdout, which must be one JSON object and no more."""
        return json.loads(self.out)


def command(*words: object) -> Answer:
    """Run `chainrule WORDS...` in this process."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    # Colours, which some services force on, would split the words that tests look for.
    return Answer(result.exit_code, result.stdout, re.sub(r"\x1b\[[\d;]*m", "", result.stderr))


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, Answer]:
    """(run folder, the answer of training it with --json)."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return out, command("train", "images", "--epochs", EPOCHS, "--out", out, "--json")


def small_snippets() -> Examples:
    """Ratings follow from two words in ten; every tenth text is rated exactly 0."""
    rng = np.random.Generator(np.random.Philox(key=[1, 1]))
    words = np.array([f"word{i}" for i in range(60)])
    texts, ratings = [], []
    for i in range(500):
        sign = 0 if i % 10 == 0 else int(rng.choice([-1, 1]))
        mood = {1: "good fine", -1: "bad dull", 0: "so so"}[sign]
        texts.append(f"{' '.join(rng.choice(words, 8))} {mood} {i}")
        ratings.append(sign * rng.uniform(0.5, 3))
    y = np.array(ratings, dtype=np.float32)
    return Examples(texts[:400], y[:400], texts[400:], y[400:])


def small_ratings() -> Examples:
    """Stars 1 to 5 of 30 users for 40 films: biases, and vectors of two numbers."""
    rng = np.random.Generator(np.random.Philox(key=[2, 2]))
    pairs = np.stack(np.divmod(rng.permutation(30 * 40)[:1100], 40), axis=1)
    users, films = pairs.T
    liking = rng.normal(size=(30, 2))[users] * rng.normal(size=(40, 2))[films]
    bias = 0.5 * rng.normal(size=30)[users] + 0.5 * rng.normal(size=40)[films]
    y = np.clip(np.rint(3 + bias + liking.sum(axis=1)), 1, 5).astype(np.float32)
    titles = tuple(f"Film {i}" for i in range(1, 41))
    return Examples(pairs[:900], y[:900], pairs[900:], y[900:], extra={"titles": titles})


@contextmanager
def small_sets() -> Iterator[None]:
    """`movie-snippets` and `movielens-100k` are small and need no network."""
    made = {"movie-snippets": small_snippets, "movielens-100k": small_ratings}
    with pytest.MonkeyPatch.context() as patch:
        for name, read in made.items():
            small = replace(DATASETS["digits"], name=name, read=lambda folder, read=read: read())
            patch.setitem(DATASETS, name, small)
        yield


@pytest.fixture
def small(chainrule) -> Iterator[None]:
    """The small sets, for one test."""
    with small_sets():
        yield


@pytest.fixture(scope="session")
def trained_text(tmp_path_factory) -> tuple[Path, Answer]:
    """As `trained`, of the small texts."""
    out = tmp_path_factory.mktemp("trained") / "text"
    with small_sets():
        words = ("--lr", "0.02", "--epochs", 4, "--out", out, "--json")
        return out, command("train", "text", *words)


@pytest.fixture(scope="session")
def trained_recommend(tmp_path_factory) -> tuple[Path, Answer]:
    """As `trained`, of the small ratings."""
    out = tmp_path_factory.mktemp("trained") / "recommend"
    with small_sets():
        words = ("--lr", "0.02", "--batch-size", 220, "--epochs", 25, "--out", out, "--json")
        return out, command("train", "recommend", *words)


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the run folder, to be damaged at will."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


@pytest.fixture
def chainrule(tmp_path, monkeypatch):
    """The command, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHAINRULE_DEBUG", raising=False)
    for name in ("CHAINRULE_THREADS", "COLUMNS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that a change is undone
        monkeypatch.delenv(name)
    return command
