"""Which data sets there are, and how each gets into the cache folder, checked byte for byte.

A set is one `register(Dataset(...))` block in `images.py`, `texts.py` or `ratings.py`; nothing else
names it. The cache is `$CHAINRULE_DATA`, or `~/.cache/chainrule/data`, with a folder for each set.
Needs `sources.py`. Read next: `images.py`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chainrule.core.errors import FileError, UnknownNameError
from chainrule.data.sources import CHUNK, FAILURES, File, Source

SHIPPED = Path(__file__).parent
MISSING = "missing"


@dataclass(frozen=True)
class Examples:
    """A loaded data set, split into a training part and a held-out test part.

    Images are uint8, (examples, height, width, channels), up to `x_max`; texts are lists of str;
    class labels are int64 with their names in `classes`; other targets are float32.
    """

    x_train: np.ndarray | list[str]
    y_train: np.ndarray
    x_test: np.ndarray | list[str]
    y_test: np.ndarray
    classes: tuple[str, ...] = ()
    x_max: int | None = None
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before it is fetched.

    `files` are its unpacked files with size and SHA-256, `sources` the places to fetch them from,
    in order; a set without sources is shipped with chainrule. `read` makes the examples from the
    folder that holds the files.
    """

    name: str
    about: str
    licence: str
    files: tuple[File, ...]
    read: Callable[[Path], Examples]
    sources: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        lacking = [key for key in ("name", "about", "licence", "files") if not getattr(self, key)]
        bad = [f.name for f in self.files if f.size <= 0 or len(f.sha256) != 64]
        if lacking or bad:
            raise ImportError(
                f"dataset {self.name!r} is not complete: lacks {lacking}, size or sha256 of {bad}"
            )

    @property
    def size(self) -> int:
        """How many bytes its unpacked files take."""
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> Path:
        """Where its files lie, or will lie once fetched."""
        return cache_folder() / self.name if self.sources else SHIPPED


DATASETS: dict[str, Dataset] = {}


def register(dataset: Dataset) -> Dataset:
    """Make a data set known under its name; ImportError when the name is taken."""
    if dataset.name in DATASETS:
        raise ImportError(f"two datasets are named {dataset.name!r}")
    DATASETS[dataset.name] = dataset
    return dataset


def datasets() -> tuple[Dataset, ...]:
    """Every registered data set, in the order of registration."""
    return tuple(DATASETS.values())


def find(name: str) -> Dataset:
    """The registered data set of that name; UnknownNameError offers the nearest."""
    if name not in DATASETS:
        raise UnknownNameError("dataset", name, DATASETS)
    return DATASETS[name]


def cache_folder() -> Path:
    """The folder that fetched sets are kept in."""
    chosen = os.environ.get("CHAINRULE_DATA")
    return Path(chosen or "~/.cache/chainrule/data").expanduser().absolute()


def is_cached(name: str) -> bool:
    """Whether the files are there with the right sizes, so that `load` would fetch nothing."""
    dataset = find(name)
    paths = [(dataset.folder / file.name, file.size) for file in dataset.files]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def notify(text: str) -> None:
    """One line about a fetch, on standard error."""
    print(text, file=sys.stderr, flush=True)


def get(name: str, *, report: Callable[[str], None] = notify) -> Path:
    """The folder with the set's files, fetched first where they are missing or damaged.

    `report` takes a line for each source tried and each damaged file. Raises UnknownNameError, and
    FileError when no source serves the right bytes; then nothing is left behind.
    """
    dataset = find(name)
    faults = {file: fault(dataset.folder / file.name, file) for file in dataset.files}
    wanted = [file for file in dataset.files if faults[file]]
    damaged = [f"{file.name}: {faults[file]}" for file in wanted if faults[file] != MISSING]
    if wanted and not dataset.sources:
        raise FileError(
            f"the shipped dataset {name} is not as it left us in {dataset.folder}: "
            + "; ".join(f"{file.name}: {faults[file]}" for file in wanted),
            mend="pip install --force-reinstall --no-deps chainrule",
        )
    for text in damaged:
        report(f"{name} in the cache is damaged, fetching it again: {text}")
    if wanted:
        fetch(dataset, wanted, report, damaged)
    return dataset.folder


def load(name: str, *, report: Callable[[str], None] = notify) -> Examples:
    """The set as NumPy arrays, fetched first where needed; raises what `get` raises.

    >>> digits = load("digits")
    >>> digits.x_train.shape, digits.x_train.dtype, digits.x_test.shape
    ((1437, 8, 8, 1), dtype('uint8'), (360, 8, 8, 1))
    >>> digits.classes[digits.y_train[0]], digits.x_max
    ('1', 16)
    """
    return find(name).read(get(name, report=report))


def fault(path: Path, file: File) -> str:
    """What is wrong with the file at `path`, '' when its size and SHA-256 are right."""
    if not path.exists():
        return MISSING
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"{file.size:,} bytes needed, got {size:,}"
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        return f"not readable ({error.strerror})"
    if digest.hexdigest() != file.sha256:
        return f"sha256 {file.sha256} needed, got {digest.hexdigest()}"
    return ""


def fetch(
    dataset: Dataset, wanted: list[File], report: Callable[[str], None], damaged: list[str]
) -> None:
    """Put the wanted files into the set's folder from the first source that has them right.

    Files are staged and checked in a scratch folder beside their place and moved there whole, so
    an interruption leaves either the old file or the new one.
    """
    folder = dataset.folder
    failures: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
            for source in dataset.sources:
                report(f"fetching {dataset.name} from {source}")
                try:
                    fetch_checked(source, wanted, Path(scratch))
                except FAILURES as error:
                    failures.append(f"{source}: {reason(error)}")
                    continue
                for file in wanted:
                    os.replace(Path(scratch) / file.name, folder / file.name)
                return
    except OSError as error:
        raise FileError(
            f"the data folder {folder} cannot be written: {reason(error)}",
            mend="make it writable, or name another folder in CHAINRULE_DATA",
        ) from error
    finally:
        with suppress(OSError):  # only an empty folder goes
            folder.rmdir()
    raise unfetched(dataset, wanted, failures, damaged)


def fetch_checked(source: Source, wanted: list[File], stage: Path) -> None:
    """Fetch into `stage`; FileError that names every file with the wrong contents."""
    source.fetch(wanted, stage)
    found = {file.name: fault(stage / file.name, file) for file in wanted}
    wrong = [f"{name}: {text}" for name, text in found.items() if text]
    if wrong:
        raise FileError("; ".join(wrong))


def reason(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, FileError):
        return error.message
    return f"{type(error).__name__}: {error}".splitlines()[0]


def unfetched(
    dataset: Dataset, wanted: list[File], failures: list[str], damaged: list[str]
) -> FileError:
    """The one error that tells all sources' failures and the way out."""
    tried = "".join(f"\n    {failure}" for failure in failures)
    broken = "".join(f"\n    damaged in the cache: {text}" for text in damaged)
    names = ", ".join(file.name for file in wanted)
    update = "run `apt-get update`, " if "Unable to locate package" in tried else ""
    return FileError(
        f"dataset {dataset.name} could not be fetched; tried:{tried}{broken}",
        mend=f"{update}give this machine the network or a package mirror, or put {names} "
        f"(unpacked) into {dataset.folder} by hand",
    )
