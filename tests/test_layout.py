"""The laws of the source tree: which way imports run, sizes, names, docstrings.

Each law is a function from a folder to the list of its faults, so that the same function is
shown here to pass the real tree and to catch a planted fault in a temporary one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("chainrule", "chainrule_bench", "tests", "benchmarks", "examples", "docs", "course")
# A folder may import from itself and from those before it (design, section 1).
ORDER = (
    "core ops grad rewrite compile nn data train explain interop parallel apps play cli"
).split()
# The package's own front shows names of all folders; nothing inside may import it back.
FRONT = ("__init__", "__main__")
VAGUE_NAMES = {"utils", "helpers", "common", "base", "misc"}
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b")
MOST_LINES, MOST_FUNCTION_LINES, MOST_COLUMNS = 450, 60, 100


def python_files(root: Path, *folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (root / folder).rglob("*.py")
        if "node_modules" not in path.parts
    )


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node` but those that only a type checker reads."""
    yield node
    if isinstance(node, ast.If) and is_type_checking(node.test):
        children: Iterator[ast.AST] | list[ast.stmt] = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from run_time_nodes(child)


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of each import; `from a import b` counts as `a.b`."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    for node in run_time_nodes(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


def import_faults(root: Path) -> list[str]:
    """Imports that run against ORDER, and files that have no place in it."""
    faults = []
    for path in python_files(root, "chainrule"):
        where = path.relative_to(root)
        folder = where.with_suffix("").parts[1]
        if folder in FRONT:
            continue
        if folder not in ORDER:
            faults.append(f"{where}: {folder!r} has no place in the order {' < '.join(ORDER)}")
            continue
        allowed = ORDER[: ORDER.index(folder) + 1]
        for line, module in imported_modules(path, root):
            top, _, rest = module.partition(".")
            if top == "chainrule" and rest.split(".")[0] not in allowed:
                faults.append(f"{where}:{line}: {folder} must not import {module}")
    return faults


def name_faults(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: say what it holds instead of {part!r}"
        for path in python_files(root, *SOURCES)
        for part in path.relative_to(root).with_suffix("").parts
        if part in VAGUE_NAMES
    ]


def length_faults(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: {lines} lines, at most {MOST_LINES}"
        for path in python_files(root, *SOURCES)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    ]


def function_faults(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{node.lineno}: {node.name} has {lines} lines, "
        f"at most {MOST_FUNCTION_LINES}"
        for path in python_files(root, "chainrule")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_FUNCTION_LINES
    ]


def docstring_faults(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: has no module docstring"
        for path in python_files(root, "chainrule")
        if not ast.get_docstring(tree(path))
    ]


def line_faults(root: Path) -> list[str]:
    """Lines that are too wide or say that something is still to be done."""
    faults = []
    for path in python_files(root, *SOURCES):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path.relative_to(root)}:{number}"
            if len(line) > MOST_COLUMNS:
                faults.append(f"{where}: {len(line)} columns, at most {MOST_COLUMNS}")
            if found := UNFINISHED.search(line):
                faults.append(f"{where}: {found.group()}; finish it or file an issue")
    return faults


def duplicate_test_faults(root: Path) -> list[str]:
    """Test functions that share a name: the later one in a file silently replaces the first."""
    places: dict[str, list[str]] = {}
    for path in python_files(root, "tests"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                place = f"{path.relative_to(root)}:{node.lineno}"
                places.setdefault(node.name, []).append(place)
    return [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]


Law = Callable[[Path], list[str]]
LAWS: list[Law] = [
    import_faults,
    name_faults,
    length_faults,
    function_faults,
    docstring_faults,
    line_faults,
    duplicate_test_faults,
]


@pytest.mark.parametrize("law", LAWS)
def test_tree_keeps_the_law(law: Law) -> None:
    assert not (faults := law(ROOT)), "\n" + "\n".join(faults)


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "line",
    [
        "import chainrule.nn",
        "import numpy, chainrule.nn.dense",
        "from chainrule.nn import Dense",
        "from chainrule import nn",
        "from ..nn import Dense",
        "from .. import nn",
        "def late():\n    from chainrule.nn import Dense",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import chainrule.nn",
        "import chainrule as cr",
        "from chainrule import Tensor",
        "from chainrule.elsewhere import thing",
    ],
)
def test_import_against_the_order_is_caught(tmp_path: Path, line: str) -> None:
    plant(tmp_path, {"chainrule/ops/planted.py": line})
    (fault,) = import_faults(tmp_path)
    assert "chainrule/ops/planted.py" in fault and "ops must not import chainrule" in fault


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np",
        "import chainrule.core.node",
        "from chainrule.core import node",
        "from chainrule import core",
        "from chainrule.ops.linear import contract",
        "from . import linear",
        "from .linear import contract",
        "from ..core import node",
        "if TYPE_CHECKING:\n    from chainrule.nn import Dense",
        "if typing.TYPE_CHECKING:\n    from chainrule.nn import Dense",
    ],
)
def test_import_along_the_order_is_allowed(tmp_path: Path, line: str) -> None:
    plant(tmp_path, {"chainrule/ops/planted.py": line})
    assert import_faults(tmp_path) == []


def test_front_may_import_every_folder(tmp_path: Path) -> None:
    plant(tmp_path, {"chainrule/__init__.py": "from chainrule.cli import main"})
    assert import_faults(tmp_path) == []


@pytest.mark.parametrize(
    ("law", "name", "text", "expected"),
    [
        (import_faults, "chainrule/extras/a.py", "", "no place in the order"),
        (import_faults, "chainrule/loose.py", "", "no place in the order"),
        (name_faults, "chainrule/core/utils.py", "", "'utils'"),
        (name_faults, "tests/helpers/a.py", "", "'helpers'"),
        (length_faults, "chainrule/core/a.py", "x = 1\n" * 451, "451 lines"),
        (function_faults, "chainrule/core/a.py", "def f():\n" + "    x = 1\n" * 60, "f has 61"),
        (docstring_faults, "chainrule/core/a.py", "x = 1\n", "no module docstring"),
        (docstring_faults, "chainrule/core/__init__.py", "", "no module docstring"),
        (line_faults, "tests/a.py", "#" * 101, "101 columns"),
        (line_faults, "chainrule/core/a.py", "x = 1  # TO" + "DO: two", "finish it"),
        (duplicate_test_faults, "tests/a.py", "def test_a(): ...\n" * 2, "tests/a.py:2"),
    ],
)
def test_planted_fault_is_caught(
    tmp_path: Path, law: Law, name: str, text: str, expected: str
) -> None:
    plant(tmp_path, {name: text})
    (fault,) = law(tmp_path)
    assert expected in fault
