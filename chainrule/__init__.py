"""chainrule: deep learning in Python that shows its work.

One graph, three readings: run it, differentiate it, explain it.

Reading order of the engine, each file naming the next: `core/errors`, `core/dtypes`, `core/op`,
`core/node`, `core/graph`, `core/recording`, `core/tree`, `core/tensor`, `ops/elementwise`,
`ops/reduce`, `ops/move`, `ops/linear`, `ops/window`, `grad/reverse`, `grad/forward`,
`grad/vmap`, `rewrite/engine`, `compile/fuse`, `compile/memory`, `compile/kernel`,
`compile/llvm`, `compile/axes`, `compile/loops`, `compile/gather`, `compile/product`,
`compile/cache`, `compile/runtime`, `compile/platforms`, `compile/threads`, `compile/module`,
`compile/unfold`, `compile/hoist`, `compile/donate`, `compile/draft`, `compile/plan`,
`compile/signature`, `compile/program`, `compile/repeat`, `compile/jit`.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import chainrule.explain
import chainrule.ops  # it gives Tensor its operators
from chainrule.grad.reverse import grad as grad  # else `grad` would be the folder of this name

del globals()["explain"]  # the folder, which is loaded: the name is now free for the function

__version__ = "0.1.0"


def _places() -> dict[str, tuple[str, str]]:
    """Of every public name, the module that has it and its name there, as `__init__.pyi` says."""
    text = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = [part for part in ast.parse(text).body if isinstance(part, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (str(part.module), alias.name)
        for part in imports
        for alias in part.names
    }


_PLACES = _places()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
    place, own = _PLACES[name]
    folder = place == __name__
    value = import_module(f"{place}.{own}") if folder else getattr(import_module(place), own)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*_PLACES, "__version__"]
