"""What the documentation shows is run: the Python blocks of its pages and all doctests.

The blocks of a page run in order in one module, in a temporary folder. A block that cannot run
here is preceded by `<!-- not run: the reason -->`. Doctests find `cr` and `np` imported. Where an
optional dependency is missing, the test is skipped and says which.
"""

from __future__ import annotations

import doctest
import importlib
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

import chainrule

ROOT = Path(__file__).resolve().parent.parent
# Import names, since a distribution may be called otherwise (scikit-learn is sklearn).
OPTIONAL = (
    "matplotlib sklearn jax onnx onnxruntime mpi4py anywidget starlette uvicorn websockets"
    " tensorboard"
).split()
BLOCK = re.compile(
    r"(?P<skip><!--\s*not run:\s*\S[^>]*-->\s*\n)?"
    r"(?P<opening>^[ \t]*)```python\b[^\n]*\n(?P<code>.*?)^[ \t]*```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One Python block of a page, and the page's line that its code begins on."""

    line: int
    code: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page that are to be run."""
    return [
        Block(page.count("\n", 0, found.start("code")) + 1, textwrap.dedent(found["code"]))
        for found in BLOCK.finditer(page)
        if not found["skip"]
    ]


def run_page(page: Path, module: ModuleType) -> None:
    """Runs a page's blocks; tracebacks and chainrule's errors show the page's own lines."""
    for block in blocks(page.read_text(encoding="utf-8")):
        code = "\n" * (block.line - 1) + block.code
        exec(compile(code, str(page), "exec", dont_inherit=True), module.__dict__)


def missing_optional(error: BaseException | None) -> str | None:
    """The optional dependency whose absence led to `error`, if that is what happened."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            top = error.name.split(".")[0]
            if top in OPTIONAL:
                return top
        error = error.__cause__ or error.__context__
    return None


def skip_if_optional(error: Exception) -> None:
    if name := missing_optional(error):
        pytest.skip(f"{name} is not installed")


def pages() -> list[Path]:
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.exists() and blocks(page.read_text(encoding="utf-8"))]


def module_names() -> list[str]:
    """Every module of the package; `__main__` would run the command on import."""
    paths = sorted((ROOT / "chainrule").rglob("*.py"))
    dotted = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return [name.removesuffix(".__init__") for name in dotted if not name.endswith("__main__")]


def check_doctests(module: ModuleType) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for example in doctest.DocTestFinder().find(module, extraglobs={"cr": chainrule, "np": np}):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder to run in, with plots drawn to nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


@pytest.fixture
def page_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The namespace of a page, importable because classes look their module up by name."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    return module


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page: Path, elsewhere: Path, page_module: ModuleType) -> None:
    try:
        run_page(page, page_module)
    except Exception as error:
        skip_if_optional(error)
        raise


@pytest.mark.parametrize("name", module_names())
def test_doctests_hold(name: str, elsewhere: Path) -> None:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        skip_if_optional(error)
        raise
    check_doctests(module)


PAGE = """
# A page

```python
x = 2
```

1. In a list, with an option:

   ```python title="double"
   def double(z):
       return 2 * z
   ```

<!-- not run: needs a second machine -->
```python
x = 0
```

```bash
python -c 'x = 1'
```

```python
assert double(x) == 4
y = double(x)
```
"""


def test_blocks_of_a_page_run_in_order_but_those_marked(
    tmp_path: Path, page_module: ModuleType
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    run_page(page, page_module)
    assert page_module.__dict__["y"] == 4
    assert len(blocks(PAGE)) == 3


def test_block_marked_without_a_reason_is_run() -> None:
    assert len(blocks("<!-- not run: -->\n```python\nx = 1\n```\n")) == 1


def test_failing_block_names_the_line_of_the_page(tmp_path: Path, page_module: ModuleType) -> None:
    page = tmp_path / "page.md"
    page.write_text("words\n\n```python\nx = 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_page(page, page_module)
    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 5)


def test_wrong_doctest_fails() -> None:
    module = ModuleType("planted", ">>> int(np.add(1, 1))\n3\n")
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        check_doctests(module)


def test_only_optional_modules_may_be_missing() -> None:
    wrapped = ImportError("pip install chainrule[sklearn]")
    wrapped.__cause__ = ModuleNotFoundError("no", name="sklearn.base")
    assert missing_optional(wrapped) == "sklearn"
    assert missing_optional(ModuleNotFoundError("no", name="chainrule.nm")) is None
    assert missing_optional(ValueError("other")) is None
