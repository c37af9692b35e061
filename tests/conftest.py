"""What is collected: comparisons with other libraries only where heavy tests are asked for. And
Ctrl-C works in every process that tests start."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """A shell starts what runs in its background with Ctrl-C ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """True for a module that imports PyTorch or Keras, which takes seconds, when none of its
    tests would run."""
    light = config.option.markexpr == "not heavy"
    return True if light and "_against_" in collection_path.name else None
