"""`Model` and `Sequential` as users get them: with the methods that read a model.

`train` stands below `explain` and does not know it, so the methods are given to `Model` here, at
one place, as `ops` gives `Tensor` its operators. What they need is loaded when one is called:
training needs none of it. Read next: `chainrule/cli/explain.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.train.model import Model as Model
from chainrule.train.sequential import Sequential as Sequential

if TYPE_CHECKING:
    from chainrule.explain.derivation import Derivation


def derivation(model: Any, loss: Any = None, x_shape: Any = None, lang: str = "auto") -> Derivation:
    """The symbolic backward pass of the model, as in training; see `cr.derivation`."""
    from chainrule.explain import derivation as pages

    return pages.derivation(model, loss, x_shape, lang)


METHODS: dict[str, Any] = {"derivation": derivation}

for name, method in METHODS.items():
    setattr(Model, name, method)
