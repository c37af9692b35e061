"""Native code for a processor that is not at hand: written, assembled, and run under qemu.

`written` makes programs for any `Machine`; `emulate` links their aarch64 objects and a small driver
into one static executable, which runs each on two threads.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import module
from chainrule.compile.draft import Draft
from chainrule.compile.platforms import Machine
from chainrule.compile.program import Program
from chainrule.compile.runtime import assembler
from chainrule.compile.threads import BLOCKS, HEAD, LINE
from chainrule.compile.worker import WORKER

COMPILER, QEMU = "aarch64-linux-gnu-gcc", "qemu-aarch64"
LACKING = [tool for tool in (COMPILER, QEMU) if not shutil.which(tool)]
THREADS = 2

DRIVER = """
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
typedef void step(void **table, void *counters, int64_t tid, int64_t n);
void cr_worker(void *sync, int64_t tid, int32_t first);
void cr_call(void *sync, step *fn, void **table, int64_t n, int64_t workers, int64_t bytes);
void cr_stop(void *sync);
%(declared)s
static step *const steps[] = {%(names)s};
static int32_t words[128] __attribute__((aligned(64)));

static int64_t number(void) {
    int64_t x;
    if (fread(&x, 8, 1, stdin) != 1) exit(3);
    return x;
}

static void *work(void *unused) {
    cr_worker(words, 1, 0);
    return unused;
}

int main(void) {
    int64_t block = number();
    *(void **)(words + 48) = aligned_alloc(64, %(blocks)d * block);
    *(int64_t *)(words + 50) = block;
    pthread_t worker;
    pthread_create(&worker, 0, work, 0);
    for (int64_t cases = number(); cases > 0; cases--) {
        int64_t which = number(), bytes = number(), count = number();
        void **table = malloc(8 * count);
        int64_t *sizes = malloc(8 * count);
        for (int64_t i = 0; i < count; i++) {
            sizes[i] = number();
            table[i] = aligned_alloc(64, (sizes[i] / 64 + 1) * 64);
            if (fread(table[i], 1, sizes[i], stdin) != (size_t)sizes[i]) exit(3);
        }
        if (cases <= 2) usleep(50000); /* long enough for the worker to sleep in the kernel */
        cr_call(words, steps[which], table, %(threads)d, %(threads)d - 1, bytes);
        for (int64_t i = 0; i < count; i++) fwrite(table[i], 1, sizes[i], stdout);
    }
    cr_stop(words);
    pthread_join(worker, 0);
    return 0;
}
"""


@contextmanager
def code_for(made: Machine) -> Iterator[None]:
    """Programs made inside are for `made`, and are not loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "machine", lambda: made)
        yield


def written(made: Machine, fn: Callable, *arrays: np.ndarray) -> Draft | None:
    """The program of `fn`; None where it is not one native function of its arguments."""
    graph = cr.jit(fn).graph(*arrays)
    if any(0 in node.shape for node in graph.order):
        return None
    with code_for(made):
        draft = Program(graph, [False] * len(graph.inputs)).draft()
    whole = [bool(s.text) for s in draft.segments] == [True]
    return draft if whole and len(graph.inputs) == len(arrays) else None


def assembly(made: Machine, text: str) -> str:
    """What LLVM makes of a module's text, as the assembler reads it."""
    return _assembler(made).emit_assembly(_parsed(text))


def _assembler(made: Machine):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return assembler(made)


def _parsed(text: str):
    parsed = llvm.parse_assembly(text)
    parsed.verify()
    return parsed


class Case:
    """One run of a program: the buffers of its table, whose contents the emulator replaces."""

    def __init__(self, draft: Draft, arrays: list[np.ndarray]):
        (self.segment,) = draft.segments
        plan = self.plan = draft.plan(lambda text: "")
        self.buffers = [np.zeros(1, np.int64) for _ in range(plan.slots)]
        self.buffers[0] = np.zeros(plan.arena, np.uint8)
        for buffer, array in zip(plan.inputs, arrays, strict=True):
            self.buffers[buffer.slot] = np.array(array, buffer.dtype, order="C")
        for constant in plan.constants:
            self.buffers[constant.buffer.slot] = constant.array()
        for buffer, _ in plan.results:
            self.buffers[buffer.slot] = np.zeros(buffer.shape, buffer.dtype)

    def counters(self) -> int:
        """Bytes of the counters of a run."""
        return self.segment.counters * (THREADS + 1) * LINE + HEAD

    def outputs(self) -> list[np.ndarray]:
        """What the buffers hold now."""
        return [read.of(self.buffers) for read in self.plan.outputs]


def emulate(made: Machine, cases: list[Case], folder: Path) -> None:
    """Run all cases in one executable; `Case.outputs` then gives what it computed."""
    target = _assembler(made)
    texts = {case.segment.name: case.segment.text for case in cases}
    objects = {"pool": WORKER + made.system.text, **texts}
    for name, text in objects.items():
        (folder / f"{name}.o").write_bytes(target.emit_object(_parsed(text)))
    declared = "\n".join(f"extern step {name};" for name in texts)
    about = dict(declared=declared, names=", ".join(texts), blocks=BLOCKS, threads=THREADS)
    (folder / "driver.c").write_text(DRIVER % about)
    files = ["driver.c", *(f"{name}.o" for name in objects)]
    subprocess.run([COMPILER, "-static", "-o", "run", *files, "-lm"], cwd=folder, check=True)
    places = {name: i for i, name in enumerate(texts)}
    block = max(case.counters() for case in cases)
    given = [np.int64([block, len(cases)]).tobytes()]
    for case in cases:
        numbers = [places[case.segment.name], case.counters(), len(case.buffers)]
        given.append(np.int64(numbers).tobytes())
        for array in case.buffers:
            given += [np.int64(array.nbytes).tobytes(), array.tobytes()]
    command = [QEMU, "./run"]
    done = subprocess.run(
        command, cwd=folder, input=b"".join(given), stdout=subprocess.PIPE, check=True, timeout=600
    )
    at = 0
    for case in cases:
        for array in case.buffers:
            flat = np.frombuffer(done.stdout, array.dtype, array.size, at)
            array[...] = flat.reshape(array.shape)
            at += array.nbytes
    assert at == len(done.stdout)
