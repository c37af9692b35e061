"""Values in files: they come back as they were, with their types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.stored import read_value, write_value


def test_stored_value_comes_back_with_its_types(tmp_path: Path) -> None:
    value = {
        "none": None,
        "flags": [True, np.bool_(False)],
        "numbers": (1, 2**70, 0.1, float("inf"), float("-inf"), np.float32(0.1), np.int64(3)),
        1: Path("a") / "b",
        "a/b": np.arange(6, dtype=np.uint32).reshape(2, 3)[:, ::2],
        "a": {"b": np.float64(2.5), "empty": np.zeros((0, 2), bool), "zero": np.zeros(())},
        "tensor": cr.Tensor(np.arange(3, dtype=np.float64)),
        "nested": [[], {}, (), [[(1,)]]],
    }
    path = tmp_path / "value"
    write_value(path, value, "a value")
    found = read_value(path)
    assert list(found) == list(value) and found["nested"] == value["nested"]
    assert found["numbers"] == value["numbers"] and type(found["numbers"][5]) is np.float32
    assert found[1] == Path("a/b") and found["flags"] == [True, False]
    assert isinstance(found["tensor"], cr.Tensor) and found["tensor"].dtype == np.float64
    for theirs, ours in ((found["a/b"], value["a/b"]), (found["a"]["empty"], value["a"]["empty"])):
        assert theirs.dtype == ours.dtype and np.array_equal(theirs, ours)
    assert found["a"]["zero"].shape == ()
    with pytest.raises(cr.DtypeError, match="words cannot be stored"):
        write_value(path, {"words": np.array(["a"])}, "a value")
