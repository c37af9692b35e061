"""A folder of pictures, one sub-folder for each class, as batches that are read when needed.

In memory are the names and the batch in hand, so a folder may hold more than memory. Read next:
`decode.py`, `chainrule/train/stream.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from chainrule.core.errors import (
    ArgumentError,
    DataError,
    FileError,
    ShapeError,
    UnknownNameError,
)
from chainrule.data.batches import batch_indices, check_whole, epoch_order, split_validation
from chainrule.data.decode import MODES, SUFFIXES, read_picture

Batch = tuple[np.ndarray, np.ndarray]
SUBSETS = ("training", "validation", "both")
SPLIT = 2**64 - 1  # the epoch whose order says who is held out; no fit comes to it


def image_folder(
    path: str | os.PathLike,
    size: tuple[int, int] | None = None,
    batch_size: int = 32,
    channels: int = 3,
    validation_split: float | None = None,
    subset: str | None = None,
    seed: int = 0,
    shuffle: bool = True,
    scale: float | None = None,
    skip: bool = False,
) -> Any:
    """Batches (x, y) of the pictures below `path`, for `fit`, `evaluate` and `predict`.

    Each sub-folder is a class, in the order of their names, and holds its pictures, also in
    folders of its own. `x` is uint8 (n, height, width, `channels`) with values 0 .. 255, or
    float32 and multiplied by `scale` (1 / 255) where one is given; `y` are the classes' numbers.
    All pictures are resized to `size` (height, width); without it they must be of one size.

    `fit` visits them in another order in each epoch, a function of `seed` and the epoch alone;
    `evaluate` and `predict` in the order of `paths`, and so does `fit` without `shuffle`.
    `validation_split` holds a part of the pictures out, chosen by `seed` whatever the classes:
    `subset` says which part this is, "training" or "validation", or "both" for the pair of them.

    FileError for a folder that is missing and for a file that is no picture, at once by its name
    or when it is read by what it holds; with `skip` such are left out, and listed in `skipped`.
    DataError for a folder or a class without pictures, ShapeError for pictures of several sizes.

    >>> import tempfile, pathlib
    >>> top = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (top / name).mkdir()
    ...     _ = (top / name / "1.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 255]))
    >>> pictures = image_folder(top, channels=1, scale=1 / 255)
    >>> pictures.classes, pictures.image_shape, len(pictures)
    (('cat', 'dog'), (1, 2, 1), 1)
    """
    size = _check_size(size)
    check_whole("batch_size", batch_size, 1)
    check_whole("seed", seed, 0, 2**64 - 1)
    _check_choices(channels, scale, validation_split, subset)
    found = _Found(Path(path), skip)

    def part(indices: np.ndarray) -> ImageFolder:
        return ImageFolder(found, indices, size, batch_size, channels, seed, shuffle, scale)

    everything = np.arange(len(found.paths))
    if validation_split is None:
        return part(everything)
    order = epoch_order(len(found.paths), seed=seed, epoch=SPLIT)
    train, held_out = split_validation(len(found.paths), validation_split)
    parts = {"training": np.sort(order[train]), "validation": np.sort(order[held_out])}
    if subset == "both":
        return part(parts["training"]), part(parts["validation"])
    return part(parts[str(subset)])


def _check_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ArgumentError(
            f"size must be (height, width), got {size!r}", mend="size=(64, 64), or None"
        )
    for name, value in zip(("height", "width"), size, strict=True):
        check_whole(name, value, 1, 2**16)
    return int(size[0]), int(size[1])


def _check_choices(channels: Any, scale: Any, validation_split: Any, subset: Any) -> None:
    if channels not in MODES:
        raise ArgumentError(f"channels must be 1, 3 or 4, got {channels!r}")
    number = isinstance(scale, int | float | np.number) and np.isfinite(scale)
    if scale is not None and not (number and scale):
        raise ArgumentError(f"scale must be a finite number other than 0, got {scale!r}")
    if (validation_split is None) != (subset is None):
        raise ArgumentError(
            "validation_split and subset go together, and one was given without the other",
            mend='validation_split=0.2, subset="both"',
        )
    if subset is not None and subset not in SUBSETS:
        raise UnknownNameError("subset", subset, SUBSETS)


class ImageFolder:
    """What `image_folder` gives: batches, again and again.

    `classes` are the classes' names, `paths` the files' names below the folder, `labels` the
    class of each, `image_shape` is that of one picture, `skipped` are the files left out so far;
    `len` is how many batches an epoch has. Each `for` loop goes through the next epoch.
    """

    def __init__(
        self,
        found: _Found,
        indices: np.ndarray,
        size: tuple[int, int] | None,
        batch_size: int,
        channels: int,
        seed: int,
        shuffle: bool,
        scale: float | None,
    ):
        self.path = found.path
        self.classes = found.classes
        self.paths = found.paths.only(indices)
        self.labels = found.labels[indices]
        self.skip = found.skip
        self.skipped: list[str] = list(found.skipped)
        self.size = size
        self.batch_size = int(batch_size)
        self.channels = channels
        self.seed = seed
        self.shuffle = bool(shuffle)
        self.scale = scale
        self.passes = count()
        self.image_shape: tuple[int, ...] = ()
        self.image_shape = (*(size or self._first_size()), channels)

    def __len__(self) -> int:
        return -(-len(self.paths) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(next(self.passes))

    def epoch(self, number: int | None, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from batch `start` on; of None, in the order of `paths`."""
        batches = batch_indices(
            len(self.paths),
            self.batch_size,
            seed=self.seed,
            epoch=number or 0,
            shuffle=self.shuffle and number is not None,
        )
        if not self.skip:
            return map(self._batch, batches[start:])
        # What is left out is known only once it was read, and may be a whole batch.
        return islice((batch for batch in map(self._batch, batches) if len(batch[1])), start, None)

    def _batch(self, indices: np.ndarray) -> Batch:
        x = np.empty((len(indices), *self.image_shape), np.uint8)
        good = np.ones(len(indices), bool)
        for i, index in enumerate(indices):
            picture = self._read(self.paths[int(index)])
            good[i] = picture is not None
            if picture is not None:
                x[i] = picture
        if not good.all():
            x, indices = x[good], indices[good]
        if self.scale is not None:
            return np.multiply(x, np.float32(self.scale), dtype=np.float32), self.labels[indices]
        return x, self.labels[indices]

    def _read(self, name: str) -> np.ndarray | None:
        """The picture of that name; None where it cannot be read and is to be skipped."""
        try:
            picture = read_picture(str(self.path / name), self.channels, self.size, show=name)
        except FileError:
            if not self.skip:
                raise
            if name not in self.skipped:
                self.skipped.append(name)
            return None
        needed = self.image_shape
        if needed and picture.shape != needed:
            raise ShapeError(
                f"{name} is {_by(picture.shape)}, and the first picture, {self.paths[0]}, is "
                f"{_by(needed)}",
                mend=f"size=({needed[0]}, {needed[1]}), to which all are resized",
            )
        return picture

    def _first_size(self) -> tuple[int, int]:
        for name in self.paths:
            picture = self._read(name)
            if picture is not None:
                return picture.shape[0], picture.shape[1]
        raise DataError(f"none of the {len(self.paths)} files below {self.path} can be read")

    def __repr__(self) -> str:
        return (
            f"ImageFolder({str(self.path)!r}: {len(self.paths):,} pictures "
            f"{_by(self.image_shape)} in {len(self.classes)} classes, batches of {self.batch_size})"
        )


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape[:2]))


