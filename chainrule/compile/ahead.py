"""Rows that ids name are asked for a few places ahead, so that memory answers in time.

Read next: `product.py`.
"""

from __future__ import annotations

from chainrule.compile.axes import Plan
from chainrule.compile.kernel import Builder, Value
from chainrule.compile.llvm import SIZES

PLACES = 12  # ahead
LINE = 64  # bytes
MOST = 16  # lines of a row
NEAR = 1 << 18  # bytes of a table that the cache holds anyway


def ask_ahead(k: Builder, plan: Plan, pointers: list[Value], axis: int, index: Value) -> None:
    """Ask for the rows that a later place of `axis` names, where the rows are far apart."""
    here = plan.axes[axis]
    written = set(plan.stores.values())
    for position, access in enumerate(plan.accesses):
        if access.named is None or not here.steps[access.named.ids]:
            continue
        ids, step, extent = access.named
        size = SIZES[access.dtype]
        if step * extent * size <= NEAR:
            continue
        later = k.whole("min", k.whole("add", index, PLACES), here.extent - 1)
        which = k.load(k.advance(pointers[ids], later, here.steps[ids]), 1, 1, 1)
        row = k.advance(pointers[position], k.convert(which, "int64"), step)
        width = sum((a.extent - 1) * a.steps[position] for a in plan.axes[axis + 1 :]) + 1
        for line in range(min(MOST, -(-width * size // LINE))):
            k.prefetch(k.advance(row, line * LINE // size, 1), position in written)
