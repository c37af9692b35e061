"""Images from a user's files, scaled as the model was trained: .npy, .csv and .png.

Read next: `curve.py`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from chainrule.core.errors import DataError, FileError, ShapeError, UnknownNameError

MOST_IMAGES = 100_000


def read_images(path: Path, shape: tuple[int, ...], x_max: int) -> np.ndarray:
    """The images in a file as float32 (images, height, width, channels) between 0 and 1.

    `shape` is one image's, `x_max` the value that stands for full intensity in .npy and .csv. An
    .npy holds one image or a stack of them; a .csv the rows of one image, or a whole image in each
    row; a .png one image. FileError for a file that is missing, of another kind or damaged,
    ShapeError for other sizes, DataError for values outside 0 .. x_max.
    """
    if path.suffix.lower() not in READERS:
        raise UnknownNameError("kind of image file", path.suffix or path.name, READERS)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is missing"
        raise FileError(f"the image file {path} {what}", mend="the path of an .npy, .csv or .png")
    values, top = READERS[path.suffix.lower()](path, x_max)
    images = stacked(path, values, shape)
    if not np.isfinite(images).all():
        raise DataError(f"{path} holds NaN or infinity", mend=f"values in 0 .. {top}")
    if images.min() < 0 or images.max() > top:
        raise DataError(
            f"{path} must hold values in 0 .. {top}, got {images.min():g} .. {images.max():g}",
            mend=f"scale it to 0 .. {top}, as the training images were",
        )
    return (images / top).astype(np.float32)


def stacked(path: Path, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`values` as a stack of images of `shape`; ShapeError where they are none."""
    plain = shape[:-1] if shape[-1] == 1 else shape
    ones, stacks = (shape, plain), ((*shape,), (*plain,), (math.prod(shape),))
    if values.shape in ones:
        return values.reshape(1, *shape)
    if values.ndim and len(values) and values.shape[1:] in stacks:
        return values.reshape(len(values), *shape)
    raise ShapeError(
        f"{path} must hold images of shape {plain}, one or a stack, got shape {values.shape}",
        mend=f"resize it to {' x '.join(map(str, plain))}",
    )


def read_npy(path: Path, x_max: int) -> tuple[np.ndarray, int]:
    """An array file; pickled objects are refused."""
    try:
        # Mapped: a header that promises more than the file holds is refused before any memory.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, "an .npy array of numbers", error) from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        got = getattr(values, "dtype", "an .npz archive")
        raise FileError(f"{path} must hold numbers, got {got}", mend="np.save(path, image)")
    if values.ndim and len(values) > MOST_IMAGES:
        raise FileError(f"{path} holds {len(values):,} images, at most {MOST_IMAGES:,} at once")
    return np.asarray(values, dtype=np.float64), x_max


def read_csv(path: Path, x_max: int) -> tuple[np.ndarray, int]:
    """Numbers between commas, no header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of an empty file
            values = np.loadtxt(path, delimiter=",", ndmin=2, max_rows=MOST_IMAGES)
    except (OSError, ValueError, UserWarning) as error:
        raise damaged(path, "rows of numbers between commas", error) from None
    return values, x_max


def read_png(path: Path, x_max: int) -> tuple[np.ndarray, int]:
    """The grey values of a picture, 0 .. 1; colours are averaged, transparency is left out."""
    try:
        from matplotlib.image import imread
    except ImportError:
        raise FileError(
            f"{path}: reading .png needs Matplotlib", mend="pip install 'chainrule[plot]', or .npy"
        ) from None
    try:
        values = imread(path, format="png")
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError for bad chunks
        raise damaged(path, "a .png picture", error) from None
    if values.ndim == 3:
        values = values[..., : 1 if values.shape[-1] == 2 else 3].mean(axis=-1)
    return values, 1


def damaged(path: Path, kind: str, error: BaseException) -> FileError:
    """The error of a file that is not what its name says."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FileError(f"{path} cannot be read as {kind}: {said}", mend="save it again, or check it")


READERS: dict[str, Callable[[Path, int], tuple[np.ndarray, int]]] = {
    ".npy": read_npy,
    ".csv": read_csv,
    ".png": read_png,
}
