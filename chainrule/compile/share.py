"""How the threads of one run share a kernel's units, as LLVM text.

A kernel's counters, a cache line each: how many units are done, then for each thread how many of
its own share are taken. A thread takes from its own share first, so that what it wrote last time is
near, then from the others': one that is not scheduled holds the rest up no longer than the piece
it has taken. All wait until all is done.

A long kernel can be left when the halt word says so: what is taken then counts as done without
having been computed, and the fault word is set before, so that no kernel after it runs on that.
Read next: `module.py`.
"""

from __future__ import annotations

from string import Template

FAULT_SLOT = 1  # of the table: the word that stops a step in its middle, where checks report
HALT_SLOT = 2  # the word by which a step is asked to stop
HALTED = -1  # what it then leaves in the fault word
PIECES = 8  # in which a thread takes its share
SMALL_PIECES = 64  # of a long kernel, that a halt is heard in time

_TEXT = Template("""
define internal void @cr_${name}(
    ptr %fn, ptr %table, ptr %given, i64 %units, i64 %tid, i64 %n) #0 {
entry:
  %one = icmp sle i64 %n, 1
  br i1 %one, label %alone, label %owners
alone:
${alone}
owners:
${counters}
  %v = phi i64 [ 0, %entry ], ${from_alone}[ %v1, %next ]
  %more = icmp slt i64 %v, %n
  br i1 %more, label %owner, label %spin
owner:
  %sum = add i64 %tid, %v
  %who = urem i64 %sum, %n
  %a = mul i64 %who, %units
  %lo = udiv i64 %a, %n
  %b = add i64 %a, %units
  %hi = udiv i64 %b, %n
  %size = sub i64 %hi, %lo
  %up = add i64 %size, ${less}
  %chunk = udiv i64 %up, ${pieces}
  %place = add i64 %who, 1
  %at = shl i64 %place, 6
  %counter = getelementptr i8, ptr %counters, i64 %at
  br label %claim
claim:
  %taken = atomicrmw add ptr %counter, i64 %chunk monotonic
  %left = icmp slt i64 %taken, %size
  br i1 %left, label %work, label %next
work:
  %from = add i64 %lo, %taken
  %end = add i64 %from, %chunk
  %over = icmp sgt i64 %end, %hi
  %to = select i1 %over, i64 %hi, i64 %end
${call}
  %length = sub i64 %to, %from
  %before = atomicrmw add ptr %counters, i64 %length acq_rel
  br label %claim
next:
  %v1 = add i64 %v, 1
  br label %owners
spin:
  %i = phi i32 [ 0, %owners ], [ %j, %again ]
  %done = load atomic i64, ptr %counters acquire, align 8
  %whole = icmp sge i64 %done, %units
  br i1 %whole, label %out, label %wait
wait:
  %long = icmp sgt i32 %i, 2000
  br i1 %long, label %yield, label %pause
pause:
  call void @cr_pause()
  br label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  %j = add i32 %i, 1
  br label %spin
out:
  ret void
}
""")

_RUN = "  call void %fn(ptr %table, i64 %from, i64 %to)"
_RUN_UNLESS_HALTED = f"""\
  %haltp = getelementptr ptr, ptr %table, i64 {HALT_SLOT}
  %halt = load ptr, ptr %haltp
  %asked = load volatile i64, ptr %halt
  %goes = icmp eq i64 %asked, 0
  br i1 %goes, label %run, label %skip
skip:
  %faultp = getelementptr ptr, ptr %table, i64 {FAULT_SLOT}
  %fault = load ptr, ptr %faultp
  store volatile i64 {HALTED}, ptr %fault
  br label %ran
run:
{_RUN}
  br label %ran
ran:"""
_ALL_AT_ONCE = """\
  call void %fn(ptr %table, i64 0, i64 %units)
  ret void"""
_OWN_COUNTERS = """\
  %own = alloca [16 x i64], align 64
  store [16 x i64] zeroinitializer, ptr %own
  br label %owners"""


def _text(name: str, alone: str, call: str, pieces: int) -> str:
    goes_on = alone is _OWN_COUNTERS
    own = "[ %own, %alone ], " if goes_on else ""
    return _TEXT.substitute(
        name=name,
        alone=alone,
        counters=f"  %counters = phi ptr [ %given, %entry ], {own}[ %counters, %next ]",
        from_alone="[ 0, %alone ], " if goes_on else "",
        less=pieces - 1,
        pieces=pieces,
        call=call,
    )


SHARE = _text("share", _ALL_AT_ONCE, _RUN, PIECES)
SHARE_LONG = _text("share_long", _OWN_COUNTERS, _RUN_UNLESS_HALTED, SMALL_PIECES)
