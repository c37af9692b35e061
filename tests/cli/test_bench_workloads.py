"""The benchmark's workloads: what is counted, what is drawn, and that every form starts alike."""

import numpy as np
import pytest

from chainrule_bench.framework import Job
from chainrule_bench.frameworks import FRAMEWORKS
from chainrule_bench.frameworks.torch import in_torch_layout
from chainrule_bench.rounds import Lane, Plan, Row
from chainrule_bench.workloads import WORKLOADS, gpt, recsys_large, recurrent


def job_of(name, weights):
    return Job(WORKLOADS[name], weights, {}, np.zeros(0), np.zeros(0), 1)


def test_variable_of_a_framework_finds_its_weight_by_layer_and_end():
    names = ("lstm/kernel", "lstm/recurrent_kernel", "attention0/query_kernel", "dense/kernel")
    job = job_of("tiny", {name: name for name in names})
    assert job.value_of("sequential/lstm/lstm_cell/kernel") == "lstm/kernel"
    assert job.value_of("lstm/cell/recurrent_kernel") == "lstm/recurrent_kernel"
    assert job.value_of("functional/attention0/query/kernel") == "attention0/query_kernel"
    assert job.value_of("seed_generator/state") is None


def test_torch_gets_kernels_turned_and_gates_in_its_order():
    weights = recurrent.weights("gru", np.random.default_rng(0))
    found = in_torch_layout(job_of("gru-32", weights))
    update, reset, new = np.split(weights["gru/kernel"], 3, axis=1)
    np.testing.assert_array_equal(found["gru/kernel"], np.concatenate([reset, update, new], 1).T)
    np.testing.assert_array_equal(found["gru/bias"][:, :128], weights["gru/bias"][:, 128:256])
    table = "embedding/embeddings"
    np.testing.assert_array_equal(found[table], weights[table])


def test_commonest_zipf_id_comes_as_often_as_its_law_says():
    rng = np.random.default_rng(0)
    ids = recsys_large.zipf(rng, 1000, 100_000)
    counts = np.sort(np.bincount(ids, minlength=1000))[::-1]
    wanted = 100_000 / np.arange(1, 1001) / np.sum(1 / np.arange(1, 1001))
    np.testing.assert_allclose(counts[:5], wanted[:5], rtol=0.05)
    assert ids.dtype == np.int32 and ids.min() >= 0 and ids.max() < 1000


def test_limit_of_a_recurrent_step_counts_words_and_not_padding(monkeypatch):
    x = np.zeros((64, recurrent.STEPS), np.int32)
    x[:, :5] = np.arange(1, 6)
    monkeypatch.setattr(recurrent, "data", lambda: (x, np.zeros((64, 1), np.float32)))
    phases = {phase.name: phase for phase in recurrent.phases("lstm", 32)}
    assert phases["inputs forward"].flops == 2 * 32 * 5 * 128 * 512
    # Five words occur, and no others' rows need be touched.
    assert phases["rows"].moved == 28 * 5 * 128


def test_limit_of_a_large_table_does_not_grow_with_the_table(monkeypatch):
    x = np.arange(64 * recsys_large.BATCH)[:, None] // [1, 4] % 1000
    monkeypatch.setattr(recsys_large, "data", lambda: (x, None))
    before = [p.moved for p in recsys_large.phases("adam")]
    monkeypatch.setitem(recsys_large.ROWS, "users", 10**9)
    assert [p.moved for p in recsys_large.phases("adam")] == before


class Asked:
    """A peer that remembers from which batch it was asked to go on."""

    def __init__(self):
        self.firsts = []

    def ask(self, do, first, count):
        self.firsts.append(first)
        return {"seconds": 1.0, "cpu": 1.0}


def test_rounds_go_on_with_the_batches_after_the_last_round():
    peer = Asked()
    lane = Lane(Row("numpy/step"), peer, 8, Plan(rounds=4))
    lane.count = 3
    for _ in range(4):
        lane.round()
    assert peer.firsts == [0, 3, 0, 3]


def small(name):
    """The job of a workload with two batches of made-up examples, fit for its model."""
    work, rng = WORKLOADS[name], np.random.default_rng(0)
    n = 2 * work.batch
    if name == "gpt":
        x = rng.integers(0, gpt.CHARACTERS, (n, gpt.STEPS), np.int32)
        y = np.roll(x, -1, 1)
    elif name == "recsys":
        x, y = rng.integers(0, 943, (n, 2), np.int32), rng.random((n, 1), np.float32)
    else:
        x = rng.integers(1, recurrent.WORDS, (n, recurrent.STEPS), np.int32)
        x[np.arange(recurrent.STEPS) >= rng.integers(1, 20, (n, 1))] = 0
        y = rng.random((n, 1), np.float32)
    weights = work.weights(np.random.Generator(np.random.Philox(key=1)))
    return Job(work, weights, {}, x, y, 1)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["lstm-32", "gru-32", "recsys", "gpt"])
def test_forms_without_another_framework_give_one_loss(name):
    owners = [FRAMEWORKS[owner] for owner in ("chainrule", "numpy")]
    forms = [each.forms[f] for each in owners for f in each.forms_for(WORKLOADS[name], False)]
    losses = [np.mean([np.mean(x) for x in form.make(small(name)).steps(0, 2)]) for form in forms]
    assert len(losses) > 1
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", recsys_large.RATES)
def test_large_tables_updated_by_rows_give_the_loss_of_the_dense_step(monkeypatch, optimizer):
    monkeypatch.setattr(recsys_large, "ROWS", {"users": 20_000, "items": 9_000})
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, n, 3 * 4096) for n in recsys_large.ROWS.values()], axis=1)
    y, weights = rng.standard_normal((len(x), 1), np.float32), recsys_large.weights(rng)
    work = WORKLOADS[f"recsys-large-{optimizer}"]
    job = Job(work, weights, {}, x.astype(np.int32), y, 1)
    by_rows = FRAMEWORKS["chainrule"].forms["rows"].make(job)
    layers = FRAMEWORKS["chainrule"].forms["fit"].make(job)
    rows, dense = (np.mean([form.steps(0, 3) for _ in range(4)]) for form in (by_rows, layers))
    np.testing.assert_allclose(rows, dense, rtol=1e-5)
