"""Circular functions and their inverses. Read next: `reduce.py`.

Machine code gives sin, cos and tan for |x| < 2^40 and NaN beyond it, never a wrong number;
NumPy, which runs them eagerly, has no such bound.
"""

from __future__ import annotations

import numpy as np

from chainrule.core.op import Op
from chainrule.ops import approximate_angles
from chainrule.ops.elementwise import elementwise
from chainrule.ops.smooth import rsqrt

sin = elementwise(
    "sin",
    r"\sin(#1)",
    ref=np.sin,
    deriv=lambda x, y: cos(x),
    body=approximate_angles.sin,
    exact_below=approximate_angles.TURNS_END,
    takes="float",
)

cos: Op = elementwise(
    "cos",
    r"\cos(#1)",
    ref=np.cos,
    deriv=lambda x, y: -sin(x),
    body=approximate_angles.cos,
    exact_below=approximate_angles.TURNS_END,
    takes="float",
)

tan = elementwise(
    "tan",
    r"\tan(#1)",
    ref=np.tan,
    deriv=lambda x, y: 1 + y * y,
    body=approximate_angles.tan,
    exact_below=approximate_angles.TURNS_END,
    takes="float",
    domain=(-1.2, 1.2),
)

arcsin = elementwise(
    "arcsin",
    r"\arcsin(#1)",
    ref=np.arcsin,
    deriv=lambda x, y: rsqrt((1 - x) * (1 + x)),
    body=approximate_angles.arcsin,
    takes="float",
    domain=(-0.8, 0.8),
)

arccos = elementwise(
    "arccos",
    r"\arccos(#1)",
    ref=np.arccos,
    deriv=lambda x, y: -rsqrt((1 - x) * (1 + x)),
    body=approximate_angles.arccos,
    takes="float",
    domain=(-0.8, 0.8),
)

arctan = elementwise(
    "arctan",
    r"\arctan(#1)",
    ref=np.arctan,
    deriv=lambda x, y: 1 / (1 + x * x),
    body=approximate_angles.arctan,
    takes="float",
)

arctan2 = elementwise(
    "arctan2",
    r"\mathrm{arctan2}(#1, #2)",
    ref=np.arctan2,
    deriv=lambda x, z, y: (lambda: z / (x * x + z * z), lambda: -x / (x * x + z * z)),
    body=approximate_angles.arctan2,
    takes="float",
    doc="The angle of the point (z, x), counted from the first axis, in -pi..pi.",
)
