"""`chainrule cache` and `chainrule cache clear`."""

from __future__ import annotations

import pytest

from chainrule.compile import cache


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """A cache with two files in it."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    for name in ("a" * 40 + ".o", "b" * 40 + ".plan"):
        cache.keep(name, bytes(1000))
    return tmp_path


def test_cache_says_what_it_holds_and_where(chainrule, folder):
    told = chainrule("cache", "--json").json
    assert told == {"folder": str(folder), "limit": 512_000_000, "files": 2, "bytes": 2064}
    assert "2 files, 2 kB of 512 MB" in chainrule("cache").out


def test_clearing_the_cache_says_what_went(chainrule, folder):
    answer = chainrule("cache", "clear", "--json")
    assert (answer.code, answer.json["files"]) == (0, 2)
    assert list(folder.iterdir()) == []
    assert "0 files" in chainrule("cache").out


def test_a_bad_cache_size_is_one_line(chainrule, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "-3")
    answer = chainrule("cache")
    assert answer.code == 2
    assert "CHAINRULE_CACHE_SIZE is a whole number of MB, got '-3'" in answer.err
