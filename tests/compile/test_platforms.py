"""Code for other processors than the one at hand: AVX2 forced, aarch64 assembled and emulated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile.draft import Draft
from chainrule.compile.platforms import AVX2, MACHINES, NEON
from chainrule.compile.product import ROWS
from chainrule.compile.runtime import machine
from chainrule.core.op import OPS
from tests import op_checks
from tests.compile.emulator import LACKING, Case, assembly, emulate, written

emulated = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}")
forced = pytest.mark.skipif(
    machine() is None or machine().system is not AVX2.system, reason="AVX2 runs on x86-64"
)
rng = np.random.default_rng(5)
X = rng.standard_normal((37, 50), dtype=np.float32)
W = rng.standard_normal((50, 23), dtype=np.float32)
IMAGE = rng.standard_normal((2, 9, 9, 3), dtype=np.float32)
KERNEL = rng.standard_normal((3, 3, 3, 5), dtype=np.float32)


def dense_layer(x, w):
    return cr.relu(x @ w - 0.5)


def softmax_gradient(x, w):
    return cr.grad(lambda w: cr.mean(cr.log_softmax(x @ w)[:, 1]))(w)


def convolution(image, kernel):
    return cr.tanh(cr.conv2d(image, kernel))


def convolution_gradients(image, kernel):
    return cr.grad(lambda i, k: cr.sum(cr.sigmoid(cr.conv2d(i, k))), argnums=(0, 1))(image, kernel)


def angles(x, w):
    return cr.sum(cr.sin(x)) + cr.sum(cr.exp(w) * cr.log(w * w + 1.0))


def in_float64(x, w):
    return cr.gelu(cr.cast(x, "float64") @ cr.cast(w, "float64"))


def scaled_step(x, w):
    g = x.T @ (x @ w)
    return w - 0.01 * g / (cr.sqrt(cr.mean(g * g, axis=0)) + 1e-7)


PROGRAMS = [
    (dense_layer, X, W),
    (softmax_gradient, X, W),
    (convolution, IMAGE, KERNEL),
    (convolution_gradients, IMAGE, KERNEL),
    (angles, X, W),
    (in_float64, X, W),
    (scaled_step, X, W),
]


@cache
def neon(place: int) -> Draft:
    """One of `PROGRAMS` as code for aarch64."""
    native = written(NEON, *PROGRAMS[place])
    assert native is not None
    return native


@pytest.mark.parametrize("place", range(len(PROGRAMS)), ids=[fn.__name__ for fn, *_ in PROGRAMS])
def test_code_for_aarch64_is_neon_and_calls_no_math_library(place):
    text = neon(place).segments[0].text
    assert "x86" not in text
    found = assembly(NEON, text)
    assert re.search(r"fmla\s+v\d+\.(4s|2d)", found)
    own = set(re.findall(r"^([\w$]+):", found, re.MULTILINE))
    called = set(re.findall(r"\sbl\s+([\w$]+)", found)) - own
    assert called <= {"memset", "memcpy", "sched_yield", "syscall"}
    assert "msr\tFPCR" in found and "isb" in found


@emulated
def test_code_for_aarch64_computes_numpys_values(tmp_path):
    cases = [Case(neon(i), [x, z]) for i, (_, x, z) in enumerate(PROGRAMS)]
    emulate(NEON, cases, tmp_path)
    for (fn, x, z), case in zip(PROGRAMS, cases, strict=True):
        wanted = cr.flatten(fn(x, z))[0]
        for found, exact in zip(case.outputs(), wanted, strict=True):
            op_checks.near(found, exact.numpy(), 1e-5, fn.__name__)


@emulated
@pytest.mark.heavy
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_op_computes_on_aarch64_what_its_reference_does(dtype, tmp_path):
    cases = []
    for op in list(OPS.values()):
        for sample in op.samples:
            arrays = op_checks.arrays_of(op, sample, dtype)
            native = written(NEON, lambda *x, op=op, s=sample: op(*x, **s.attrs), *arrays)
            if native is not None:
                cases.append((op, sample, arrays, Case(native, arrays)))
    emulate(NEON, [case for *_, case in cases], tmp_path)
    for op, sample, arrays, case in cases:
        exact = op_checks.expected(op, sample, op_checks.wide(arrays))
        op_checks.same_code(op, case.outputs()[0], exact, f"{op.name} in {dtype}")
    assert len(cases) > len(OPS)


SAMPLE = """
import numpy as np
import chainrule as cr
from chainrule import nn
from chainrule.core.op import OPS
from tests.op_checks import check_machine_code, check_special_values
for name in ("exp", "tanh", "sigmoid", "log", "sin", "cast", "sum", "contract", "windows", "pad"):
    check_machine_code(OPS[name], OPS[name].samples[0])
    check_special_values(OPS[name], OPS[name].samples[0])
x = np.random.default_rng(0).normal(size=(3, 9, 9, 2)).astype(np.float32)
for layer in (nn.Dense(5), nn.Conv2D(5, 3), nn.LayerNormalization(), nn.MaxPooling2D()):
    wanted = layer(x).numpy()
    np.testing.assert_allclose(cr.jit(layer)(x).numpy(), wanted, rtol=1e-5, atol=1e-6)
"""


@forced
def test_a_sample_of_ops_and_layers_is_right_on_avx2(python):
    python(SAMPLE, CHAINRULE_CPU=AVX2.cpu)


@forced
@pytest.mark.heavy
def test_all_ops_and_layers_run_on_avx2():
    folders = ("tests/test_ops.py", "tests/ops", "tests/nn", "tests/compile")
    run_on_avx2(*folders, "-m", "not heavy", "--deselect", "tests/compile/test_platforms.py")


def run_on_avx2(*arguments: str) -> None:
    """Some tests of this tree in a process that compiles for the least CPU with AVX2."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments],
        env={**os.environ, "CHAINRULE_CPU": AVX2.cpu},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[1-9]\d* passed", done.stdout)


@forced
def test_a_forced_cpu_is_compiled_for(python):
    text = "from chainrule.compile.runtime import machine; print(machine().cpu, machine().vector)"
    assert python(text, CHAINRULE_CPU="haswell").split() == ["haswell", "32"]


def test_a_cpu_that_this_one_is_not_is_refused(python):
    text = (
        "from chainrule.compile.runtime import machine\n"
        "from chainrule.core.errors import ArgumentError\n"
        "try: machine()\n"
        "except ArgumentError as error: print(error)"
    )
    assert "got 'pentium'" in python(text, CHAINRULE_CPU="pentium")


def test_an_unknown_processor_is_said_once_and_computed_by_numpy(python):
    text = (
        "import platform, warnings, numpy as np\n"
        "platform.machine = lambda: 'riscv64'\n"
        "import chainrule as cr\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        "    for n in (2, 3): print(float(cr.jit(lambda x: cr.sum(x * 2))(np.ones(n))))\n"
        "print(len(told), told[0].message)"
    )
    first, second, last = python(text).splitlines()
    assert (first, second) == ("4.0", "6.0")
    assert last.startswith("1 no native code, so NumPy computes everything: ")


@pytest.mark.parametrize("made", MACHINES, ids=lambda made: made.cpu)
def test_every_machine_has_a_tile_that_fits_its_registers(made):
    for vectors in (1, 2):
        assert ROWS[made.registers, vectors] * vectors + vectors < made.registers
