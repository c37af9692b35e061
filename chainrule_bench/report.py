"""The result for people: a table for each workload, one for the frameworks, one for the shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # title, headings, rows


def tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What was found, a table after the other."""
    machine = result["machine"]
    if machine:
        yield machine_table(machine, result["threads"])
    for name, found in result["workloads"].items():
        yield workload_table(name, found)
    yield framework_table(result["frameworks"])
    if "shapes" in result:
        peak = machine["flops"] if machine else None
        yield from shape_tables(result["shapes"], peak)


def workload_table(name: str, found: Mapping[str, Any]) -> Table:
    """A row for each form, the fastest first; those that do not count last."""
    rows = sorted(found["rows"], key=lambda row: (not row["counts"], row.get("step", 0)))
    ratio = found["best peer / ours"]
    title = f"{name}: {found['about']}"
    if found["limit"]:
        title += f"; limit {milli(found['limit'])} ms"
    if ratio:
        title += f"; {found['best peer']} / {found['ours']} = {ratio:.2f}"
    headings = (
        "form", "ms a step", "low to high", "of limit", "samples/s", "cold ms", "warm ms",
        "peak MB", "mean loss", "gap", "",
    )  # fmt: skip
    return title, headings, [workload_row(row) for row in rows]


def workload_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One form."""
    timed = "step" in row
    note = row["error"] or ("" if row["counts"] else "does not count") or row["note"]
    if row["disturbed"]:
        note = f"{note} {row['disturbed']} of {len(row['rounds'])} rounds disturbed".strip()
    return (
        row["form"],
        milli(row["step"]) if timed else "",
        f"{milli(row['low'])} to {milli(row['high'])}" if timed else "",
        f"{row['of limit']:.0%}" if timed and row["of limit"] else "",
        f"{row['samples/s']:,.0f}" if timed else "",
        milli(row["cold"], 0),
        milli(row["warm"], 0),
        f"{row['memory'] / 1e6:.0f}" if row["memory"] else "",
        f"{row['loss']:.6f}" if row["loss"] is not None else "",
        f"{row['gap']:.0e}" if row["gap"] is not None else "",
        note,
    )


def machine_table(machine: Mapping[str, Any], threads: int) -> Table:
    """The peaks, bandwidths by what is held."""
    rows = [
        ("multiply-adds", f"{machine['flops'] / 1e9:.0f} GFLOP/s"),
        ("divisions, roots", f"{machine['roots'] / 1e9:.1f} G/s"),
    ]
    for size, rate in machine["bandwidth"].items():
        if int(size) in (2**16, 2**20, 2**22, 2**24, 2**28):
            rows.append((f"{size / 2**20:g} MiB held", f"{rate / 1e9:.0f} GB/s"))
    return f"this machine, {threads} threads", ("what", "at most"), rows


def framework_table(found: Mapping[str, Any]) -> Table:
    """Versions, size and import."""
    rows = [
        (
            ", ".join(f"{package} {version}" for package, version in each["versions"].items()),
            f"{each['installed'] / 1e6:.0f}",
            milli(each["import"], 0),
        )
        for each in found.values()
    ]
    return "frameworks", ("framework", "installed MB", "import ms"), rows


def shape_tables(found: Mapping[str, Any], peak: float | None) -> Iterator[Table]:
    """Each case, then the summary of each kind."""
    rows = [
        (
            case["about"],
            *(f"{rate / 1e9:.1f}" for rate in case["flop/s"].values()),
            f"{case['flop/s'].get('chainrule/jit', 0) / peak:.0%}" if peak else "",
            f"{case['ratio']:.2f}" if case["ratio"] else "",
            "disturbed" if case["disturbed"] else "",
        )
        for case in found["cases"]
    ]
    forms = list(found["cases"][0]["flop/s"]) if found["cases"] else []
    yield "shapes, GFLOP/s", ("case", *forms, "of peak", "ratio to the best", ""), rows
    kinds = [
        (kind, str(each["cases"]), f"{each['median']:.2f}", f"{each['least']:.2f}")
        + (str(each["below 0.7"]), str(each["disturbed"]))
        for kind, each in found["kinds"].items()
    ]
    yield "shapes, ratios", ("kind", "cases", "median", "least", "below 0.7", "disturbed"), kinds


def milli(seconds: float | None, digits: int | None = None) -> str:
    """Milliseconds with three significant digits, or so many after the point.

    >>> milli(0.00123), milli(1.5e-7), milli(0.5123, 0)
    ('1.23', '0.00015', '512')
    """
    if seconds is None:
        return ""
    if digits is not None:
        return f"{1e3 * seconds:.{digits}f}"
    return f"{1e3 * seconds:#.3g}".rstrip(".") if seconds >= 1e-6 else f"{1e3 * seconds:.2g}"
