"""The command as a whole: names, version, help, data sets, checks, what it imports."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.cli import checks, terminal
from chainrule.compile import runtime
from chainrule.data.registry import datasets


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_version_is_the_packages(chainrule):
    assert chainrule("--version").out == f"chainrule {cr.__version__}\n"


def test_help_imports_no_compiler_and_no_plotting():
    code = (
        "import sys\nfrom chainrule.cli.main import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "slow = {'llvmlite', 'matplotlib', 'PIL'} & {name.split('.')[0] for name in sys.modules}\n"
        "print('imported:', sorted(slow))"
    )
    done = python(code)
    assert "train" in done.stdout and done.stdout.endswith("imported: []\n"), done


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "train"),
        (["train", "image"], "images"),
        (["data", "lst"], "list"),
        (["evaluate"], "RUN"),
        (["predict", "run"], "INPUT"),
    ],
)
def test_unknown_word_is_usage(chainrule, words, told):
    answer = chainrule(*words)
    assert answer.code == 2 and told in answer.err


def test_data_list_names_every_set(chainrule):
    text, rows = chainrule("data", "list").out, chainrule("data", "list", "--json").json["datasets"]
    assert [row["name"] for row in rows] == [each.name for each in datasets()]
    for row in rows:
        assert row["name"] in text and row["licence"]
    (digits,) = (row for row in rows if row["name"] == "digits")
    assert digits["here"] is True and digits["bytes"] == 45394


def test_data_get_gives_the_folder_and_the_checksum(chainrule):
    answer = chainrule("data", "get", "digits")
    folder = Path(answer.out.strip())
    digest = hashlib.sha256((folder / "digits.npz").read_bytes()).hexdigest()
    assert answer.code == 0 and digest in answer.err
    found = chainrule("data", "get", "digits", "--json").json
    assert found["folder"] == str(folder) and found["files"][0]["sha256"] == digest


def test_data_get_of_an_unknown_set_names_the_nearest(chainrule):
    answer = chainrule("data", "get", "fashion_mnist")
    assert answer.code == 2 and "did you mean 'fashion-mnist'" in answer.err and not answer.out


def test_data_get_that_fails_is_typed_and_leaves_nothing(chainrule, monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    answer = chainrule("data", "get", "fashion-mnist")
    assert answer.code == 1 and "FileError" in answer.err and answer.out == ""
    assert not (tmp_path / "data" / "fashion-mnist").exists()


def test_checks_run_native_code(chainrule):
    answer = chainrule("checks", "--json")
    found = {row["check"]: row for row in answer.json["checks"]}
    assert answer.code == 0 and answer.json["ok"] is True
    assert list(found) == list(checks.CHECKS)
    native = "ok" if runtime.machine() is not None else "lacking"
    assert found["native step"]["status"] == native
    assert "digits" in found["data sets"]["detail"]
    text = chainrule("checks")
    assert text.code == 0 and all(title in text.out for title in found)


def test_native_step_that_computes_wrongly_is_found(chainrule, monkeypatch):
    def wrong(function):
        compiled = real(function)

        def run(*given):
            value, *rest = compiled(*given)
            return value * 1.01, *rest

        return run

    real = checks.jit
    monkeypatch.setattr(checks, "jit", wrong)
    answer = chainrule("checks", "--json")
    assert answer.code == 1 and answer.json["ok"] is False
    assert "native step" in answer.err
    assert "differs from NumPy" in json.dumps(answer.json)


def test_check_that_breaks_is_a_finding_and_the_others_go_on(chainrule, monkeypatch):
    def broken():
        raise ZeroDivisionError("by nought")

    monkeypatch.setitem(checks.CHECKS, "threads", broken)
    answer = chainrule("checks", "--json")
    rows = {row["check"]: row for row in answer.json["checks"]}
    assert answer.code == 1 and rows["threads"]["detail"] == "ZeroDivisionError: by nought"
    assert len(rows) == len(checks.CHECKS)


def test_checks_tell_what_is_lacking_without_failing():
    done = python(
        "import sys; sys.modules['llvmlite'] = None\n"
        "from chainrule.cli.main import app; app(['checks', '--json'])"
    )
    rows = {row["check"]: row["status"] for row in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stderr
    assert rows["LLVM"] == rows["native step"] == rows["CPU"] == "lacking"


def test_checks_see_folders_that_cannot_be_written(chainrule, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "file" / "data"))
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file" / "cache"))
    rows = {row["check"]: row for row in chainrule("checks", "--json").json["checks"]}
    assert rows["data folder"]["status"] == rows["code cache"]["status"] == "lacking"


def test_fault_of_the_program_is_one_line(chainrule, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("inner [fault] of the program")

    monkeypatch.setattr("chainrule.cli.data.get", broken)
    answer = chainrule("data", "get", "digits")
    assert answer.code == 1 and answer.err.count("\n") == 1
    assert "RuntimeError: inner [fault]" in answer.err and "CHAINRULE_DEBUG=1" in answer.err


def test_ctrl_c_in_any_command_is_130(chainrule, monkeypatch):
    def pressed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("chainrule.cli.data.get", pressed)
    answer = chainrule("data", "get", "digits")
    assert answer.code == terminal.INTERRUPTED == 130
    assert answer.err == "stopped\n" and answer.out == ""
