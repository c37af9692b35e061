"""Images from files: shapes and kinds that are taken, and how others are refused."""

import sys

import numpy as np
import pytest

from chainrule.apps import pictures
from chainrule.core.errors import ChainruleError, DataError, FileError, ShapeError, UnknownNameError

SHAPE, TOP = (8, 8, 1), 16
image = (np.arange(64) % 17).reshape(8, 8)


def read(path):
    return pictures.read_images(path, SHAPE, TOP)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((8, 8), 1), ((8, 8, 1), 1), ((3, 8, 8), 3), ((3, 8, 8, 1), 3), ((3, 64), 3)],
)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_npy_takes_one_image_or_a_stack(tmp_path, shape, count, dtype):
    values = np.broadcast_to(image.reshape(-1), (count, 64)).reshape(shape).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    found = read(tmp_path / "a.npy")
    assert found.shape == (count, *SHAPE) and found.dtype == np.float32
    assert np.allclose(found[-1, ..., 0], image / 16)


def test_csv_takes_an_image_or_one_in_each_row(tmp_path):
    np.savetxt(tmp_path / "a.csv", image, delimiter=",")
    np.savetxt(tmp_path / "b.CSV", np.stack([image.ravel()] * 2), delimiter=",", fmt="%d")
    assert np.allclose(read(tmp_path / "a.csv")[0, ..., 0], image / 16)
    assert read(tmp_path / "b.CSV").shape == (2, *SHAPE)


def test_png_is_scaled_by_its_own_white(tmp_path):
    image_module = pytest.importorskip("matplotlib.image")
    path = tmp_path / "a.png"
    image_module.imsave(path, image, cmap="gray", vmin=0, vmax=16)
    assert np.abs(read(path)[0, ..., 0] - image / 16).max() < 1 / 255


def test_png_without_matplotlib_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(FileError) as caught:
        read(tmp_path / "a.png")
    assert "chainrule[plot]" in caught.value.mend


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("a.npy", b"", FileError, "cannot be read as an .npy"),
        ("a.npy", b"no numpy", FileError, "cannot be read as an .npy"),
        ("a.csv", b"", FileError, "rows of numbers"),
        ("a.csv", b"1,2\n3", FileError, "rows of numbers"),
        ("a.csv", b"one,two", FileError, "rows of numbers"),
        ("a.csv", b"1,2\n3,4", ShapeError, r"shape \(8, 8\), one or a stack, got shape \(2, 2\)"),
        ("a.csv", b"\xff\xfe\x00", FileError, "rows of numbers"),
        ("a.jpg", b"", UnknownNameError, "kind of image file"),
        ("a", b"", UnknownNameError, "kind of image file"),
    ],
)
def test_file_that_holds_no_image(tmp_path, name, content, kind, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=message):
        read(tmp_path / name)


def test_damaged_png_is_refused(tmp_path):
    pytest.importorskip("matplotlib")
    for content in (b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(40)):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(FileError, match="cannot be read as a"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (image.astype(float) * np.nan, "NaN"),
        (image - 1, r"0 .. 16, got -1 .. 15"),
        (image * 16, r"0 .. 16, got 0 .. 256"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.npy")


def test_pickled_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match="cannot be read"):
        read(tmp_path / "a.npy")


def test_text_array_and_archive_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array(["one"]))
    with pytest.raises(FileError, match="must hold numbers"):
        read(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", image)
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    with pytest.raises(FileError, match="must hold numbers"):
        read(tmp_path / "b.npy")


def test_header_that_promises_too_much_costs_no_memory(tmp_path):
    np.save(tmp_path / "a.npy", image)
    content = (tmp_path / "a.npy").read_bytes()
    big = content.replace(b"(8, 8), }" + b" " * 12, b"(999999999999, 8), }" + b" ")
    assert big != content and len(big) == len(content)
    (tmp_path / "a.npy").write_bytes(big)
    with pytest.raises(FileError, match="cannot be read"):
        read(tmp_path / "a.npy")


def test_missing_file_and_folder_are_told_apart(tmp_path):
    (tmp_path / "b.npy").mkdir()
    for name, message in (("a.npy", "is missing"), ("b.npy", "is a folder")):
        with pytest.raises(FileError, match=message):
            read(tmp_path / name)


def test_scalar_array_is_refused_as_a_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.float32(3))
    with pytest.raises(ShapeError):
        read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((0, 8, 8)))
    with pytest.raises(ChainruleError):
        read(tmp_path / "a.npy")
