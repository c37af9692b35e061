"""What a worker thread does, and the thread that calls it, as LLVM text.

The words of a pool, i32, a cache line each: 0 job, 16 stop, 32 workers asleep, 48 the blocks'
address and 50 the bytes of one (i64), 64 + 16 w the job that worker w is inside of, or 0. The job
word holds the job's number above its count of threads (8 bits).

A job's block is its function and table, then the counters of its kernels. A thread that comes
late, or was not scheduled for a while, finds all work of its job taken and passes through, so
nobody waits for it; its block is used again only when it has left. Before blocks move to other
memory a job of no threads is posted: who comes late then finds that, and reads no block.

A loop's frame, i64: 0 the step function, 1 times, 2 bytes of counters of one, 3 table entries,
4 table, 5 what is added to each entry and 6 what it is xored with between two times, 7 the entry
whose byte is 0 when the loop shall end, 8 the word that is not 0 when a time stopped in its
middle. It leaves in 9 how many times were done, in 10 whether they ended early, and in 11 the
last time that was begun: who comes late to an earlier one must know where the others stopped.

Read next: `threads.py`.
"""

from __future__ import annotations

from chainrule.compile.llvm import ATTRIBUTES

WORKER = (
    ATTRIBUTES
    + """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define internal ptr @cr_block(ptr %sync, i32 %job) #0 {
  %number = lshr i32 %job, 8
  %slot = and i32 %number, 7
  %wide = zext i32 %slot to i64
  %blocksp = getelementptr i32, ptr %sync, i64 48
  %sizep = getelementptr i32, ptr %sync, i64 50
  %blocks = load ptr, ptr %blocksp
  %size = load i64, ptr %sizep
  %offset = mul i64 %wide, %size
  %block = getelementptr i8, ptr %blocks, i64 %offset
  ret ptr %block
}

define void @cr_worker(ptr %sync, i64 %tid, i32 %first) #0 {
entry:
  %stop = getelementptr i32, ptr %sync, i64 16
  %asleep = getelementptr i32, ptr %sync, i64 32
  %line = shl i64 %tid, 4
  %mine = add i64 %line, 64
  %inside = getelementptr i32, ptr %sync, i64 %mine
  br label %idle
idle:
  %last = phi i32 [ %first, %entry ], [ %job, %done ]
  br label %spin
spin:
  %i = phi i32 [ 0, %idle ], [ %more, %again ]
  %seen = load atomic i32, ptr %sync acquire, align 4
  %same = icmp eq i32 %seen, %last
  br i1 %same, label %wait, label %enter
wait:
  %long = icmp sgt i32 %i, 2000
  br i1 %long, label %sleep, label %pause
pause:
  call void @cr_pause()
  br label %again
sleep:
  %s1 = atomicrmw add ptr %asleep, i32 1 seq_cst
  call void @cr_futex(ptr %sync, i64 128, i32 %last)
  %s2 = atomicrmw sub ptr %asleep, i32 1 seq_cst
  br label %again
again:
  %more = add i32 %i, 1
  br label %spin
enter:
  %job = phi i32 [ %seen, %spin ], [ %now, %enter ]
  %was = atomicrmw xchg ptr %inside, i32 %job seq_cst
  %now = load atomic i32, ptr %sync seq_cst, align 4
  %stays = icmp eq i32 %now, %job
  br i1 %stays, label %work, label %enter
work:
  %ended = load atomic i32, ptr %stop acquire, align 4
  %over = icmp ne i32 %ended, 0
  br i1 %over, label %out, label %run
run:
  %low = and i32 %job, 255
  %n = zext i32 %low to i64
  %part = icmp slt i64 %tid, %n
  br i1 %part, label %call, label %done
call:
  %block = call ptr @cr_block(ptr %sync, i32 %job)
  %tablep = getelementptr ptr, ptr %block, i64 1
  %counters = getelementptr i8, ptr %block, i64 64
  %fn = load ptr, ptr %block
  %table = load ptr, ptr %tablep
  call void %fn(ptr %table, ptr %counters, i64 %tid, i64 %n)
  br label %done
done:
  store atomic i32 0, ptr %inside seq_cst, align 4
  br label %idle
out:
  store atomic i32 0, ptr %inside seq_cst, align 4
  ret void
}

define void @cr_call(ptr %sync, ptr %fn, ptr %table, i64 %n, i64 %workers, i64 %bytes) #0 {
entry:
  %alone = icmp sle i64 %n, 1
  br i1 %alone, label %single, label %post
single:
  call void %fn(ptr %table, ptr null, i64 0, i64 1)
  ret void
post:
  %asleep = getelementptr i32, ptr %sync, i64 32
  %old = load i32, ptr %sync
  %number = and i32 %old, -256
  %following = add i32 %number, 256
  %count = trunc i64 %n to i32
  %fresh = or i32 %following, %count
  %block = call ptr @cr_block(ptr %sync, i32 %fresh)
  br label %worker
worker:
  %w = phi i64 [ 1, %post ], [ %w1, %free ], [ %w, %yield ]
  %any = icmp sle i64 %w, %workers
  br i1 %any, label %look, label %ready
look:
  %line = shl i64 %w, 4
  %place = add i64 %line, 64
  %insidep = getelementptr i32, ptr %sync, i64 %place
  %in = load atomic i32, ptr %insidep seq_cst, align 4
  %out = icmp eq i32 %in, 0
  br i1 %out, label %free, label %compare
compare:
  %differs = xor i32 %in, %fresh
  %slots = and i32 %differs, 1792
  %other = icmp ne i32 %slots, 0
  br i1 %other, label %free, label %yield
yield:
  %ignored = call i32 @sched_yield()
  br label %worker
free:
  %w1 = add i64 %w, 1
  br label %worker
ready:
  call void @llvm.memset.p0.i64(ptr %block, i8 0, i64 %bytes, i1 false)
  %tablep = getelementptr ptr, ptr %block, i64 1
  store ptr %fn, ptr %block
  store ptr %table, ptr %tablep
  %posted = atomicrmw xchg ptr %sync, i32 %fresh seq_cst
  %sleepers = load atomic i32, ptr %asleep seq_cst, align 4
  %wanted = icmp ne i32 %sleepers, 0
  br i1 %wanted, label %futex, label %run
futex:
  call void @cr_futex(ptr %sync, i64 129, i32 2147483647)
  br label %run
run:
  %counters = getelementptr i8, ptr %block, i64 64
  call void %fn(ptr %table, ptr %counters, i64 0, i64 %n)
  ret void
}

define void @cr_renew(ptr %sync) #0 {
entry:
  %old = load i32, ptr %sync
  %number = and i32 %old, -256
  %fresh = add i32 %number, 256
  %posted = atomicrmw xchg ptr %sync, i32 %fresh seq_cst
  ret void
}

define void @cr_loop(ptr %frame, ptr %counters, i64 %tid, i64 %n) #0 {
entry:
  %timesp = getelementptr i64, ptr %frame, i64 1
  %linesp = getelementptr i64, ptr %frame, i64 2
  %sizep = getelementptr i64, ptr %frame, i64 3
  %tablep = getelementptr ptr, ptr %frame, i64 4
  %stepsp = getelementptr ptr, ptr %frame, i64 5
  %flipsp = getelementptr ptr, ptr %frame, i64 6
  %goingp = getelementptr i64, ptr %frame, i64 7
  %faultp = getelementptr ptr, ptr %frame, i64 8
  %donep = getelementptr i64, ptr %frame, i64 9
  %turnp = getelementptr i64, ptr %frame, i64 11
  %fn = load ptr, ptr %frame
  %times = load i64, ptr %timesp
  %lines = load i64, ptr %linesp
  %size = load i64, ptr %sizep
  %table = load ptr, ptr %tablep
  %steps = load ptr, ptr %stepsp
  %flips = load ptr, ptr %flipsp
  %going = load i64, ptr %goingp
  %fault = load ptr, ptr %faultp
  %own = alloca i64, i64 %size, align 64
  %bytes = shl i64 %size, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %own, ptr %table, i64 %bytes, i1 false)
  br label %time
time:
  %t = phi i64 [ 0, %entry ], [ %t1, %moved ]
  %more = icmp slt i64 %t, %times
  br i1 %more, label %run, label %out
run:
  %at = mul i64 %t, %lines
  %here = getelementptr i8, ptr %counters, i64 %at
  %far = atomicrmw umax ptr %turnp, i64 %t seq_cst
  call void %fn(ptr %own, ptr %here, i64 %tid, i64 %n)
  %found = load atomic i64, ptr %fault acquire, align 8
  %whole = icmp eq i64 %found, 0
  br i1 %whole, label %look, label %fell
fell:
  %reached = load atomic i64, ptr %turnp seq_cst, align 8
  br label %out
look:
  %asks = icmp sge i64 %going, 0
  br i1 %asks, label %ask, label %move
ask:
  %place = getelementptr ptr, ptr %own, i64 %going
  %goes = load ptr, ptr %place
  %word = load volatile i8, ptr %goes
  %stays = icmp ne i8 %word, 0
  br i1 %stays, label %move, label %last
last:
  %t2 = add i64 %t, 1
  br label %out
move:
  %j = phi i64 [ 0, %look ], [ 0, %ask ], [ %j1, %entries ]
  %left = icmp slt i64 %j, %size
  br i1 %left, label %entries, label %moved
entries:
  %p = getelementptr i64, ptr %own, i64 %j
  %sp = getelementptr i64, ptr %steps, i64 %j
  %fp = getelementptr i64, ptr %flips, i64 %j
  %x = load i64, ptr %p
  %s = load i64, ptr %sp
  %f = load i64, ptr %fp
  %y = add i64 %x, %s
  %z = xor i64 %y, %f
  store i64 %z, ptr %p
  %j1 = add i64 %j, 1
  br label %move
moved:
  %t1 = add i64 %t, 1
  br label %time
out:
  %done = phi i64 [ %t, %time ], [ %reached, %fell ], [ %t2, %last ]
  %ended = phi i64 [ 0, %time ], [ 1, %fell ], [ 1, %last ]
  %one = icmp eq i64 %tid, 0
  br i1 %one, label %tell, label %leave
tell:
  store i64 %done, ptr %donep
  %endedp = getelementptr i64, ptr %donep, i64 1
  store i64 %ended, ptr %endedp
  br label %leave
leave:
  ret void
}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define void @cr_stop(ptr %sync) #0 {
entry:
  %stop = getelementptr i32, ptr %sync, i64 16
  store atomic i32 1, ptr %stop release, align 4
  %old = atomicrmw add ptr %sync, i32 256 seq_cst
  call void @cr_futex(ptr %sync, i64 129, i32 2147483647)
  ret void
}
"""
)
