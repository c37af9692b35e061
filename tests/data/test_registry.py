"""Fetching, checking and caching, with local sources only."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from chainrule.core.errors import FileError, UnknownNameError
from chainrule.data import registry
from chainrule.data.registry import Dataset, Examples, datasets, get, is_cached, load
from chainrule.data.sources import File, Web

CONTENT = {"one.bin": bytes(range(200)) * 40, "two.bin": b"second file " * 9}


def describe(name: str) -> File:
    content = CONTENT[name]
    return File(name, len(content), hashlib.sha256(content).hexdigest())


def publish(folder: Path, content: dict[str, bytes] = CONTENT) -> Web:
    folder.mkdir()
    for name, data in content.items():
        (folder / (name + ".gz")).write_bytes(gzip.compress(data))
    return Web(folder.as_uri() + "/", suffix=".gz")


def read(folder: Path) -> Examples:
    x = np.frombuffer((folder / "one.bin").read_bytes(), dtype=np.uint8)
    return Examples(x, x, x[:0], x[:0])


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Register a set named `planted` with the given sources; the cache is an empty folder."""
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "cache"))

    def planted(*sources) -> Path:
        files = tuple(map(describe, CONTENT))
        dataset = Dataset("planted", "two files", "none", files, read, sources)
        monkeypatch.setitem(registry.DATASETS, "planted", dataset)
        return tmp_path / "cache" / "planted"

    return planted


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_get_unpacks_into_the_cache_and_load_reads_it(plant, tmp_path):
    folder = plant(publish(tmp_path / "web"))
    assert not is_cached("planted")
    assert get("planted") == folder
    assert everything_in(folder) == ["one.bin", "two.bin"]
    assert is_cached("planted")
    assert load("planted").x_train.tobytes() == CONTENT["one.bin"]


def test_second_get_needs_no_source(plant, tmp_path):
    plant(publish(tmp_path / "web"))
    get("planted")
    plant(Web((tmp_path / "gone").as_uri() + "/"))
    said = []
    get("planted", report=said.append)
    assert said == []


def test_notices_go_to_standard_error(plant, tmp_path, capsys):
    plant(publish(tmp_path / "web"))
    get("planted")
    told = capsys.readouterr()
    assert told.out == "" and "fetching planted from file://" in told.err


def test_next_source_serves_when_the_first_is_missing(plant, tmp_path):
    missing = Web((tmp_path / "nowhere").as_uri() + "/", suffix=".gz")
    plant(missing, publish(tmp_path / "web"))
    said = []
    get("planted", report=said.append)
    assert [line.split("/")[-2] for line in said] == ["nowhere", "web"]
    assert is_cached("planted")


def test_next_source_serves_when_the_first_has_other_bytes(plant, tmp_path):
    forged = {name: data[::-1] for name, data in CONTENT.items()}
    plant(publish(tmp_path / "forged", forged), publish(tmp_path / "web"))
    assert (get("planted") / "one.bin").read_bytes() == CONTENT["one.bin"]


def test_wrong_checksum_raises_and_leaves_nothing(plant, tmp_path):
    forged = {**CONTENT, "two.bin": CONTENT["two.bin"][::-1]}
    plant(publish(tmp_path / "forged", forged))
    with pytest.raises(FileError, match=r"two\.bin: sha256 [0-9a-f]{64} needed, got"):
        get("planted")
    assert everything_in(tmp_path / "cache") == []


def test_all_failures_are_told_together(plant, tmp_path):
    short = {**CONTENT, "one.bin": CONTENT["one.bin"][:-1]}
    long = {**CONTENT, "one.bin": CONTENT["one.bin"] + b"!"}
    missing = Web((tmp_path / "nowhere").as_uri() + "/", suffix=".gz")
    folder = plant(publish(tmp_path / "short", short), missing, publish(tmp_path / "long", long))
    with pytest.raises(FileError) as caught:
        get("planted")
    text = str(caught.value)
    assert "one.bin: 8,000 bytes needed, got 7,999" in text
    assert "nowhere" in text and "No such file" in text
    assert "one.bin is longer than the 8,000 bytes it should be" in text
    assert f"put one.bin, two.bin (unpacked) into {folder} by hand" in text
    assert Path(__file__).name in text  # the user's line
    assert everything_in(tmp_path / "cache") == []


def test_broken_archive_is_a_told_failure(plant, tmp_path):
    source = publish(tmp_path / "web")
    packed = tmp_path / "web" / "one.bin.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    plant(source)
    with pytest.raises(FileError, match="EOFError"):
        get("planted")
    packed.write_bytes(b"<html>please log in</html>")
    with pytest.raises(FileError, match="BadGzipFile"):
        get("planted")


