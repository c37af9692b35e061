"""What differs between the processors that native code is made for: one table, `MACHINES`.

All other text is the same everywhere; it calls the functions that `System.text` defines. A new
processor is a row of the table, with a `System` where its family is new. Read next: `threads.py`.
"""

from __future__ import annotations

from typing import NamedTuple


class System(NamedTuple):
    """Linux on one family of processors. The parts are LLVM instructions."""

    processor: str  # as `platform.machine()` calls it
    pause: str  # a moment's wait while another thread works
    flush: str  # %old = the state of the floating-point unit; from here subnormal numbers are 0
    restore: str  # the state %old again
    clock: str  # counts on, at a steady rate
    futex: int  # the number of that system call
    declared: str

    @property
    def text(self) -> str:
        """The functions that every module calls by the same name."""
        return TEXT.format(**self._asdict())


class Machine(NamedTuple):
    """A processor: the least that has such vectors, or the one at hand."""

    cpu: str
    features: str  # what LLVM is told besides the CPU's name
    needs: tuple[str, ...]  # features without which its code does not run
    vector: int  # bytes
    registers: int
    system: System


TEXT = """
define internal void @cr_pause() #0 {{
  {pause}
  ret void
}}
define internal i64 @cr_flush() #0 {{
  {flush}
  ret i64 %old
}}
define internal void @cr_restore(i64 %old) #0 {{
  {restore}
  ret void
}}
define internal i64 @cr_clock() #0 {{
  {clock}
  ret i64 %now
}}
define internal void @cr_futex(ptr %word, i64 %operation, i32 %count) #0 {{
  call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i64 %operation, i32 %count, ptr null)
  ret void
}}
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
{declared}
"""

X86 = System(
    processor="x86_64",
    pause="call void @llvm.x86.sse2.pause()",
    flush="""%state = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %state)
  %bits = load i32, ptr %state
  %flushed = or i32 %bits, 32832 ; subnormal results and subnormal inputs
  store i32 %flushed, ptr %state
  call void @llvm.x86.sse.ldmxcsr(ptr %state)
  %old = zext i32 %bits to i64""",
    restore="""%state = alloca i32
  %bits = trunc i64 %old to i32
  store i32 %bits, ptr %state
  call void @llvm.x86.sse.ldmxcsr(ptr %state)""",
    clock="%now = call i64 @llvm.readcyclecounter()",
    futex=202,
    declared="""declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare i64 @llvm.readcyclecounter()""",
)

ARM = System(
    processor="aarch64",
    pause="call void @llvm.aarch64.isb(i32 15)",  # its `yield` costs no time on most cores
    flush="""%old = call i64 @llvm.aarch64.get.fpcr()
  %flushed = or i64 %old, 16777216
  call void @llvm.aarch64.set.fpcr(i64 %flushed)""",
    restore="call void @llvm.aarch64.set.fpcr(i64 %old)",
    clock="%now = call i64 @llvm.readsteadycounter()",  # the cycle counter is not a user's to read
    futex=98,
    declared="""declare void @llvm.aarch64.isb(i32 immarg)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare i64 @llvm.readsteadycounter()""",
)

WIDE = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "fma")
AVX512 = Machine("skylake-avx512", "", needs=WIDE, vector=64, registers=32, system=X86)
AVX2 = Machine("haswell", "", needs=("avx2", "fma"), vector=32, registers=16, system=X86)
NEON = Machine("generic", "", needs=(), vector=16, registers=32, system=ARM)
MACHINES = (AVX512, AVX2, NEON)  # of those that a CPU can be, the first is taken
