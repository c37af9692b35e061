"""What a program's plan depends on, as one key: the graph, what is donated, the machine, and the
code that plans.

Read next: `plan.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from chainrule.compile.cache import key_of
from chainrule.compile.runtime import target_name
from chainrule.core.errors import PACKAGE
from chainrule.core.graph import Graph
from chainrule.core.op import OPS, Op
from chainrule.rewrite.engine import RULES

PLANNERS = ("core", "ops", "grad", "rewrite", "compile")  # the folders that planning runs through


def signature(graph: Graph, donated: Sequence[bool]) -> str | None:
    """The key of the plan of `graph`.

    None where a key cannot say what the plan depends on: attributes other than numbers, strings
    and tuples of them (a loop's body, a choice's branches), ops or rewrites of the user's own.
    """
    order = graph.order
    place = {node: i for i, node in enumerate(order)}
    unread = [node for node in graph.inputs if node not in place]
    rows = []
    for node in (*order, *unread):
        if not all(map(_plain, node.attrs.values())):
            return None
        rows.append((node.op.name, [place[n] for n in node.inputs], sorted(node.attrs.items())))
        place.setdefault(node, len(place))
    if not (all(map(_own, {node.op for node in order})) and _own_rules()):
        return None
    ends = [[place[node] for node in nodes] for nodes in (graph.inputs, graph.outputs)]
    text = json.dumps([rows, ends, [bool(given) for given in donated]])
    return key_of(target_name(), _planners(), text)


def _plain(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_plain, value))
    return type(value) in (int, float, bool, str) or value is None


@cache
def _own(op: Op) -> bool:
    """Whether an op is the registered one, and all that it consists of chainrule's own code."""
    return OPS.get(op.name) is op and all(map(_ours, vars(op).values()))


def _own_rules() -> bool:
    return all(_ours(rule.apply) for rules in RULES.values() for rule in rules)


def _ours(value: Any) -> bool:
    """Whether a function, and those that it closes over, stand in this package or in NumPy."""
    if isinstance(value, FunctionType):
        return value.__code__.co_filename.startswith(PACKAGE) and _closes_over_ours(value)
    return not callable(value) or type(value).__module__ in ("numpy", "builtins")


@cache
def _closes_over_ours(fn: FunctionType) -> bool:
    return all(_ours(cell.cell_contents) for cell in fn.__closure__ or ())


@cache
def _planners() -> str:
    """A hash of the code that plans: another version's plans are not taken for this one's."""
    found = hashlib.sha256()
    for folder in PLANNERS:
        for path in sorted(Path(PACKAGE, folder).glob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()
