"""Waiting for interrupts, waking who waits, and the vCPU's own timer, as LLVM assembly.

Nothing here takes the interpreter lock. How a sleeping vCPU is woken is told in `engine.vcpu`:
`wake` and `idle` are the two sides in compiled code. It is used where the word `own_waits` is 1:
between `begin_run` and `end_run` of an engine whose machine has real time (`ThreadedEngine.run`).

**The timer.** While guest code runs, a host thread of the vCPU's own (`TimerThread`) sits in
`timer_loop` and makes `pending` true when the time has come. A vCPU that sleeps sees to it by itself,
by the futex's time limit, and one in Python asks the clock; both have 0 in `timer`.

    the vCPU, `arm`           timer = deadline | reads `timer_until`: if it is later, turn += 1, wakes
    the thread, `timer_loop`  reads turn | reads timer | timer_until = then | reads timer: changed?
                              begins anew | sleeps as long as turn is what it was, or until then

All of these are sequentially consistent, so an earlier deadline is seen by one of the two; a later
one lets the thread wake once for nothing. It fires by changing `timer` from the deadline that it
has found due to 0, which fails if the vCPU has set another one meanwhile, and then sets `pending`.
The vCPU looks at the clock itself before it takes an interrupt.

See `runtime_ir` for the notation.
"""

from lamina.base import futex
from lamina.base.exits import Exit
from lamina.engine.threaded.layout import EVENTS, ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.engine.vcpu import REQUEST_SAMPLE
from lamina.isa.arch import Arch

MOST_TICKS = 1 << 36  # nobody sleeps longer in one piece: two hours of 100 ns ticks

_TIME = """
; CLOCK_MONOTONIC in ticks of the timebase, or in deterministic mode the retired instructions.
define internal i64 @base_time(ptr %s) noinline {{
  %spec = alloca [2 x i64]  ; not in the state: the timer's thread looks at the clock as well
  %divisor = call i64 @word(ptr %s, i64 {at[time_divisor]})
  %det = call i64 @word(ptr %s, i64 {at[time_deterministic]})
  %by.count = icmp ne i64 %det, 0
  br i1 %by.count, label %count, label %clock
count:
  %n = call i64 @word(ptr %s, i64 {slot[icount]})
  br label %done
clock:
  %fn.i = call i64 @word(ptr %s, i64 {at[clock_gettime]})
  %fn = inttoptr i64 %fn.i to ptr
  %ignored = call i32 %fn(i32 1, ptr %spec)
  %sec = load i64, ptr %spec
  %nano.p = getelementptr inbounds i64, ptr %spec, i64 1
  %nano = load i64, ptr %nano.p
  %sec.n = mul i64 %sec, 1000000000
  %total = add i64 %sec.n, %nano
  br label %done
done:
  %base = phi i64 [ %n, %count ], [ %total, %clock ]
  %ticks = udiv i64 %base, %divisor
  ret i64 %ticks
}}
; Timebase ticks of the guest.
define dso_local i64 @time(ptr %s) noinline {{
  %base = call i64 @base_time(ptr %s)
  %offset = call i64 @word(ptr %s, i64 {at[time_offset]})
  %t = add i64 %base, %offset
  ret i64 %t
}}
; Nanoseconds of CLOCK_MONOTONIC when the guest's time will be %d; 0: it is, or is past that. %base
; is `base_time` now.
define internal i64 @host_time(ptr %s, i64 %base, i64 %d) noinline {{
  %offset = call i64 @word(ptr %s, i64 {at[time_offset]})
  %now = add i64 %base, %offset
  %due = icmp ule i64 %d, %now
  %left = sub i64 %d, %now
  %long = icmp ugt i64 %left, {MOST_TICKS}
  %some = select i1 %long, i64 {MOST_TICKS}, i64 %left
  %then = add i64 %base, %some
  %divisor = call i64 @word(ptr %s, i64 {at[time_divisor]})
  %nano = mul i64 %then, %divisor
  %at = select i1 %due, i64 0, i64 %nano
  ret i64 %at
}}
"""

