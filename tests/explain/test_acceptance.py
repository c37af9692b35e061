"""What explain promises of real models: the executor does not matter, answers are quick and short.

The models are the benchmark's convolutional net, a recommender, a recurrent net over text, and
three that are large in some way: a kernel, a batch, a number of layers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

import chainrule as cr
from chainrule import nn
from chainrule.apps.makers import make_model
from chainrule.explain.batch import examples_of
from chainrule.explain.derivation import derivation
from chainrule.explain.explain import explain
from chainrule.explain.explanation import Explanation
from chainrule.explain.influence import influence
from chainrule.explain.layers import layer_strip
from chainrule.explain.strip import Gap

SECONDS = 2.0
SCREENS, COLUMNS = 2 * 40, 80
CLASSES = "sparse_categorical_crossentropy"

Made = tuple[Any, Any, Any, str, tuple[int, ...]]  # model, x, y, parameter, index


def compiled(layers: list, loss: str, x: Any) -> Any:
    model = cr.Sequential(layers, seed=2)
    model.compile("adam", loss)
    model(x[:1])
    return model


def cnn() -> Made:
    rng = np.random.default_rng(0)
    x = rng.random((128, 28, 28, 1)).astype(np.float32)
    layers = [
        nn.Conv2D(32, 3, activation="relu"),
        nn.Conv2D(64, 3, activation="relu"),
        nn.MaxPooling2D(2),
        nn.Flatten(),
        nn.Dense(128, "relu"),
        nn.Dense(10),
    ]
    model = compiled(layers, CLASSES, x)
    return model, x, rng.integers(0, 10, 128), "conv2d/kernel", (2, 0, 0, 1)


def recommender() -> Made:
    rng = np.random.default_rng(0)
    users, items = 943, 1682
    arguments = dict(users=users, items=items, size=16, mean=3.5, l2=1e-4, bias_l2=3e-5)
    model = make_model("factors", arguments, (2,), 0)
    model.compile("adam", "mse")
    x = np.stack([rng.integers(0, users, 512), rng.integers(0, items, 512)], axis=1)
    path = next(p for p, t in model.named_parameters().items() if t.shape == (users, 16))
    return model, x, rng.integers(1, 6, 512).astype(np.float32), path, (int(x[0, 0]), 3)


def lstm() -> Made:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 1000, (32, 64))
    layers = [nn.Embedding(1000, 32), nn.LSTM(64), nn.Dense(1)]
    model = compiled(layers, "binary_crossentropy", x)
    return model, x, rng.integers(0, 2, 32), "lstm/cell/recurrent_kernel", (3, 70)


def wide() -> Made:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 128)).astype(np.float32)
    model = compiled([nn.Dense(512, "tanh"), nn.Dense(1)], "mse", x)
    return model, x, rng.normal(size=64), "dense/kernel", (5, 77)


def many() -> Made:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, 20)).astype(np.float32)
    model = compiled([nn.Dense(16, "relu"), nn.Dense(3)], CLASSES, x)
    return model, x, rng.integers(0, 3, 4096), "dense/kernel", (5, 7)


def deep() -> Made:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 16)).astype(np.float32)
    model = compiled([nn.Dense(16, "tanh") for _ in range(49)] + [nn.Dense(1)], "mse", x)
    return model, x, rng.normal(size=32), "dense_10/kernel", (5, 7)


REAL = [cnn, recommender, lstm]
LARGE = [wide, many, deep]


@pytest.mark.parametrize("make", [recommender, lstm, wide, many, deep])
def test_explained_entry_is_that_of_the_compiled_step(make: Callable[[], Made]) -> None:
    model, x, y, path, index = make()
    steps, examples = examples_of(model, "a test", x, y)
    step = cr.jit(cr.value_and_grad(steps.loss_of, has_aux=True))
    (loss, _), grads = step(steps.params, examples.batch(slice(0, len(x))), cr.key(model.seed))
    g = grads[steps.names.index(path)].numpy()
    found = explain(model, x, y, path, index=index, check="none")
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert found.gradient == pytest.approx(g[index], rel=1e-3, abs=1e-5 * float(np.abs(g).max()))


TRAINED = """
import numpy as np, chainrule as cr
from chainrule import nn
from chainrule.explain.explain import explain
rng = np.random.default_rng(1)
x, y = rng.normal(size=(64, 6, 6, 1)).astype("f4"), rng.integers(0, 3, 64)
layers = [nn.Conv2D(4, 3, activation="tanh"), nn.BatchNormalization(), nn.Flatten(), nn.Dense(3)]
model = cr.Sequential(layers, seed=3)
model.compile(cr.optim.SGD(0.05), "sparse_categorical_crossentropy")
model.fit(x, y, batch_size=16, epochs=2, verbose=0)
print(explain(model, x, y, "conv2d/kernel", index=(1, 2, 0, 3), topk=99).to_json())
"""


def trained(executor: str) -> Explanation:
    settings = {key: value for key, value in os.environ.items() if key != "CHAINRULE_EXECUTOR"}
    done = subprocess.run(
        [sys.executable, "-c", TRAINED],
        env=settings | ({"CHAINRULE_EXECUTOR": executor} if executor else {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Explanation.from_json(done.stdout)


def test_run_that_was_compiled_explains_as_one_by_numpy() -> None:
    native, reference = trained(""), trained("numpy")
    assert native.gradient == pytest.approx(reference.gradient, rel=1e-3)
    for one, other in zip(native.partitions, reference.partitions, strict=True):
        assert one.by == other.by
        theirs = {part.labels: part.value for part in other.parts}
        close = 1e-4 * other.mass
        for part in one.parts[:20]:
            assert part.value == pytest.approx(theirs[part.labels], abs=close)


@pytest.mark.parametrize("make", LARGE)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_large_models_are_told_in_two_screens(make: Callable[[], Made], lang: str) -> None:
    model, x, y, path, index = make()
    texts = {
        "entry": explain(model, x, y, path, index=index).to_text(COLUMNS, lang),
        "whole": explain(model, x, y, path).to_text(COLUMNS, lang),
        "strip": layer_strip(model, x, y).to_text(COLUMNS, lang),
        "influence": influence(model, x[:64], y[:64], on=(x[:9], y[:9])).to_text(COLUMNS, lang),
        "derivation": derivation(model).to_text(COLUMNS, lang),
    }
    for what, text in texts.items():
        rows = text.splitlines()
        assert len(rows) <= SCREENS, f"{what}: {len(rows)} lines"
        assert max(map(cell_len, rows)) <= COLUMNS, f"{what}: {max(rows, key=cell_len)}"


@pytest.mark.parametrize("make", LARGE)
def test_what_is_left_out_is_counted(make: Callable[[], Made]) -> None:
    model, x, y, path, index = make()
    entry = explain(model, x, y, path, index=index, by="example", check="none")
    (partition,) = entry.partitions
    assert len(partition.parts) + partition.others.count == len(x)
    assert f"{partition.others.count:,}" in entry.to_text(COLUMNS, "en")
    whole = explain(model, x, y, path, check="none")
    (left,) = [count for what, count in whole.left_out if what == "entries"]
    assert whole.summary is not None and left + len(whole.entries) == whole.summary.count
    assert f"{left:,}" in whole.to_text(COLUMNS, "en")


def test_strip_of_fifty_layers_says_how_many_it_folds() -> None:
    model, x, y, *_ = deep()
    strip = layer_strip(model, x, y)
    folded = sum(each.layers for each in strip.folded() if isinstance(each, Gap))
    assert len(strip.layers) == 50 and folded + len(strip.folded()) >= 50 > folded > 20
    text = strip.to_text(COLUMNS, "en")
    assert sum(map(int, re.findall(r"(\d+) layers", text))) == folded


@pytest.mark.parametrize("make", [recommender, lstm])
def test_every_form_of_an_entry_is_there(make: Callable[[], Made]) -> None:
    model, x, y, path, index = make()
    found = explain(model, x, y, path, index=index, check="none")
    number = f"{abs(found.gradient or 0):.4g}".split("e")[0][:5].lstrip("0.")
    for text in (found.to_text(), found.to_html(), found.to_latex()):
        assert number[:3] in text
    assert Explanation.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["version"]


def test_training_does_not_load_what_explains() -> None:
    text = TRAINED.replace("from chainrule.explain.explain import explain", "import sys")
    text = text[: text.index("print(")]
    names = ("explain", "cut", "layers", "influence", "derivation", "terminal")
    working = [f"chainrule.explain.{name}" for name in names]
    text += f"print([name for name in {working} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stdout + done.stderr


def seconds(run: Callable[[], Any]) -> float:
    """The shortest of three runs by the clock, or by the processor where other programs ran."""
    times = []
    for _ in range(3):
        clock, processor = time.perf_counter(), time.process_time()
        run()
        times += [time.perf_counter() - clock, time.process_time() - processor]
    return min(times)


TIMED = """
from test_acceptance import explain, {make}, seconds
model, x, y, path, index = {make}()
print(seconds(lambda: explain(model, x, y, path, index=index).to_text()))
"""


@pytest.mark.heavy
@pytest.mark.parametrize("make", REAL)
def test_entry_of_a_real_model_is_explained_in_two_seconds(make: Callable[[], Made]) -> None:
    # One thread of BLAS in a process of its own: threads that wait for each other count as time.
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(make=make.__name__)],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < SECONDS


@pytest.mark.heavy
@pytest.mark.parametrize("make", REAL)
def test_strip_of_a_real_model_is_made_in_two_seconds(make: Callable[[], Made]) -> None:
    model, x, y, *_ = make()
    assert seconds(lambda: layer_strip(model, x, y).to_text()) < SECONDS


@pytest.mark.heavy
def test_influence_of_a_batch_of_images_takes_seconds() -> None:
    model, x, y, *_ = cnn()
    assert seconds(lambda: influence(model, x, y, on=(x[:4], y[:4])).to_text()) < 2 * SECONDS


@pytest.mark.heavy
def test_entry_of_the_convolutional_net_is_that_of_the_compiled_step() -> None:
    test_explained_entry_is_that_of_the_compiled_step(cnn)
