"""Every way a fit ends: patience, convergence, NaN, Ctrl-C, errors; and the weights it leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import linear_regression
from chainrule.train import Callback, Converged, EarlyStopping, Sequential
from chainrule.train.optim import SGD, Adam

QUIET = dict(verbose=0)


def regression(optimizer: object = None, **options: object) -> Sequential:
    model = Sequential([nn.Dense(1)], seed=1, **options)
    model.compile(optimizer or SGD(0.1), "mse")
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    line = linear_regression(40, seed=0)
    return line.x, line.y


class Record(Callback):
    """The weights after each step, and which methods were called."""

    def __init__(self) -> None:
        self.weights: list[dict[str, np.ndarray]] = []
        self.calls: list[str] = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_end(self, logs=None):
        self.calls.append("end")


class At(Callback):
    """Do something at the end of one epoch."""

    def __init__(self, epoch: int, act) -> None:
        self.epoch, self.act = epoch, act

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.act(self)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def drive(callback: Callback, losses: list[float], name: str = "val_loss") -> int | None:
    """The epoch at whose end the callback stops a fit with these numbers."""
    callback.params = {"metrics": ["loss", name]}
    callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {name: loss, "loss": loss})
        if callback.stopping is not None:
            return epoch
    return None


@pytest.mark.parametrize(
    ("options", "losses", "expected"),
    [
        (dict(patience=2), [3, 2, 2, 2, 2], 3),
        (dict(patience=2), [3, 2, 2, 1, 1, 1], 5),
        (dict(patience=0), [3, 2, 2], 2),
        (dict(patience=0), [3, 2, 1], None),
        (dict(patience=1, min_delta=0.5), [3.0, 2.6, 2.4, 2.3], 1),
        (dict(patience=1, min_delta=0.5), [3.0, 2.4, 2.3], 2),
        (dict(patience=1, mode="max"), [1, 2, 1], 2),
        (dict(patience=2, start_from_epoch=3), [1, 2, 3, 4, 5, 6], 5),
        (dict(patience=2, baseline=1.0), [4, 3, 3], 2),
        (dict(patience=2, baseline=1.0), [4, 0.9, 0.8], None),
        (dict(patience=2), [float("nan")] * 4, 1),
        (dict(patience=2), [float("nan"), 2, 3, 3], 3),
    ],
)
def test_patience_runs_out(options, losses, expected) -> None:
    callback = EarlyStopping(**options)
    assert drive(callback, losses) == expected
    assert expected is None or callback.stopping[0] == "patience"


def test_accuracies_are_better_when_larger() -> None:
    callback = EarlyStopping("val_accuracy", patience=1)
    assert drive(callback, [0.1, 0.2, 0.3, 0.3], "val_accuracy") == 3
    assert "its best was 0.3 in epoch 3" in callback.stopping[1]


def test_best_weights_are_restored() -> None:
    x, y = data()
    record = Record()

    class Worse(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.1 if epoch < 2 else 0.9

    best = EarlyStopping("loss", patience=2, restore_best_weights=True)
    model = regression()
    history = model.fit(x, y, epochs=20, batch_size=40, callbacks=[record, Worse(), best], **QUIET)
    losses = history.history["loss"]
    assert history.stopped == "patience" and len(losses) < 20
    at = int(np.argmin(losses))
    assert at < len(losses) - 1 and same(model.get_weights(), record.weights[at])
    assert f"in epoch {at + 1}; those weights are restored" in history.reason


def test_monitor_must_be_measured() -> None:
    x, y = data()
    record = Record()
    with pytest.raises(cr.ArgumentError, match=r"no validation data[\s\S]*validation_split=0.1"):
        regression().fit(x, y, callbacks=[record, EarlyStopping()], **QUIET)
    with pytest.raises(cr.UnknownNameError, match=r"monitor 'val_los' \(did you mean"):
        regression().fit(x, y, callbacks=[record, EarlyStopping("val_los")], **QUIET)
    assert record.weights == []


@pytest.mark.parametrize(
    ("criterion", "losses", "expected"),
    [
        (Converged(loss=0.5), [2, 1, 0.5, 0.4], 2),
        (Converged(tol=0.1, epochs=2), [2, 1, 0.95, 0.9, 0.9], 3),
        (Converged(tol=0.1, epochs=2), [2, 1, 0.95, 0.5, 0.5, 0.5], 5),
        (Converged(loss=0.5, tol=0.1, epochs=9), [2, 1, 0.9, 0.1], 3),
        (Converged(loss=0.1), [2, 1, float("nan")], None),
    ],
)
def test_convergence_is_seen(criterion, losses, expected) -> None:
    assert drive(criterion, losses, "loss") == expected
    assert expected is None or criterion.stopping[0] == "converged"


def test_convergence_by_gradient_says_why() -> None:
    x, y = data()
    model = regression()
    history = model.fit(
        x, y, epochs=500, batch_size=40, callbacks=[Converged(gradient_norm=1e-3)], **QUIET
    )
    assert history.stopped == "converged" and "gradient's norm fell to" in history.reason
    before = model.get_weights()
    kernel, bias = before["dense/kernel"].astype("f8"), before["dense/bias"].astype("f8")
    gap = (x @ kernel + bias)[:, 0] - y
    norm = np.hypot(np.linalg.norm(2 * gap @ x / 40), 2 * gap.mean())
    assert 0.5e-3 < norm < 1e-3  # of the weights after the step, so a little less than told


def test_criterion_is_needed() -> None:
    with pytest.raises(cr.ArgumentError, match="needs a criterion"):
        Converged()


@pytest.mark.parametrize("normalised", [False, True])
def test_nonfinite_step_is_not_taken(normalised: bool) -> None:
    def loss(y_true, y_pred):
        return cr.mean(y_pred * y_pred / y_true)  # y = 0 in the third batch poisons it

    model = Sequential([nn.BatchNormalization()] * normalised + [nn.Dense(1)], seed=1)
    model.compile(Adam(0.1), loss)
    x, y = np.float32([[1], [2], [3], [4]]), np.float32([[1], [2], [0], [4]])
    record = Record()
    with np.errstate(all="raise"):
        history = model.fit(
            x, y, batch_size=1, epochs=3, shuffle=False, callbacks=[record], **QUIET
        )
    assert history.stopped == "non-finite" and history.steps == 2 and history.epoch == []
    assert len(record.weights) == 2 and same(model.get_weights(), record.weights[1])
    assert record.calls == ["end"]
    assert "step 3 of epoch 1 had a loss of" in history.reason
    assert "gradients that are not finite (" in history.reason
    assert "dense/kernel" in history.reason
    assert model._setup.progressed.state["step"].item() == 2


def test_divergence_keeps_finite_weights(capsys) -> None:
    x, y = data()
    model, record = regression(SGD(50.0)), Record()
    with np.errstate(all="raise"):
        history = model.fit(x, y, epochs=100, callbacks=[record], **QUIET)
    assert history.stopped == "non-finite"
    weights = model.get_weights()
    assert all(np.isfinite(array).all() for array in weights.values())
    assert same(weights, record.weights[-1]) and len(record.weights) == history.steps
    assert history.reason in capsys.readouterr().err.replace("\n", " ")


def test_weights_that_an_update_broke_go_back_to_the_epoch_before() -> None:
    def loss(y_true, y_pred):
        return cr.mean(y_pred) * 1e10

    model = Sequential([nn.Dense(1, use_bias=False)], seed=1)
    model.compile(SGD(1e-20), loss)

    class Burst(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.kept = self.model.get_weights()
            self.model.optimizer.learning_rate = 1e30 if epoch else 0.1

    burst = Burst()
    history = model.fit(
        np.ones((2, 1)), np.ones(2), batch_size=1, epochs=3, callbacks=[burst], **QUIET
    )
    assert history.stopped == "non-finite" and history.epoch == [0]
    assert "made dense/kernel not finite" in history.reason
    assert same(model.get_weights(), burst.kept)


def interrupt(callback: Callback) -> None:
    raise KeyboardInterrupt


def test_keyboard_interrupt_from_a_callback_ends_the_fit(capsys) -> None:
    x, y = data()
    model, record = regression(), Record()
    history = model.fit(x, y, epochs=9, callbacks=[record, At(2, interrupt)], **QUIET)
    assert history.stopped == "interrupted" and history.epoch == [0, 1, 2]
    assert same(model.get_weights(), record.weights[-1]) and record.calls[-1] == "end"
    assert "interrupted by Ctrl-C after 6 steps" in history.reason
    assert history.reason in capsys.readouterr().err.replace("\n", " ")


def test_error_in_a_callback_leaves_the_newest_weights() -> None:
    def fail(callback):
        raise RuntimeError("mine")

    class Fail(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                fail(self)

    x, y = data()
    for callback in (At(1, fail), Fail()):
        model, record = regression(), Record()
        with pytest.raises(RuntimeError, match="mine"):
            model.fit(x, y, epochs=9, callbacks=[record, callback], **QUIET)
        assert same(model.get_weights(), record.weights[-1])
        model.fit(x, y, **QUIET)


def test_error_between_hand_backs_leaves_the_newest_weights() -> None:
    steps = []

    class Failing(SGD):
        @property
        def learning_rate(self):
            steps.append(1)
            if len(steps) > 3:
                raise RuntimeError("mine")
            return 0.1

        @learning_rate.setter
        def learning_rate(self, value):
            pass

    x, y = data()
    model, twin = regression(Failing()), regression()
    model.build_for(x.shape)
    steps.clear()
    looks = cr.LambdaCallback(on_train_batch_end=lambda batch, logs: None)  # a stride is one step
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(x, y, batch_size=10, shuffle=False, callbacks=looks, **QUIET)
    twin.fit(x[:30], y[:30], batch_size=10, shuffle=False, **QUIET)
    assert same(model.get_weights(), twin.get_weights())


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end"])
def test_callback_stops_with_its_reason(hook: str) -> None:
    callback = Callback()
    setattr(callback, hook, lambda *args: callback.stop("enough."))
    x, y = data()
    history = regression().fit(x, y, epochs=9, callbacks=callback, **QUIET)
    assert (history.stopped, history.reason) == ("callback", "enough.")
    assert len(history.epoch) == (hook == "on_epoch_end")
    assert history.steps == 2 * len(history.epoch)


def test_stop_training_as_in_keras() -> None:
    def stop(callback):
        callback.model.stop_training = True

    class Step(Callback):
        def on_train_batch_end(self, batch, logs=None):
            stop(self)

    x, y = data()
    model = regression()
    history = model.fit(x, y, epochs=9, callbacks=[At(1, stop)], **QUIET)
    assert history.stopped == "callback" and history.epoch == [0, 1]
    assert model.fit(x, y, epochs=9, callbacks=[Step()], **QUIET).steps == 1
    assert model.fit(x, y, epochs=2, **QUIET).stopped == "epochs"


def test_fit_in_a_thread_leaves_signals_alone() -> None:
    x, y = data()
    before = signal.getsignal(signal.SIGINT)
    found = []
    thread = threading.Thread(target=lambda: found.append(regression().fit(x, y, **QUIET)))
    thread.start(), thread.join()
    assert found[0].stopped == "epochs" and signal.getsignal(signal.SIGINT) is before
    regression().fit(x, y, **QUIET)
    assert signal.getsignal(signal.SIGINT) is before


CHILD = """
    import sys, time
    import numpy as np
    from chainrule import nn
    from chainrule.data import blobs
    from chainrule.train import Callback, Sequential

    class Ready(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                print("ready", flush=True)
                time.sleep({pause})

    x, y = blobs(100)
    model = Sequential([nn.Dense(8, activation="relu"), nn.Dense(3)])
    model.compile("adam", "sparse_categorical_crossentropy")
    try:
        history = model.fit(x, y, epochs=10**9, callbacks=[Ready()], verbose=0)
    except KeyboardInterrupt:
        finite = all(np.isfinite(w).all() for w in model.get_weights().values())
        print("raised", finite, flush=True)
        raise SystemExit(3)
    weights = model.get_weights()
    print(history.stopped, all(np.isfinite(w).all() for w in weights.values()), flush=True)
    print(np.isfinite(model.evaluate(x, y)["loss"]), history.steps > 8, flush=True)
"""


def child(pause: float) -> subprocess.Popen:
    code = textwrap.dedent(CHILD).format(pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigint_ends_the_fit_and_the_program_goes_on() -> None:
    with child(pause=0) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "interrupted True\nTrue True\n"
    assert "Ctrl-C: stopping after this step" in err and "interrupted by Ctrl-C after" in err


def test_second_sigint_raises() -> None:
    with child(pause=60) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        first = process.stderr.readline() + process.stderr.readline()
        assert "once more" in first
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (3, "raised True\n"), err


def test_weights_that_are_not_finite_at_the_start_are_said_to_be_so() -> None:
    model = regression()
    x, y = data()
    model.build_for(x.shape)
    weights = model.get_weights()
    name = next(iter(weights))
    model.set_weights({**weights, name: np.full_like(weights[name], np.nan)})
    history = model.fit(x, y, **QUIET)
    assert history.stopped == "non-finite"
    assert f"{name} was not finite before it" in history.reason