class Names(Sequence[str]):
    """Many file names in little memory: one run of bytes, and where each ends."""

    def __init__(self, names: Sequence[str]):
        coded = [os.fsencode(name) for name in names]
        self.text = b"".join(coded)
        self.ends = np.cumsum([len(name) for name in coded], dtype=np.int64)
        self.indices = np.arange(len(coded))

    def only(self, indices: np.ndarray) -> Names:
        """The names at `indices`; the bytes are shared."""
        made = Names.__new__(Names)
        made.text, made.ends, made.indices = self.text, self.ends, self.indices[indices]
        return made

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return self.only(np.arange(len(self))[index])
        at = self.indices[index]
        start = self.ends[at - 1] if at else 0
        return os.fsdecode(self.text[start : self.ends[at]])


class _Found:
    """The classes and files below a folder, as they were when it was looked through."""

    def __init__(self, path: Path, skip: bool):
        self.path = path
        self.skip = bool(skip)
        self.skipped: list[str] = []
        if not path.is_dir():
            what = "is no folder" if path.exists() else "is missing"
            raise FileError(f"the image folder {path} {what}", mend="a folder of folders")
        entries = sorted(each for each in os.listdir(path) if not each.startswith("."))
        self.classes = tuple(each for each in entries if (path / each).is_dir())
        loose = [each for each in entries if _is_picture(each) and each not in self.classes]
        if loose and not (skip and self.classes):
            raise DataError(
                f"{path} holds {len(loose)} pictures that are in no class's folder, {loose[0]!r} "
                "first",
                mend=f"{path}/CLASS/{loose[0]}, a sub-folder for each class",
            )
        if not self.classes:
            raise DataError(
                f"{path} has no sub-folder", mend=f"{path}/cat/1.png, a sub-folder for each class"
            )
        self.skipped += loose
        names = [self._class(each) for each in self.classes]
        self.paths = Names([name for part in names for name in part])
        self.labels = np.repeat(np.arange(len(names)), [len(part) for part in names])
        if not len(self.paths):
            raise DataError(f"the folders below {path} hold no pictures", mend=_kinds())

    def _class(self, name: str) -> list[str]:
        found = []
        for folder, below, files in os.walk(self.path / name):
            below[:] = sorted(each for each in below if not each.startswith("."))
            inside = os.path.relpath(folder, self.path)
            for file in sorted(files):
                if _is_picture(file):
                    found.append(os.path.join(inside, file))
                elif not file.startswith("."):
                    self._no_picture(os.path.join(inside, file))
        if not found and not self.skip:
            raise DataError(
                f"the class {name!r} of {self.path} holds no pictures",
                mend=f"{_kinds()}; or remove the folder, or skip=True to keep an empty class",
            )
        return found

    def _no_picture(self, name: str) -> None:
        if not self.skip:
            raise FileError(
                f"{name} below {self.path} is no picture by its name",
                mend=f"{_kinds()}; or remove it, or skip=True to leave such files out",
            )
        self.skipped.append(name)


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _kinds() -> str:
    return "files that end in " + " ".join(sorted(SUFFIXES))