@pytest.mark.parametrize("damage", [lambda d: d[:-7], lambda d: b"\xff" + d[1:], lambda d: b""])
def test_damaged_file_is_fetched_again_with_a_notice(plant, tmp_path, damage):
    folder = plant(publish(tmp_path / "web"))
    get("planted")
    untouched = (folder / "two.bin").stat().st_mtime_ns
    (folder / "one.bin").write_bytes(damage(CONTENT["one.bin"]))
    said = []
    assert load("planted", report=said.append).x_train.tobytes() == CONTENT["one.bin"]
    assert "damaged" in said[0] and "one.bin" in said[0]
    assert (folder / "two.bin").stat().st_mtime_ns == untouched


def test_damaged_file_without_a_source_is_a_clear_error(plant, tmp_path):
    folder = plant(publish(tmp_path / "web"))
    get("planted")
    (folder / "one.bin").write_bytes(CONTENT["one.bin"][:100])
    plant(Web((tmp_path / "gone").as_uri() + "/"))
    assert not is_cached("planted")
    with pytest.raises(FileError, match=r"damaged in the cache: one\.bin: 8,000 bytes .* got 100"):
        load("planted", report=lambda line: None)
    assert everything_in(folder) == ["one.bin", "two.bin"]


def test_reader_of_the_old_file_is_not_disturbed(plant, tmp_path):
    folder = plant(publish(tmp_path / "web"))
    get("planted")
    old = CONTENT["one.bin"][:-7]
    (folder / "one.bin").write_bytes(old)
    with (folder / "one.bin").open("rb") as reader:
        get("planted")
        assert reader.read() == old
    assert (folder / "one.bin").read_bytes() == CONTENT["one.bin"]


class Noting:
    """Serves the files and notes which folder it was asked to write to."""

    def fetch(self, files, into):
        self.into = into
        for file in files:
            (into / file.name).write_bytes(CONTENT[file.name])


def test_files_are_staged_on_the_disk_they_go_to(plant):
    source = Noting()
    folder = plant(source)
    get("planted")
    assert source.into.parent == folder and not source.into.exists()


def test_unknown_package_says_to_update_the_lists(plant):
    class Unlisted:
        def fetch(self, files, into):
            raise FileError("apt-get failed: E: Unable to locate package planted")

    plant(Unlisted())
    with pytest.raises(FileError, match="mend: run `apt-get update`"):
        get("planted")


class Interrupted:
    """Writes half a file; then the user presses Ctrl-C."""

    def fetch(self, files, into):
        (into / files[0].name).write_bytes(CONTENT[files[0].name][:50])
        raise KeyboardInterrupt


def test_interruption_leaves_nothing_half_written(plant, tmp_path):
    plant(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        get("planted")
    assert everything_in(tmp_path / "cache") == []


def test_interruption_leaves_the_old_files(plant, tmp_path):
    folder = plant(publish(tmp_path / "web"))
    get("planted")
    (folder / "one.bin").unlink()
    plant(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        get("planted")
    assert everything_in(folder) == ["two.bin"]


def test_unwritable_cache_says_how_to_choose_another(plant, tmp_path, monkeypatch):
    plant(publish(tmp_path / "web"))
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "file"))
    with pytest.raises(FileError, match=r"cannot be written.*\n.*CHAINRULE_DATA"):
        get("planted")


def test_cache_folder_defaults_to_the_home_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.cache_folder() == tmp_path / ".cache" / "chainrule" / "data"


@pytest.mark.parametrize("call", [get, load, is_cached])
def test_unknown_dataset_offers_the_nearest(call):
    with pytest.raises(UnknownNameError, match="did you mean 'fashion-mnist'"):
        call("fashion_mnist")


def test_every_dataset_is_described():
    found = {dataset.name: dataset for dataset in datasets()}
    assert {"digits", "fashion-mnist"} <= set(found)
    licences = (registry.SHIPPED / "LICENSES.md").read_text()
    for name, dataset in found.items():
        assert f"\n## {name}\n" in licences
        assert dataset.size == sum(file.size for file in dataset.files)


def test_incomplete_or_second_dataset_fails_at_import(plant):
    with pytest.raises(ImportError, match="licence"):
        Dataset("x", "about", "", (describe("one.bin"),), read)
    with pytest.raises(ImportError, match=r"one\.bin"):
        Dataset("x", "about", "MIT", (File("one.bin", 10, "abc"),), read)
    with pytest.raises(ImportError, match="two datasets are named 'digits'"):
        registry.register(registry.find("digits"))


def test_damaged_shipped_set_says_reinstall(monkeypatch, tmp_path):
    shipped = (registry.SHIPPED / "digits.npz").read_bytes()
    (tmp_path / "digits.npz").write_bytes(shipped[:-1])
    monkeypatch.setattr(registry, "SHIPPED", tmp_path)
    with pytest.raises(FileError, match=r"45,394 bytes needed, got 45,393(.|\n)*reinstall"):
        load("digits")
