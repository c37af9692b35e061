"""`fit` updates large tables by rows, and nobody who looks can tell it from the dense update."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.train import optim, worth
from chainrule.train.backup import BackupAndRestore
from chainrule.train.rows import RowExact
from chainrule.train.worth import worth_rows

USERS, EXAMPLES = 300, 48
PATH = "embedding/embeddings"


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """`always(True)` has every table updated by rows, `always(False)` none."""

    def choose(by_rows: bool) -> None:
        wanted = (0, 1, 0) if by_rows else (10**9, 1, 0)
        monkeypatch.setattr(worth, "NEEDED", dict.fromkeys(worth.NEEDED, wanted))

    choose(True)
    yield choose


def data(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Ids of which few come often, and a target for each."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    ids = (USERS * rng.random((EXAMPLES, 2)) ** 3).astype(np.int64)
    return ids, rng.normal(size=(EXAMPLES, 1)).astype(np.float32)


def made(optimizer: Any, **options: Any) -> cr.Sequential:
    model = cr.Sequential([nn.Embedding(USERS, 4, **options), nn.Flatten(), nn.Dense(1)], seed=1)
    model.compile(optimizer, "mse")
    return model


def fitted(optimizer: Any, epochs: int = 3, model: Any = None, **options: Any) -> cr.Sequential:
    model = made(optimizer) if model is None else model
    x, y = data()
    model.fit(x, y, epochs=epochs, batch_size=20, verbose=0, **options)
    return model


def by_rows(model: Any) -> bool:
    return isinstance(model._setup.steps.optimizer, RowExact)


def assert_same_bits(a: Any, b: Any) -> None:
    ours, theirs = a.get_weights(), b.get_weights()
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.AdamW(0.01, weight_decay=0.1),
        lambda: optim.Averaged(optim.ClipByGlobalNorm(optim.Adagrad(0.1), 0.5), 0.9),
        lambda: optim.Groups("adam", {"embedding": {"learning_rate": 0.02}}),
    ],
    ids=["adamw", "average and norm", "groups"],
)
def test_a_fit_by_rows_is_the_dense_fit(make: Callable, always: Callable) -> None:
    sparse = fitted(make())
    assert by_rows(sparse)
    always(False)
    dense = fitted(make())
    assert not by_rows(dense)
    for name, weights in dense.get_weights().items():
        np.testing.assert_allclose(sparse.get_weights()[name], weights, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(sparse.predict(data()[0]), dense.predict(data()[0]), atol=1e-5)
    ours, theirs = cr.flatten(sparse.optimizer_state), cr.flatten(dense.optimizer_state)
    assert ours[1] == theirs[1]
    for a, b in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-6)


def test_looking_between_steps_changes_no_bit_of_a_fit_by_rows(always: Callable) -> None:
    look = cr.train.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(quiet.get_weights()[PATH][0, 0])
    )
    seen: list[float] = []
    quiet = made("adam")
    fitted("adam", model=quiet, callbacks=[look])
    assert len(seen) == 9 and by_rows(quiet)
    assert_same_bits(quiet, fitted("adam"))


def test_the_compiled_step_of_a_fit_makes_no_pass_over_the_table(always: Callable) -> None:
    model = fitted(optim.Averaged(optim.ClipByGlobalNorm(optim.AdamW(0.01), 1.0), 0.9), 1)
    for entry in model._setup.steps.train.entries.values():
        native = entry.program.draft()
        long = {n for n in native.graph.order if n.shape[:1] == (USERS,)}
        assert {n.op.name for n in long} == {"input", "put_rows"}
        assert {n for n in long if n.op.name == "put_rows"} <= native.inplace.keys()


def test_two_and_three_epochs_by_rows_are_five(always: Callable) -> None:
    whole = fitted("adam", 5)
    parts = fitted("adam", 3, fitted("adam", 2))
    assert by_rows(parts)
    assert_same_bits(whole, parts)


def test_a_backup_of_a_fit_by_rows_goes_on_bit_for_bit(always: Callable, tmp_path: Path) -> None:
    def interrupt(batch: int, logs: Any) -> None:
        if broken._setup.progressed.state["step"].item() == 5:
            raise RuntimeError("killed")

    broken = made("adam")
    backup = BackupAndRestore(tmp_path, save_freq=2)
    with pytest.raises(RuntimeError, match="killed"):
        stop = cr.train.LambdaCallback(on_train_batch_end=interrupt)
        fitted("adam", model=broken, callbacks=[backup, stop])
    again = fitted("adam", callbacks=[BackupAndRestore(tmp_path, save_freq=2)])
    assert by_rows(again)
    assert_same_bits(again, fitted("adam"))


def test_weights_that_the_user_puts_in_are_trained_on_by_rows(always: Callable) -> None:
    def changed() -> np.ndarray:
        model = fitted("adam", 2)
        weights = model.get_weights()
        weights[PATH][:3] = 0.5
        model.set_weights(weights)
        return fitted("adam", 1, model).get_weights()[PATH]

    sparse = changed()
    always(False)
    np.testing.assert_allclose(sparse, changed(), atol=2e-6)


def test_the_average_of_a_fit_by_rows_can_be_taken_over(always: Callable) -> None:
    def averaged() -> np.ndarray:
        opt = optim.Averaged(optim.Adam(0.01), 0.9)
        return fitted(opt, callbacks=[cr.train.UseAverage()]).get_weights()[PATH]

    sparse = averaged()
    always(False)
    np.testing.assert_allclose(sparse, averaged(), atol=2e-6)


def test_another_batch_size_keeps_what_the_optimiser_has_gathered(always: Callable) -> None:
    def both(by_rows_first: bool) -> cr.Sequential:
        always(by_rows_first)
        model = fitted("adam", 2)
        assert by_rows(model) == by_rows_first
        always(not by_rows_first)
        return fitted("adam", 2, model)

    ours, theirs = both(True), both(False)
    for name, weights in theirs.get_weights().items():
        np.testing.assert_allclose(ours.get_weights()[name], weights, atol=2e-6, err_msg=name)


def test_a_step_by_rows_that_is_not_finite_is_not_taken(always: Callable) -> None:
    x, y = data()
    y[-1] = 1e30  # its square is beyond float32
    model = made("adam")
    history = model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    before = made("adam")
    before.fit(x[:32], y[:32], batch_size=16, shuffle=False, verbose=0)
    assert history.stopped == "non-finite" and history.steps == 2
    assert_same_bits(model, before)


def test_an_id_outside_the_table_ends_a_fit_by_rows_with_the_weights_so_far(always: Any) -> None:
    x, y = data()
    x[-1, 0] = USERS
    model = made("adam")
    with pytest.raises(cr.ArgumentError, match=r"positions must lie in 0\.\.299, got 300"):
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    before = made("adam")
    before.fit(x[:32], y[:32], batch_size=16, shuffle=False, verbose=0)
    assert by_rows(model)
    assert_same_bits(model, before)


class Tied(cr.Model):
    """The table that embeds is the kernel that scores."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.embedding = nn.Embedding(60, 3)

    def call(self, x: Any) -> Any:
        h = self.embedding(x)
        return h @ cr.transpose(self.embedding.embeddings)


