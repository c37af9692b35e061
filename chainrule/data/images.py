"""The image sets: digits, shipped with chainrule, and fashion-mnist, fetched.

Needs `registry.py`. Licences: `LICENSES.md`. Read next: `texts.py`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from chainrule.core.errors import FileError
from chainrule.data.holdout import every_fifth
from chainrule.data.registry import Dataset, Examples, register
from chainrule.data.sources import Debian, File, Web


def read_digits(folder: Path) -> Examples:
    """1,437 training and 360 held-out 8x8 images with values 0..16, split by `every_fifth`.

    The writers are the same in both parts, since the file does not say who wrote what.
    """
    with np.load(folder / "digits.npz", allow_pickle=False) as stored:
        x, y = stored["images"][..., None], stored["labels"].astype(np.int64)
    held = every_fifth(y)
    names = tuple("0123456789")
    return Examples(x[~held], y[~held], x[held], y[held], classes=names, x_max=16)


digits = register(
    Dataset(
        name="digits",
        about="1,797 handwritten digits, 8x8 grey images with values 0 to 16, 10 classes",
        licence="CC BY 4.0",
        files=(
            File(
                "digits.npz",
                45_394,
                "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e",
            ),
        ),
        read=read_digits,
    )
)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an idx file: 0, 0, 8, rank, then big-endian sizes, then the bytes.

    Raises FileError when the header is another one or the bytes do not fill the shape.
    """
    content = np.fromfile(path, dtype=np.uint8)
    start = 4 + 4 * int(content[3]) if len(content) >= 4 else 4
    if bytes(content[:3]) != b"\0\0\x08" or len(content) < start:
        raise FileError(
            f"{path.name} is no idx file of bytes: it begins with {content[:start].tolist()}",
            mend=f"delete {path} and fetch it again",
        )
    shape = tuple(int(size) for size in content[4:start].view(">u4"))
    if len(content) - start != math.prod(shape):
        raise FileError(
            f"{path.name} needs {math.prod(shape):,} bytes for shape {shape}, "
            f"got {len(content) - start:,}",
            mend=f"delete {path} and fetch it again",
        )
    return content[start:].reshape(shape)


FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_fashion(folder: Path) -> Examples:
    """60,000 training and 10,000 test images, 28x28 bytes, in the authors' own split."""

    def images(part: str) -> np.ndarray:
        return read_idx(folder / f"{part}-images-idx3-ubyte")[..., None]

    def labels(part: str) -> np.ndarray:
        return read_idx(folder / f"{part}-labels-idx1-ubyte").astype(np.int64)

    return Examples(
        images("train"),
        labels("train"),
        images("t10k"),
        labels("t10k"),
        classes=FASHION,
        x_max=255,
    )


fashion_mnist = register(
    Dataset(
        name="fashion-mnist",
        about="70,000 pictures of clothing, 28x28 grey images, 10 classes",
        licence="MIT",
        files=(
            File(
                "train-images-idx3-ubyte",
                47_040_016,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            File(
                "train-labels-idx1-ubyte",
                60_008,
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            File(
                "t10k-images-idx3-ubyte",
                7_840_016,
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            File(
                "t10k-labels-idx1-ubyte",
                10_008,
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        read=read_fashion,
        sources=(
            Web(
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                suffix=".gz",
            ),
            Debian("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", suffix=".gz"),
        ),
    )
)
