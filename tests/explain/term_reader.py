"""Works out the terms of a derivation in NumPy, from what is written alone.

A sum keeps its axes, so that what broadcasts in the engine does so here; what a template does not
say (how to reshape, where a window lies) is `Unwritten`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.explain.expression import softmax
from chainrule.explain.formula import Apply, N, Number, Product, Sum, Symbol, Term
from chainrule.explain.reading import axis_letter

INDEXED = r"(?:\\sum_\{([a-z,]+)\} )?#1_\{([a-z]+)\} \\, #2_\{([a-z]+)\}"
NORMAL = np.vectorize(math.erf)
TEMPLATES: dict[str, Callable[..., Any]] = {
    r"\sigma(#1)": lambda x: 1 / (1 + np.exp(-x)),
    r"\tanh(#1)": np.tanh,
    r"\max(#1, 0)": lambda x: np.maximum(x, 0),
    r"\max(#1, #2)": np.maximum,
    r"\sqrt{#1}": np.sqrt,
    r"\frac{1}{\sqrt{#1}}": lambda x: 1 / np.sqrt(x),
    r"\mathrm{erf}(#1)": NORMAL,
    r"\mathrm{clip}(#1, #2, #3)": np.clip,
    r"\overline{#1}": lambda x: x,
    r"\left|#1\right|": np.abs,
    "e^{#1}": np.exp,
    "e^{#1} - 1": np.expm1,
    r"\ln #1": np.log,
    r"\ln(1 + #1)": np.log1p,
    r"#1 \, #2": np.matmul,
    r"#1^{\top} \, #2": lambda x, z: x.T @ z,
    r"#1 \, #2^{\top}": lambda x, z: x @ z.T,
    r"\mathrm{sign}(#1)": np.sign,
    r"\mathrm{softmax}(#1)": softmax,
    "#1 < #2": np.less,
    "#1 = #2": np.equal,
    "#1 > #2": np.greater,
    r"#1 \le #2": np.less_equal,
    r"#1 \wedge #2": np.logical_and,
    r"\neg #1": np.logical_not,
    "[#1]": lambda x: x * 1.0,
}


class Unwritten(Exception):
    """A term that does not say by itself what its value is."""


def value_of(term: Term, values: Mapping[Symbol, Any]) -> Any:
    """The value of a term, of the letters' `values`."""

    def of(part: Term) -> Any:
        return value_of(part, values)

    match term:
        case Symbol():
            return np.asarray(values[term])
        case Product(number, top, bottom):
            value: Any = number_value(number)
            for part in top:
                value = value * of(part)
            for part in bottom:
                value = value / of(part)
            return np.asarray(value)
        case Sum(terms):
            return sum(of(part) for part in terms)
        case Apply(template, parts):
            return applied(template, [of(part) for part in parts])
    raise Unwritten(repr(term))


def number_value(number: Number) -> float:
    return float(number.value) * float(N) ** number.batch


def applied(template: str, parts: list) -> Any:
    if template in TEMPLATES:
        return TEMPLATES[template](*parts)
    if found := re.fullmatch(r"\\(sum|max)(?:_\{([a-z,]+)\})? \\, #1", template):
        (x,) = parts
        wanted = found[2].split(",") if found[2] else None
        axes = [i for i in range(x.ndim) if wanted is None or axis_letter(x.shape, i) in wanted]
        if wanted is not None and len(axes) != len(wanted):
            raise Unwritten(template)
        return (np.sum if found[1] == "sum" else np.max)(x, axis=tuple(axes), keepdims=True)
    if template == r"#1^{\top}" and parts[0].ndim == 2:
        return parts[0].T
    inner = re.fullmatch(r"\\left\[(.*)\\right\]_\{([a-z]+)\}", template)
    if found := re.fullmatch(INDEXED, inner[1] if inner else template):
        summed = (found[1] or "").split(",")
        free = [q for q in dict.fromkeys(found[2] + found[3]) if q not in summed]
        out = inner[2] if inner else "".join(free)
        return np.einsum(f"{found[2]},{found[3]}->{out}", *parts)
    raise Unwritten(template)
