"""The random shapes of `shapes.py`, ours against PyTorch's best layout, in rounds as the steps are.

Read next: `report.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainrule.core.errors import ChainruleError
from chainrule_bench import shapes
from chainrule_bench.peers import OURS, Peer, python_of
from chainrule_bench.rounds import TOLERANCE, Lane, Plan, Row, take_rounds


def compare_shapes(
    plan: Plan, names: Sequence[str], folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Each case's FLOP/s, ours and torch's; the ratios' median and least of each kind."""
    plan = replace(plan, seconds=plan.seconds / 5)  # there are many
    forms = [form for form in shapes.FORMS if form.partition("/")[0] in names]
    cases = []
    with ExitStack() as stack:
        peers = {}
        for form in forms:
            python = python_of(form.partition("/")[0], plan.pythons)
            peers[form] = stack.enter_context(Peer(form, python, folder, plan.threads))
        for name in shapes.CASES:
            cases.append(one_case(name, peers, plan, tell))
    kinds = {}
    for kind in ("gemm", "conv"):
        counted = [c for c in cases if c["name"].startswith(kind) and c["ratio"]]
        ratios = [case["ratio"] for case in counted]
        if ratios:
            kinds[kind] = {
                "cases": len(ratios),
                "median": statistics.median(ratios),
                "least": min(ratios),
                "below 0.7": sum(ratio < 0.7 for ratio in ratios),
                "disturbed": sum(case["disturbed"] > 0 for case in counted),
            }
    return {"cases": cases, "kinds": kinds}


def one_case(
    name: str, peers: Mapping[str, Peer], plan: Plan, tell: Callable[[str], None]
) -> dict[str, Any]:
    """A case in every form."""
    case = shapes.CASES[name]
    tell(f"{name}: {case}")
    lanes = []
    for form, peer in peers.items():
        row = Row(form)
        try:
            peer.build(name)
            row.loss = peer.ask("steps", first=0, count=1)["loss"]
        except ChainruleError as error:
            row.error = error.message
            tell(row.error)
        lanes.append(Lane(row, peer, 1, plan))
    take_rounds(lanes, tell)
    rows = [lane.row for lane in lanes if lane.row.times]
    rate = {row.form: case.flops / row.step for row in rows}
    ours = rate.get("chainrule/jit")
    losses = [row.loss for row in rows if row.loss is not None]
    agree = max(losses) - min(losses) <= TOLERANCE * abs(min(losses)) if losses else False
    if not agree:
        tell(f"{name} ({case}) does not count: the results differ, means {losses}")
    theirs = max((r for form, r in rate.items() if not form.startswith(OURS)), default=None)
    return {
        "name": name,
        "about": str(case),
        "flop/s": rate,
        "ratio": ours / theirs if ours and theirs and agree else None,
        "disturbed": sum(row.disturbed for row in rows),
    }
