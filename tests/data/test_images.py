"""digits and fashion-mnist: shapes, dtypes, splits and labels."""

import numpy as np
import pytest

from chainrule.core.errors import FileError
from chainrule.data import images
from chainrule.data.registry import find, load


def test_digits_are_whole():
    digits = load("digits")
    assert digits.x_train.shape == (1437, 8, 8, 1) and digits.x_test.shape == (360, 8, 8, 1)
    assert digits.x_train.dtype == digits.x_test.dtype == np.uint8
    assert digits.y_train.dtype == digits.y_test.dtype == np.int64
    x = np.concatenate([digits.x_train, digits.x_test])
    assert x.min() == 0 and x.max() == digits.x_max == 16
    y = np.concatenate([digits.y_train, digits.y_test])
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_test_part_is_stratified_and_apart():
    digits = load("digits")
    counts = np.bincount(digits.y_train) + np.bincount(digits.y_test)
    assert np.abs(np.bincount(digits.y_test) - counts / 5).max() < 1
    train = {image.tobytes() for image in digits.x_train}
    assert not any(image.tobytes() in train for image in digits.x_test)


def test_digits_labels_belong_to_their_images():
    digits = load("digits")
    centres = np.stack(
        [digits.x_train[digits.y_train == label].mean(axis=0) for label in range(10)]
    )
    gaps = ((digits.x_test[:, None] - centres) ** 2).sum(axis=(2, 3, 4))
    assert (gaps.argmin(axis=1) == digits.y_test).mean() > 0.85


@pytest.mark.heavy
def test_digits_equal_scikit_learns_copy():
    sets = pytest.importorskip("sklearn.datasets")
    theirs = sets.load_digits()
    with np.load(find("digits").folder / "digits.npz", allow_pickle=False) as ours:
        assert np.array_equal(ours["images"], theirs.images)
        assert np.array_equal(ours["labels"], theirs.target)


def write_idx(path, header: bytes, content: bytes):
    path.write_bytes(header + content)
    return path


def test_idx_file_gives_its_shape(tmp_path):
    header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4])
    array = images.read_idx(write_idx(tmp_path / "a", header, bytes(range(24))))
    assert array.dtype == np.uint8 and np.array_equal(array, np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("header", "content", "message"),
    [
        (bytes([0, 0, 13, 1, 0, 0, 0, 3]), b"abc", "no idx file of bytes"),
        (b"", b"", "no idx file of bytes"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3]), b"ab", r"needs 3 bytes for shape \(3,\), got 2"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3]), b"abcd", "got 4"),
        (bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0]), b"", "no idx file of bytes"),
    ],
)
def test_idx_file_that_is_none(tmp_path, header, content, message):
    with pytest.raises(FileError, match=message):
        images.read_idx(write_idx(tmp_path / "a", header, content))


def test_fashion_reads_four_files(tmp_path):
    for part, count in (("train", 3), ("t10k", 2)):
        shape = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28])
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", shape, bytes([count]) * count * 784)
        labels = bytes([0, 0, 8, 1, 0, 0, 0, count])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels, bytes(range(count)))
    found = images.read_fashion(tmp_path)
    assert found.x_train.shape == (3, 28, 28, 1) and found.x_test.shape == (2, 28, 28, 1)
    assert found.x_train.dtype == np.uint8 and found.y_train.dtype == np.int64
    assert (found.x_train == 3).all() and (found.x_test == 2).all()
    assert found.y_train.tolist() == [0, 1, 2] and found.y_test.tolist() == [0, 1]
