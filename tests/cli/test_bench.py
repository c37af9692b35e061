"""`chainrule bench`: what it refuses, which rounds and rows count, and a run against NumPy."""

import doctest
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from chainrule.core.errors import UnknownNameError
from chainrule_bench import quiet, report, rounds, shapes
from chainrule_bench.compare import summary
from chainrule_bench.framework import Framework
from chainrule_bench.frameworks import FRAMEWORKS
from chainrule_bench.machine import SIZES, Peaks
from chainrule_bench.peers import Peer, PeerError, available, lacking
from chainrule_bench.rounds import Lane, Plan, Row, disturbance, take_rounds
from chainrule_bench.workload import Phase, workload
from chainrule_bench.workloads import WORKLOADS

PEAKS = Peaks(flops=1e9, roots=1e8, bandwidth=dict.fromkeys(SIZES, 1e9))


@pytest.fixture
def numpy_peer(tmp_path):
    with Peer("numpy/step", sys.executable, tmp_path, 1) as peer:
        yield peer


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mlp128"], "mlp-128"),
        (["--peers", "torsh"], "torch"),
        (["--peers", "torch/compiled"], "torch/compile"),
        (["--python", "torch"], "NAME=PATH"),
        (["--python", "torsh=/bin/python"], "torch"),
    ],
)
def test_bench_refuses_what_it_does_not_know(chainrule, words, told):
    answer = chainrule("bench", *words)
    assert answer.code == 2 and told in answer.err and not answer.out


def test_bench_help_names_every_workload_and_framework(chainrule):
    words = " ".join(chainrule("bench", "--help").out.replace("│", " ").split())
    assert f"{', '.join(WORKLOADS)}; or shapes" in words
    assert f"{', '.join(name for name in FRAMEWORKS if name != 'chainrule')}, or one form" in words


def test_framework_that_is_not_installed_is_named_with_its_mend():
    made = Framework(name="none", packages=("numpy", "no_such"), imports="", forms={})
    reason = lacking(made, sys.executable)
    assert "has no no_such" in reason and "pip install no_such" in reason


def test_interpreter_that_is_not_there_is_named(tmp_path):
    told: list[str] = []
    path = str(tmp_path / "python")
    assert available(["numpy"], {"numpy": path}, told.append) == {}
    assert told[0].startswith(f"numpy is left out: {path} does not run")


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_frameworks_forms_train_a_model_that_some_workload_has(name):
    for form in FRAMEWORKS[name].forms.values():
        assert any(form.model in work.models for work in WORKLOADS.values())
        assert form.calls in ("one", "many")


def test_workload_without_models_is_refused():
    with pytest.raises(ImportError, match=r"lacks.*models"):
        workload(name="empty", about="x", batch=1, weights=dict, data=tuple, models={}, phases=list)


def test_worker_says_what_failed_and_goes_on(numpy_peer):
    with pytest.raises(PeerError, match="numpy/step: KeyError"):
        numpy_peer.build("no such workload")
    assert numpy_peer.ask("about", packages=["numpy"])["versions"] == {"numpy": np.__version__}


