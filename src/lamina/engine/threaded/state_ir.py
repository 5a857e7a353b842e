"""Time and events for the machine, as LLVM assembly. See `runtime_ir` for the notation."""

from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_STATE = """
; Timebase ticks: from the host's monotonic clock, or from the slot icount.
define dso_local i64 @time(ptr %s) noinline {{
  %offset = call i64 @word(ptr %s, i64 {at[time_offset]})
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
  %spec = getelementptr inbounds i8, ptr %s, i64 {at[timespec]}
  %ignored = call i32 %fn(i32 1, ptr %spec)
  %sec = call i64 @word(ptr %s, i64 {at[timespec]})
  %nano = call i64 @word(ptr %s, i64 {at[timespec_nanoseconds]})
  %sec.n = mul i64 %sec, 1000000000
  %total = add i64 %sec.n, %nano
  br label %done
done:
  %base = phi i64 [ %n, %count ], [ %total, %clock ]
  %ticks = udiv i64 %base, %divisor
  %t = add i64 %ticks, %offset
  ret i64 %t
}}

define dso_local void @notify(ptr %s, i64 %event, i64 %value) noinline {{
  %fn.i = call i64 @word(ptr %s, i64 {at[notify]})
  %fn = inttoptr i64 %fn.i to ptr
  %who = call i64 @word(ptr %s, i64 {at[opaque]})
  call void @leave_guest_floats(ptr %s)
  %ignored = call i64 %fn(i64 %who, i64 %event, i64 %value)
  call void @enter_guest_floats(ptr %s)
  ret void
}}
"""


def state(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _STATE.format_map(names(arch, layout))