_WAKE = """
; Sleep while the 32 bits at %p hold %v, at most until a time of CLOCK_MONOTONIC in nanoseconds; 0:
; for ever. May come back for no reason.
define internal void @futex_wait(ptr %s, ptr %p, i32 %v, i64 %until) noinline {{
  %spec = alloca [2 x i64]
  %sec = udiv i64 %until, 1000000000
  %nano = urem i64 %until, 1000000000
  store i64 %sec, ptr %spec
  %nano.p = getelementptr inbounds i64, ptr %spec, i64 1
  store i64 %nano, ptr %nano.p
  %ever = icmp eq i64 %until, 0
  %limit = select i1 %ever, ptr null, ptr %spec
  %value = zext i32 %v to i64
  %fn.i = call i64 @word(ptr %s, i64 {at[syscall]})
  %fn = inttoptr i64 %fn.i to ptr
  %number = call i64 @word(ptr %s, i64 {at[futex]})
  %ignored = call i64 (i64, ...) %fn(i64 %number, ptr %p, i64 {WAIT_UNTIL}, i64 %value, ptr %limit, ptr null, i64 {ANY})
  ret void
}}
define internal void @futex_wake(ptr %s, ptr %p) noinline {{
  %fn.i = call i64 @word(ptr %s, i64 {at[syscall]})
  %fn = inttoptr i64 %fn.i to ptr
  %number = call i64 @word(ptr %s, i64 {at[futex]})
  %ignored = call i64 (i64, ...) %fn(i64 %number, ptr %p, i64 {WAKE}, i64 1, ptr null, ptr null, i64 0)
  ret void
}}
; Have the vCPU of %t look at what was written for it, now also if it sleeps; %s is who does it.
define internal void @wake(ptr %s, ptr %t) noinline {{
  %pend.p = getelementptr inbounds i8, ptr %t, i64 {slot[pending]}
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  %asleep.p = getelementptr inbounds i8, ptr %t, i64 {slot[asleep]}
  %asleep = load atomic i64, ptr %asleep.p seq_cst, align 8
  %awake = icmp eq i64 %asleep, 0
  br i1 %awake, label %done, label %try
try:
  %was = atomicrmw xchg ptr %asleep.p, i64 0 seq_cst
  %other = icmp eq i64 %was, 0
  br i1 %other, label %done, label %call
call:
  call void @futex_wake(ptr %s, ptr %asleep.p)
  br label %done
done:
  ret void
}}
"""

_IDLE = """
; The guest waits for an interrupt, and its exit for that was met at a boundary: sleep here until
; there is something to do, then 1. 0: it is another exit, or the machine's business.
define internal i1 @idle(ptr %s, i64 %exit) noinline cold {{
entry:
  %own = call i64 @word(ptr %s, i64 {at[own_waits]})
  %is.own = icmp ne i64 %own, 0
  %waits = icmp eq i64 %exit, {exit_idle}
  %here = and i1 %is.own, %waits
  br i1 %here, label %begin, label %no
no:
  ret i1 false
begin:
  call void @count(ptr %s, i64 {at[waits]})
  %timer.p = getelementptr inbounds i8, ptr %s, i64 {slot[timer]}
  store atomic i64 0, ptr %timer.p seq_cst, align 8
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  %req.p = getelementptr inbounds i8, ptr %s, i64 {slot[requests]}
  %asleep.p = getelementptr inbounds i8, ptr %s, i64 {slot[asleep]}
  br label %look
look:
  %seen = atomicrmw xchg ptr %pend.p, i64 0 seq_cst
  call void @take_mail(ptr %s)
  %req = load atomic i64, ptr %req.p seq_cst, align 8
  %asks = and i64 %req, {but_samples}
  %quiet = icmp eq i64 %asks, 0
  br i1 %quiet, label %clock, label %end
clock:  ; before it is asked what is due, so that what falls due between is not slept through
  %base = call i64 @base_time(ptr %s)
  %deadline = call {{ i1, i64 }} @"r.deadline"(ptr %s)
  %d = extractvalue {{ i1, i64 }} %deadline, 1
  %until = call i64 @host_time(ptr %s, i64 %base, i64 %d)
  %wakes = call {{ i1, i1 }} @"r.wakes"(ptr %s)
  %woken = extractvalue {{ i1, i1 }} %wakes, 1
  br i1 %woken, label %end, label %prepare
prepare:
  call void @leave_guest(ptr %s)
  %before = atomicrmw xchg ptr %asleep.p, i64 1 seq_cst
  %pend = load atomic i64, ptr %pend.p seq_cst, align 8
  %nothing = icmp eq i64 %pend, 0
  br i1 %nothing, label %sleep, label %awake
sleep:
  call void @futex_wait(ptr %s, ptr %asleep.p, i32 1, i64 %until)
  br label %awake
awake:
  store atomic i64 0, ptr %asleep.p seq_cst, align 8
  call void @enter_guest(ptr %s)
  br label %look
end:
  call void @arm_again(ptr %s)
  ret i1 true
}}
"""

