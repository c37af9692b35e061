"""Run folders: what a training leaves behind, made before it starts and read without running code.

| file | holds |
|---|---|
| `config.json` | what builds the model again: names from closed registries, and numbers |
| `model.safetensors` | its weights |
| `vocabulary.txt` | of a text model: its n-grams, each on the line of its number |
| `history.json` | the numbers of each epoch, why training ended, the test result |
| `curve.png` (or `curve.txt`) | loss and accuracy (or error) over the epochs |

Read next: `learner.py`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chainrule.core.errors import ArgumentError, FileError, UnknownNameError

PARENT = Path("runs")
CONFIG, WEIGHTS, HISTORY = "config.json", "model.safetensors", "history.json"
VOCABULARY = "vocabulary.txt"
RESERVE = 8 * 2**20  # bytes that must fit before training starts: twice what the apps write
MOST_BYTES = 2**20  # a config.json is about 1 KB


class Run:
    """A run folder by its path."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def weights(self) -> Path:
        """Where the weights are kept."""
        return self.path / WEIGHTS

    def write(self, name: str, content: dict[str, Any]) -> None:
        """One JSON file, whole or not at all; FileError where it cannot be written."""
        write_text(self.path / name, json.dumps(jsonable(content), indent=2) + "\n")

    def read(self, name: str) -> dict[str, Any]:
        """One JSON file; FileError when it is missing, too large or no JSON object."""
        path = self.path / name
        mend = "train again, or name another run"
        try:
            size = path.stat().st_size
            if size > MOST_BYTES:
                raise FileError(f"{path} has {size:,} bytes, at most {MOST_BYTES:,}", mend=mend)
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileError(f"{self} is no run folder: it has no {name}", mend=mend) from None
        except (OSError, ValueError, RecursionError) as error:
            raise FileError(f"{path} cannot be read: {error}", mend=mend) from None
        if not isinstance(content, dict):
            raise FileError(f"{path} must hold a JSON object", mend=mend)
        return content


@contextmanager
def new_run(name: str, out: str | os.PathLike | None = None) -> Iterator[Run]:
    """A new folder, `out` or `runs/NAME-NNN`, that can be written to and has room.

    Nothing is ever overwritten: ArgumentError when `out` holds files already. FileError when the
    folder cannot be made, written to, or filled with `RESERVE` bytes. If the block raises before
    weights are written, the folder goes away again.
    """
    made = missing_folders(PARENT if out is None else Path(out))
    if out is None:
        path = numbered(name)
        made = [path, *made]
    else:
        path = claimed(Path(out))
    run = Run(path)
    try:
        check_room(path)
        yield run
    except BaseException:
        if not run.weights.exists():
            discard(path, made)
        raise


def numbered(name: str) -> Path:
    """`runs/NAME-NNN` with the next free number, made."""
    number = 1
    while True:
        taken = [path.name.removeprefix(f"{name}-") for path in PARENT.glob(f"{name}-*")]
        number = max([number, *(int(text) + 1 for text in taken if text.isdecimal())])
        path = PARENT / f"{name}-{number:03d}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if PARENT.is_dir() and path.exists():  # made at this moment by another training
                number += 1
                continue
            raise unwritable(path, "a file is in the way") from None
        except OSError as error:
            raise unwritable(path, error.strerror or str(error)) from None
        return path


def claimed(path: Path) -> Path:
    """`path` as an empty folder, made where it is missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        full = any(path.iterdir())
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from None
    if full:
        raise ArgumentError(
            f"the run folder {path} holds files already, and nothing is overwritten",
            mend="another --out, or none for a new folder in runs/",
        )
    return path


def missing_folders(path: Path) -> list[Path]:
    """Those of `path` and the folders above it that are not there yet; the innermost first."""
    return [each for each in (path, *path.parents) if not each.exists()]


def check_room(path: Path) -> None:
    """FileError unless `RESERVE` bytes can be written into the folder."""
    probe = path / f".room-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(RESERVE))
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from None
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def discard(path: Path, made: list[Path]) -> None:
    """Remove the files we wrote into the folder, and the folders we made that are empty then."""
    with suppress(OSError):
        for name in (CONFIG, VOCABULARY, HISTORY):
            (path / name).unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


def unwritable(path: Path, why: str) -> FileError:
    """The error of a run folder that cannot be used."""
    return FileError(
        f"the run folder {path} cannot be written: {why}",
        mend=f"--out with a folder that may be written to and has {RESERVE // 2**20} MB free",
    )


def find_run(given: str | os.PathLike) -> Run:
    """The run folder of a path, or of a name in `runs/`; UnknownNameError offers the nearest."""
    path = Path(given)
    for candidate in (path, PARENT / path):
        if candidate.is_dir():
            return Run(candidate)
    if path.exists():
        raise FileError(
            f"a run is a folder, and {path} is a file", mend=f"its folder {path.parent}"
        )
    parent = path.parent if path.parent != Path() else PARENT
    known = [str(found.parent) for found in sorted(parent.glob(f"*/{CONFIG}"))]
    if not known:
        raise ArgumentError(f"there is no run {path}", mend="make one: chainrule train images")
    raise UnknownNameError("run", str(given), known)


def write_text(path: Path, text: str) -> None:
    """Write `path` in one piece: a reader sees the old file or the whole new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise FileError(
            f"{path} cannot be written: {error.strerror or error}",
            mend="make room, or choose a folder that may be written to",
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def jsonable(value: Any) -> Any:
    """`value` in JSON's terms; NaN and infinity, which JSON lacks, become None."""
    if isinstance(value, dict):
        return {str(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "item"):  # a NumPy scalar
        return jsonable(value.item())
    return value
