"""One picture from a file: binary PGM and PPM and .npy at once, all other kinds by Pillow.

Pillow is an extra, asked for at this one door. Read next: `folders.py`.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, FileError

SUFFIXES = frozenset(".png .jpg .jpeg .jpe .bmp .gif .webp .tif .tiff .ppm .pgm .pnm .npy".split())
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names, by how many channels
NETPBM = re.compile(rb"P([56])\s+(\d{1,6})\s+(\d{1,6})\s+255\s")
PILLOW = "pip install 'chainrule[images]', which brings Pillow"


def read_picture(
    path: str, channels: int, size: tuple[int, int] | None = None, show: str = ""
) -> np.ndarray:
    """The picture in a file as uint8 (height, width, `channels`), with values 0 .. 255.

    1 channel is brightness, 3 red, green, blue, and 4 those and opacity. With `size`, (height,
    width), it is resized bilinearly. Of a file with several frames, the first. FileError, with
    the name `show`, for a file that is missing or is no picture, ArgumentError for kinds and
    sizes that need Pillow where that is not installed.
    """
    show = show or path
    try:
        values = _npy(path) if path.lower().endswith(".npy") else _netpbm(path)
        made = _pillow(path, channels, show) if values is None else _convert(values, channels)
    except ArgumentError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, and some own
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise FileError(
            f"{show} cannot be read as a picture: {told.splitlines()[0]}",
            mend="remove the file, or skip=True to leave such files out",
        ) from None
    return made if size is None or made.shape[:2] == size else _resized(made, size, show)


def _npy(path: str) -> np.ndarray:
    # Mapped: a header that promises more than the file holds is refused before any memory.
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(values, np.ndarray) or values.dtype != np.uint8:
        raise ValueError(f"an array of uint8 is needed, got {getattr(values, 'dtype', 'an .npz')}")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in MODES or not values.size:
        raise ValueError(f"shape (height, width[, 1, 3 or 4]) is needed, got {values.shape}")
    return np.array(values)


def _netpbm(path: str) -> np.ndarray | None:
    """A binary PGM or PPM of bytes up to 255; None for all else, which Pillow may know."""
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError("the file is empty")
        start = file.read(64)
        found = NETPBM.match(start)
        if found is None:
            return None
        kind, width, height = (int(part) for part in found.groups())
        shape = (height, width, 3 if kind == 6 else 1)
        needed = height * width * shape[2]
        there = os.fstat(file.fileno()).st_size - found.end()
        if there < needed or not needed:
            raise ValueError(f"{needed} bytes of pixels are needed for {shape}, got {there}")
        content = start[found.end() :]
        while len(content) < needed and (more := file.read(needed - len(content))):
            content += more
    return np.frombuffer(content, np.uint8, needed).reshape(shape)


def _convert(x: np.ndarray, channels: int) -> np.ndarray:
    """Between 1, 3 and 4 channels, as Pillow does it."""
    has = x.shape[-1]
    if has == channels:
        return x
    if channels == 1:
        parts = x[..., :3].astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
        return ((parts + 0x8000) >> 16).astype(np.uint8)[..., None]
    colours = np.repeat(x, 3, axis=-1) if has == 1 else x[..., :3]
    if channels == 3:
        return colours
    return np.concatenate([colours, np.full((*x.shape[:2], 1), 255, np.uint8)], axis=-1)


def _pillow(path: str, channels: int, show: str) -> np.ndarray:
    Image = _door(f"{show}: reading this kind of picture")
    with Image.open(path) as image:
        if image.mode == "F" or image.mode == "I":
            raise ValueError(f"pixels of {image.mode!r}, whose range is not known")
        if image.mode.startswith("I;16"):  # convert would cut all above 255 to white
            grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return _convert(grey[..., None], channels)
        made = np.asarray(image.convert(MODES[channels]))
    return made.reshape(*made.shape[:2], channels)


def _resized(x: np.ndarray, size: tuple[int, int], show: str) -> np.ndarray:
    Image = _door(f"{show}: resizing {x.shape[0]} x {x.shape[1]} to {size[0]} x {size[1]}")
    image = Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x)
    made = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    return made.reshape(*size, x.shape[-1])


def _door(what: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ArgumentError(f"{what} needs Pillow, which is not installed", mend=PILLOW) from None
    return Image
