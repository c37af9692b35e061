"""A short training on digits, made once by the command itself, for all tests that need a run."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from chainrule.cli.main import app

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