DENSE = {
    "tied": Tied,
    "regularised": lambda: cr.Sequential(
        [nn.Embedding(60, 3, embeddings_regularizer=nn.regularizers.L2(0.01)), nn.Dense(60)], seed=1
    ),
    "constrained": lambda: cr.Sequential(
        [nn.Embedding(60, 3, embeddings_constraint=nn.constraints.MaxNorm(0.05)), nn.Dense(60)],
        seed=1,
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_a_table_that_is_read_as_a_whole_is_updated_as_a_whole(name: str, always: Any) -> None:
    x = data()[0][:, 0] % 60
    weights = []
    for choice in (True, False):
        always(choice)
        model = DENSE[name]()
        loss = nn.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optim.Adam(0.02), loss)
        model.fit(x, x, batch_size=16, epochs=2, verbose=0)
        assert not by_rows(model)
        weights.append(model.get_weights()[PATH])
    np.testing.assert_array_equal(*weights)


def test_only_tables_with_many_rows_for_each_id_are_updated_by_rows() -> None:
    def chosen(opt: Any, extent: int, count: int, between: int | None = None) -> bool:
        params = {"table": cr.Tensor(np.broadcast_to(np.float32(0), (extent, 10)))}
        return worth_rows(opt, params, {"table": count}, between) == ("table",)

    for opt in (optim.SGD(0.1), optim.Adam()):
        assert chosen(opt, 90_000, 2000) and not chosen(opt, 90_000, 2001)
        assert not chosen(opt, 49_999, 0)
    assert chosen(optim.RMSprop(), 200_000, 2000) and not chosen(optim.RMSprop(), 200_000, 2001)
    assert chosen(optim.Nadam(), 730_000, 1000) and not chosen(optim.Nadam(), 729_999, 1000)
    assert chosen(optim.SGD(0.1), 200_000, 9, 5) and not chosen(optim.SGD(0.1), 200_000, 9, 4)
    assert chosen(optim.Adam(), 200_000, 9, 10) and not chosen(optim.Adam(), 200_000, 9, 9)


def test_an_optimiser_without_a_row_rule_says_so_once(always: Callable) -> None:
    worth._noticed.clear()
    with pytest.warns(UserWarning, match="'embedding/embeddings' is a large table, and Muon"):
        model = fitted("muon", 1)
    assert not by_rows(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted("muon", 1)
    with pytest.raises(cr.ArgumentError, match="Muon has no row rule for 'embedding/embeddings'"):
        RowExact("muon", [PATH]).init(model.named_parameters())
