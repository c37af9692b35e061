"""Weights in files: all of them or none, and every fault says which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule import nn
from chainrule.train import Sequential


def model(seed: int = 0, units: int = 3) -> Sequential:
    made = Sequential([nn.Dense(4), nn.BatchNormalization(), nn.Dense(units)], seed=seed)
    made.build_for((None, 2))
    return made


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_weights_come_back_under_their_names(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    ours, theirs = model(1), model(2)
    ours.layers[1].moving_mean.assign(np.float32([1, 2, 3, 4]))
    ours.save_weights(path)
    assert set(load_file(path)) == {
        *("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"),
        *(f"batch_normalization/{n}" for n in ("gamma", "beta", "moving_mean", "moving_variance")),
    }
    tensors = theirs.named_parameters()
    theirs.load_weights(str(path))
    assert same(ours.get_weights(), theirs.get_weights())
    assert all(theirs.named_parameters()[name] is tensor for name, tensor in tensors.items())
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_saving_replaces_in_one_piece(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "weights.safetensors"
    model(1).save_weights(path)
    kept = path.read_bytes()

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(cr.FileError, match="no space left"):
        model(2).save_weights(path)
    assert path.read_bytes() == kept and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == Path(__file__).stat().st_mode & 0o666 | 0o600


def test_reader_of_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model(1).save_weights(path)
    kept = path.read_bytes()
    with open(path, "rb") as old:
        model(2).save_weights(path)
        assert old.read() == kept != path.read_bytes()


def test_saving_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(cr.FileError, match="cannot write weights"):
        model().save_weights(tmp_path / "nowhere" / "weights.safetensors")
    with pytest.raises(cr.FileError, match="cannot write weights"):
        model().save_weights(tmp_path)


def arrays(**changes: object) -> dict[str, np.ndarray]:
    found = {**model(1).get_weights(), **changes}
    return {name: array for name, array in found.items() if array is not None}


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, cr.FileError, "there is no file"),
        (b"", cr.FileError, "cannot be read as a safetensors file"),
        (b"not weights at all, but long enough", cr.FileError, "cannot be read"),
        ({"dense/bias": None}, cr.FileError, "it lacks 'dense/bias'"),
        ({"extra": np.zeros(1)}, cr.FileError, "it has besides 'extra'"),
        (
            {"dense/bias": None, "dense/offset": np.zeros(4)},
            cr.FileError,
            "lacks 'dense/bias'; has besides 'dense/offset'",
        ),
        (
            {"dense/bias": np.zeros(5, "f4"), "dense_1/bias": np.zeros(1, "f4")},
            cr.ShapeError,
            r"dense/bias is \(5,\), the model's \(4,\); dense_1/bias is \(1,\)",
        ),
        ({"dense/bias": np.zeros(4)}, cr.DtypeError, "dense/bias is float64, the model's float32"),
        ({"dense/bias": np.zeros(4, "f2")}, cr.DtypeError, "dense/bias is F16"),
    ],
)
def test_faulty_files_change_nothing(tmp_path: Path, content, error, told) -> None:
    path = tmp_path / "weights.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(arrays(**content), path)
    target = model(2)
    kept = target.get_weights()
    with pytest.raises(error, match=told):
        target.load_weights(path)
    assert same(target.get_weights(), kept)


@pytest.mark.parametrize("part", [0.3, 0.99])
def test_file_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = tmp_path / "weights.safetensors"
    model(1).save_weights(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    target = model(2)
    kept = target.get_weights()
    with pytest.raises(cr.FileError, match="cannot be read as a safetensors file"):
        target.load_weights(path)
    assert same(target.get_weights(), kept)


def test_unbuilt_model_says_how_to_build_it(tmp_path: Path) -> None:
    fresh = Sequential([nn.Dense(2)])
    for call in (fresh.save_weights, fresh.load_weights):
        with pytest.raises(cr.ArgumentError, match="has no weights yet"):
            call(tmp_path / "weights.safetensors")


def test_weights_in_memory_are_copies() -> None:
    ours, theirs = model(1), model(2)
    copies = ours.get_weights()
    theirs.set_weights(copies)
    copies["dense/bias"][:] = 9
    assert not ours.get_weights()["dense/bias"].any()
    assert same(ours.get_weights(), theirs.get_weights())
    for wrong, error in (
        ({}, cr.ArgumentError),
        (list(copies.values()), cr.ArgumentError),
        (arrays(**{"dense/bias": np.zeros(2, "f4")}), cr.ShapeError),
    ):
        with pytest.raises(error):
            theirs.set_weights(wrong)
