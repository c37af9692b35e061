"""What is collected: comparisons with other libraries only where heavy tests are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """True for a module that imports PyTorch or Keras, which takes seconds, when none of its
    tests would run."""
    light = config.option.markexpr == "not heavy"
    return True if light and "_against_" in collection_path.name else None