_TIMER = """
; From now on %d is the time at which the vCPU's own timer is due. Returns `base_time`.
define internal i64 @arm(ptr %s, i64 %d) noinline {{
  %base = call i64 @base_time(ptr %s)
  %then = call i64 @host_time(ptr %s, i64 %base, i64 %d)
  %due = icmp eq i64 %then, 0
  %value = select i1 %due, i64 0, i64 %d
  %timer.p = getelementptr inbounds i8, ptr %s, i64 {slot[timer]}
  %old = atomicrmw xchg ptr %timer.p, i64 %value seq_cst
  %until.p = getelementptr inbounds i8, ptr %s, i64 {at[timer_until]}
  %until = load atomic i64, ptr %until.p seq_cst, align 8
  %earlier = icmp ult i64 %then, %until
  %late = xor i1 %due, true
  %tell = and i1 %earlier, %late
  br i1 %tell, label %wake, label %done
wake:
  call void @turn(ptr %s)
  br label %done
done:
  ret i64 %base
}}
define internal void @arm_again(ptr %s) noinline {{
  %deadline = call {{ i1, i64 }} @"r.deadline"(ptr %s)
  %d = extractvalue {{ i1, i64 }} %deadline, 1
  %ignored = call i64 @arm(ptr %s, i64 %d)
  ret void
}}
; Have the timer's thread look at everything again.
define dso_local void @turn(ptr %s) noinline {{
  %turn.p = getelementptr inbounds i8, ptr %s, i64 {at[timer_turn]}
  %was = atomicrmw add ptr %turn.p, i32 1 seq_cst
  call void @futex_wake(ptr %s, ptr %turn.p)
  ret void
}}
; What the timer's thread does, until `timer_ends` is set.
define dso_local i64 @timer_loop(ptr %s) {{
entry:
  %turn.p = getelementptr inbounds i8, ptr %s, i64 {at[timer_turn]}
  %ends.p = getelementptr inbounds i8, ptr %s, i64 {at[timer_ends]}
  %timer.p = getelementptr inbounds i8, ptr %s, i64 {slot[timer]}
  %until.p = getelementptr inbounds i8, ptr %s, i64 {at[timer_until]}
  br label %look
look:
  %turn = load atomic i32, ptr %turn.p seq_cst, align 4
  %ends = load atomic i64, ptr %ends.p seq_cst, align 8
  %going = icmp eq i64 %ends, 0
  br i1 %going, label %read, label %end
end:
  ret i64 0
read:
  %d = load atomic i64, ptr %timer.p seq_cst, align 8
  %armed = icmp ne i64 %d, 0
  br i1 %armed, label %clock, label %publish
clock:
  %base = call i64 @base_time(ptr %s)
  %then = call i64 @host_time(ptr %s, i64 %base, i64 %d)
  %due = icmp eq i64 %then, 0
  br i1 %due, label %fire, label %publish
fire:
  %pair = cmpxchg ptr %timer.p, i64 %d, i64 0 seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %tell, label %look
tell:
  call void @wake(ptr %s, ptr %s)
  br label %look
publish:
  %limit = phi i64 [ 0, %read ], [ %then, %clock ]
  %shown = phi i64 [ -1, %read ], [ %then, %clock ]
  %before = atomicrmw xchg ptr %until.p, i64 %shown seq_cst
  %d2 = load atomic i64, ptr %timer.p seq_cst, align 8
  %same = icmp eq i64 %d2, %d
  br i1 %same, label %sleep, label %look
sleep:
  call void @futex_wait(ptr %s, ptr %turn.p, i32 %turn, i64 %limit)
  br label %look
}}

define internal void @begin_run(ptr %s) {{
  call void @enter_guest(ptr %s)
  %own = call i64 @word(ptr %s, i64 {at[own_waits]})
  %is.own = icmp ne i64 %own, 0
  br i1 %is.own, label %arm, label %done
arm:
  call void @arm_again(ptr %s)
  br label %done
done:
  ret void
}}
define internal void @end_run(ptr %s) {{
  call void @leave_guest(ptr %s)
  %own = call i64 @word(ptr %s, i64 {at[own_waits]})
  %is.own = icmp ne i64 %own, 0
  br i1 %is.own, label %disarm, label %done
disarm:
  %timer.p = getelementptr inbounds i8, ptr %s, i64 {slot[timer]}
  store atomic i64 0, ptr %timer.p seq_cst, align 8
  br label %done
done:
  ret void
}}

; The guest's CPU tells the machine of an event (`layout.EVENTS`). Its timer is ours; now and then,
; when `slice_end` has come, the vCPU goes out to the machine.
define dso_local void @notify(ptr %s, i64 %event, i64 %value) noinline {{
  %own = call i64 @word(ptr %s, i64 {at[own_waits]})
  %is.own = icmp ne i64 %own, 0
  %is.timer = icmp eq i64 %event, {timer_event}
  %here = and i1 %is.own, %is.timer
  br i1 %here, label %timer, label %tell
timer:
  %base = call i64 @arm(ptr %s, i64 %value)
  %slice = call i64 @word(ptr %s, i64 {at[slice_end]})
  %over = icmp uge i64 %base, %slice
  br i1 %over, label %out, label %done
out:
  call void @set_word(ptr %s, i64 {at[slice_end]}, i64 -1)
  %exit = call i64 @word(ptr %s, i64 {at[exit_code]})
  %free = icmp eq i64 %exit, 0
  %code = select i1 %free, i64 {exit_request}, i64 %exit
  call void @set_word(ptr %s, i64 {at[exit_code]}, i64 %code)
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  br label %done
tell:
  %fn.i = call i64 @word(ptr %s, i64 {at[notify]})
  %fn = inttoptr i64 %fn.i to ptr
  %who = call i64 @word(ptr %s, i64 {at[opaque]})
  call void @leave_guest_floats(ptr %s)
  %ignored = call i64 %fn(i64 %who, i64 %event, i64 %value)
  call void @enter_guest_floats(ptr %s)
  br label %done
done:
  ret void
}}
"""


def waits(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    table = names(arch, layout) | {
        "MOST_TICKS": MOST_TICKS,
        "WAIT_UNTIL": futex.WAIT_UNTIL,
        "WAKE": futex.WAKE,
        "ANY": futex.ANY,
        "exit_idle": int(Exit.IDLE),
        "but_samples": ~REQUEST_SAMPLE,
        "timer_event": EVENTS.index("stimecmp"),
    }
    return (_TIME + _WAKE + _IDLE + _TIMER).format_map(table)
