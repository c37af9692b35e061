"""pip, apt-get and dpkg-deb run for real here, on packages made on the spot."""

import gzip
import hashlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import zipfile

import pytest

from chainrule.core.errors import FileError
from chainrule.data.sources import Debian, File, PyPI, Web

DATA = b"the rows of a table\n" * 30
FILE = File("table.txt", len(DATA), hashlib.sha256(DATA).hexdigest())

BACKEND = """
import os, pathlib
def prepare_metadata_for_build_wheel(folder, settings=None):
    pathlib.Path(os.environ["PLANTED_MARK"]).write_text("ran")
    info = pathlib.Path(folder, "planted_rows-1.0.dist-info")
    info.mkdir()
    about = "Metadata-Version: 2.1\\nName: planted-rows\\nVersion: 1.0\\n"
    info.joinpath("METADATA").write_text(about)
    return info.name
def build_wheel(*args): raise SystemExit("no wheel is needed")
"""


def tar_of(content: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes packages from instead of a network."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PLANTED_MARK", str(tmp_path / "mark"))
    (tmp_path / "into").mkdir()
    return folder


def plant_sdist(index) -> str:
    project = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    inner = tar_of({"inner/table.txt": DATA})
    top = "planted_rows-1.0/"
    content = {top + "pyproject.toml": project, top + "backend.py": BACKEND.encode()}
    content[top + "PKG-INFO"] = b"Metadata-Version: 2.1\nName: planted-rows\nVersion: 1.0\n"
    packed = tar_of({**content, top + "more/inner.tar.gz": inner})
    (index / "planted_rows-1.0.tar.gz").write_bytes(packed)
    return hashlib.sha256(packed).hexdigest()


WITHIN = ("planted_rows-1.0/more/inner.tar.gz", "inner/")


def test_file_in_an_archive_in_an_sdist(index, tmp_path):
    source = PyPI("planted-rows", "1.0", "sdist", plant_sdist(index), WITHIN)
    source.fetch([FILE], tmp_path / "into")
    assert (tmp_path / "into" / "table.txt").read_bytes() == DATA
    assert (tmp_path / "mark").exists()  # so the next test's absence means something


def test_sdist_with_another_digest_runs_no_code(index, tmp_path):
    plant_sdist(index)
    with pytest.raises(FileError, match="DO NOT MATCH THE HASHES"):
        PyPI("planted-rows", "1.0", "sdist", "0" * 64, WITHIN).fetch([FILE], tmp_path / "into")
    assert not (tmp_path / "mark").exists()
    assert list((tmp_path / "into").iterdir()) == []


def test_file_in_a_wheel(index, tmp_path):
    wheel = index / "planted_rows-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        info = "planted_rows-1.0.dist-info/"
        packed.writestr("rows/table.txt.gz", gzip.compress(DATA))
        packed.writestr(
            info + "METADATA", "Metadata-Version: 2.1\nName: planted-rows\nVersion: 1.0\n"
        )
        packed.writestr(info + "WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(info + "RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    PyPI("planted-rows", "1.0", "wheel", digest, ("rows/",), ".gz").fetch([FILE], tmp_path / "into")
    assert (tmp_path / "into" / "table.txt").read_bytes() == DATA
    with pytest.raises(FileError, match=r"has no file elsewhere/table\.txt"):
        PyPI("planted-rows", "1.0", "wheel", digest, ("elsewhere/",)).fetch(
            [FILE], tmp_path / "into"
        )


def test_package_that_pip_does_not_find(index, tmp_path):
    source = PyPI("planted-rows", "2.0", "sdist", "0" * 64, WITHIN)
    with pytest.raises(FileError, match=r"planted-rows==2\.0"):
        source.fetch([FILE], tmp_path / "into")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder before all others on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "into").mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def plant_tool(folder, name: str, script: str) -> None:
    (folder / name).write_text("#!/bin/sh\n" + script)
    (folder / name).chmod(0o755)


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb on this machine")
def test_file_in_a_debian_package(tools, tmp_path):
    tree = tmp_path / "tree"
    (tree / "usr/share/rows").mkdir(parents=True)
    (tree / "usr/share/rows/table.txt.gz").write_bytes(gzip.compress(DATA))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: rows\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: rows\n"
    )
    made = ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(tmp_path / "rows.deb")]
    subprocess.run(made, check=True, capture_output=True)
    plant_tool(tools, "apt-get", f'[ "$1 $2" = "download rows" ] && cp {tmp_path}/rows.deb .\n')
    Debian("rows", "usr/share/rows", ".gz").fetch([FILE], tmp_path / "into")
    assert (tmp_path / "into" / "table.txt").read_bytes() == DATA


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script as apt-get")
def test_apt_tells_its_own_reason(tools, tmp_path):
    plant_tool(tools, "apt-get", "echo 'E: Unable to locate package rows' >&2\nexit 100\n")
    with pytest.raises(FileError, match="apt-get failed: E: Unable to locate package rows"):
        Debian("rows", "usr").fetch([FILE], tmp_path / "into")


def test_missing_tool_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileError, match="apt-get is not on this machine"):
        Debian("rows", "usr").fetch([FILE], tmp_path)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"220 mail.example ready\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nthe rows", "IncompleteRead"),
    ],
)
def test_server_that_gives_no_whole_answer(tmp_path, said, reason):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(FileError, match=f"no whole HTTP answer: {reason}"):
            Web(f"http://127.0.0.1:{server.getsockname()[1]}/").fetch([FILE], tmp_path)
        thread.join()


def test_too_long_a_file_is_cut_off_early(tmp_path):
    (tmp_path / "table.txt.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    (tmp_path / "into").mkdir()
    with pytest.raises(FileError, match="longer than the 600 bytes"):
        Web(tmp_path.as_uri() + "/", ".gz").fetch([FILE], tmp_path / "into")
    assert (tmp_path / "into" / "table.txt").stat().st_size == 0
