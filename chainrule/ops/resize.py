"""Images of another size: the nearest pixel, or a mean of the four around.

Output pixel i of m has its centre at (i + 1/2) n / m of the n pixels of the input, as in
`tf.image.resize`, Keras's UpSampling2D and PyTorch's `interpolate` without aligned corners (its
nearest is "nearest-exact"). Nothing is smoothed before an image is made smaller.
Read next: `index.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import DtypeError, ShapeError, UnknownNameError
from chainrule.core.tensor import Tensor
from chainrule.ops.arrange import repeat
from chainrule.ops.index import take
from chainrule.ops.linear import contract
from chainrule.ops.window import Extents, extents, placed


def resize(x: Any, size: Extents, method: str = "nearest") -> Tensor:
    """Images (batch, height, width, channels) as (batch, *size, channels).

    "nearest" repeats and skips pixels, of any dtype. "bilinear" needs floats, and is a product
    with a matrix (size, extent) along each axis; pixels past the edge are those of the edge.

    >>> resize(np.float32([0, 4]).reshape(1, 1, 2, 1), (1, 4), "bilinear").reshape(-1)
    Tensor([0., 1., 3., 4.], dtype=float32)
    """
    if method not in METHODS:
        raise UnknownNameError("method of resize", method, METHODS)
    x = placed(x, 2)
    if 0 in x.shape[1:3]:
        raise ShapeError(f"resize of an image without pixels: shape {x.shape}")
    for axis, wanted in enumerate(extents(size, 2, "resize: size"), 1):
        if wanted != x.shape[axis]:
            x = METHODS[method](x, axis, wanted)
    return x


def _nearest(x: Tensor, axis: int, wanted: int) -> Tensor:
    extent = x.shape[axis]
    if wanted % extent == 0:  # a view, where reading by position is a copy
        return repeat(x, wanted // extent, axis)
    return take(x, (2 * np.arange(wanted) + 1) * extent // (2 * wanted), axis)


def _bilinear(x: Tensor, axis: int, wanted: int) -> Tensor:
    if x.dtype.kind != "f":
        raise DtypeError(
            f"resize with method 'bilinear' needs float images, got {x.dtype}",
            mend="cr.cast(x, 'float32')",
        )
    shares = _shares(x.shape[axis], wanted).astype(x.dtype)
    return contract(x, shares, spec=("nhwc,ph->npwc", "nhwc,pw->nhpc")[axis - 1])


def _shares(extent: int, wanted: int) -> np.ndarray:
    """How much of each pixel (column) goes to each new one (row); rows sum to 1."""
    rows = np.arange(wanted)
    centre = np.clip((rows + 0.5) * extent / wanted - 0.5, 0, extent - 1)
    below = np.floor(centre).astype(int)
    share = centre - below
    found = np.zeros((wanted, extent))
    np.add.at(found, (rows, below), 1 - share)
    np.add.at(found, (rows, np.minimum(below + 1, extent - 1)), share)
    return found


METHODS = {"bilinear": _bilinear, "nearest": _nearest}