def test_worker_that_ends_is_told_with_its_code(tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    script.chmod(0o755)
    failing = pytest.raises(PeerError, match="ended with 3: broken")
    with Peer("numpy/step", str(script), tmp_path, 1) as peer, failing:
        peer.ask("about")


def test_limit_of_a_phase_is_what_takes_longest():
    phases = [
        Phase("multiply", flops=2e9, moved=1e6, held=1e6),
        Phase("move", flops=1e6, moved=3e9, held=1e12),
        Phase("divide", flops=1e6, moved=1e6, held=1e6, roots=5e8),
    ]
    assert [PEAKS.of(phase) for phase in phases] == [2, 3, 5]
    assert PEAKS.seconds(phases) == 10


def test_mlp_phases_count_all_products_but_the_first_input_gradient():
    pairs = (784 * 256, 256 * 128, 128 * 10)
    products = 2 * 128 * (3 * sum(pairs) - pairs[0])
    found = sum(p.flops for p in WORKLOADS["mlp-128"].phases() if p.name.startswith("dense"))
    assert found == products


class Turns:
    """A peer whose answers are given: (seconds, CPU seconds) of each round."""

    def __init__(self, *answers: tuple[float, float]):
        self.answers = list(answers)

    def ask(self, do: str, **request: int) -> dict:
        return dict(zip(("seconds", "cpu"), self.answers.pop(0)))


SETTLED = (0.5, 0.5)  # the answer from which it is found how many steps fill a round


def test_disturbed_rounds_are_thrown_away_and_redone(monkeypatch):
    # Of the machine's CPU seconds a round counts as another's what its process did not use.
    watch = SimpleNamespace(others=lambda own: 1.0 - own)
    monkeypatch.setattr(rounds, "Watch", lambda: watch)
    plan = Plan(rounds=2, again=2, seconds=0.5)
    row = Row("numpy/step")
    turns = Turns(SETTLED, (9, 0.2), (3, 1.0), (9, 0.5), (2, 1.0))
    lane = Lane(row, turns, 8, plan)  # type: ignore[arg-type]
    take_rounds([lane], print)
    assert row.times == [3, 2] and row.disturbed == 0
    assert disturbance([lane]) == "2 rounds were disturbed by other work and taken again"


def test_least_disturbed_rounds_are_kept_and_marked_where_none_was_quiet(monkeypatch):
    watch = SimpleNamespace(others=lambda own: 1.0 - own)
    monkeypatch.setattr(rounds, "Watch", lambda: watch)
    plan = Plan(rounds=2, again=1, seconds=0.5)
    row = Row("numpy/step")
    turns = Turns(SETTLED, (9, 0.2), (2, 0.8), (3, 0.5))
    lane = Lane(row, turns, 8, plan)  # type: ignore[arg-type]
    take_rounds([lane], print)
    assert row.times == [2, 3] and row.disturbed == 2
    assert "2 disturbed rounds are kept" in disturbance([lane])


def test_row_whose_loss_differs_gives_no_ratio():
    ours = Row("chainrule/step", loss=1.0, gap=0.0, times=[2.0])
    close = Row("torch/fused", loss=1.0, gap=1e-4, times=[6.0])
    far = Row("jax/jit", loss=1.1, gap=0.1, times=[1.0])
    found = summary(WORKLOADS["mlp-128"], [ours, close, far], PEAKS)
    assert found["best peer"] == "torch/fused" and found["best peer / ours"] == 3
    assert summary(WORKLOADS["mlp-128"], [ours, far], None)["best peer / ours"] is None


def test_shapes_cover_what_they_must():
    convs = [case for case in shapes.CASES.values() if isinstance(case, shapes.Conv)]
    gemms = [case for case in shapes.CASES.values() if isinstance(case, shapes.Gemm)]
    assert len(convs) == len(gemms) == 50
    assert any(case.n == 1000 for case in gemms) and any(case.m == 1 for case in gemms)
    assert any(case.batch == 1 for case in convs) and any(case.reach == 5 for case in convs)
    assert any(case.stride == 2 for case in convs) and any(case.groups > 1 for case in convs)
    for cases in (convs, gemms):
        assert {case.way for case in cases} == set(shapes.WAYS)


@pytest.mark.parametrize("name", ["gemm-00", "gemm-01", "gemm-02", "conv-10", "conv-11", "conv-12"])
def test_shapes_case_gives_an_array_of_the_way_it_names(name):
    case = shapes.CASES[name]
    wanted = dict(zip(shapes.WAYS, (2, 1, 0)))[case.way]
    (out,) = shapes.Case(name, "chainrule/jit", 1).steps(0, 1)
    assert out.shape == case.shapes()[wanted]


def test_peer_may_be_asked_for_by_framework_or_by_form():
    plan = Plan(peers=["torch/fused", "jax"])
    assert plan.takes("torch/fused") and plan.takes("jax/scan") and plan.takes("chainrule/fit")
    assert not plan.takes("torch/eager")
    with pytest.raises(UnknownNameError, match="numpy"):
        Plan(peers=["nunpy"])


@pytest.mark.parametrize("module", [quiet, report], ids=lambda module: module.__name__)
def test_examples_in_the_benchmarks_docstrings_hold(module):
    failed, tried = doctest.testmod(module)
    assert tried and not failed


def test_tables_show_what_counts_first_and_why_the_rest_does_not():
    ours = Row("chainrule/step", cold=0.2, loss=1.0, gap=0.0, times=[2e-3, 4e-3], disturbed=1)
    far = Row("jax/jit", loss=1.1, gap=0.1, times=[1e-3])
    lost = Row("torch/fused", error="torch/fused ended with 1: no memory")
    found = {"mlp-128": summary(WORKLOADS["mlp-128"], [lost, far, ours], PEAKS)}
    result = dict(machine=PEAKS._asdict(), threads=2, frameworks={}, workloads=found)
    _, (title, headings, rows), _ = report.tables(result)
    assert "limit" in title and headings[1] == "ms a step"
    assert [row[0] for row in rows] == ["chainrule/step", "torch/fused", "jax/jit"]
    assert rows[0][1:3] == ("3.00", "2.00 to 4.00") and "1 of 2 rounds disturbed" in rows[0][-1]
    assert rows[1][-1] == lost.error and rows[2][-1] == "does not count"


@pytest.mark.heavy
def test_bench_agrees_with_numpy_and_gives_the_ratio(chainrule):
    quick = ["--rounds", 1, "--seconds", 0.05, "--again", 0, "--json"]
    answer = chainrule("bench", "tiny", "mlp-32", "--peers", "numpy", *quick)
    assert answer.code == 0, answer.err
    for found in answer.json["workloads"].values():
        assert found["best peer"] == "numpy/step" and found["best peer / ours"] > 0
        for row in found["rows"]:
            assert row["counts"] and row["gap"] < 1e-5 and row["cold"] > 0 and row["warm"] > 0
            assert row["memory"] > 1e7 and len(row["rounds"]) == 1
    assert answer.json["frameworks"]["numpy"]["versions"] == {"numpy": np.__version__}
