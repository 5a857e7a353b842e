"""What a vCPU derives from its state, as LLVM assembly: TLB flushes, the context in force, time,
events for the machine. See `runtime_ir` for the notation.
"""

from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_STATE = """
define void @tlb_flush(ptr %s) {{
  %data = getelementptr inbounds i8, ptr %s, i64 {data_tlb}
  call void @llvm.memset.p0.i64(ptr %data, i8 -1, i64 {data_bytes}, i1 false)
  call void @set_word(ptr %s, i64 {at[large_low]}, i64 -1)
  call void @set_word(ptr %s, i64 {at[large_high]}, i64 0)
  call void @icache_flush(ptr %s)
  ret void
}}

; Forgetting the fetch translations makes every code page be compared with memory again.
define void @icache_flush(ptr %s) {{
  %fetch = getelementptr inbounds i8, ptr %s, i64 {fetch_tlb}
  call void @llvm.memset.p0.i64(ptr %fetch, i8 -1, i64 {fetch_bytes}, i1 false)
  ret void
}}

define dso_local void @tlb_flush_page(ptr %s, i64 %a) noinline {{
entry:
  %low = call i64 @word(ptr %s, i64 {at[large_low]})
  %high = call i64 @word(ptr %s, i64 {at[large_high]})
  %above = icmp uge i64 %a, %low
  %below = icmp ule i64 %a, %high
  %large = and i1 %above, %below
  br i1 %large, label %all, label %one
all:
  call void @tlb_flush(ptr %s)
  ret void
one:
  %number = lshr i64 %a, 12
  %index = and i64 %number, {tlb_mask}
  %base = and i64 %a, -4096
  br label %loop
loop:
  %c = phi i64 [ 0, %one ], [ %c1, %next ]
  %d0 = mul i64 %c, {data_context}
  %d1 = mul i64 %index, {DATA_ENTRY}
  %d2 = add i64 %d0, %d1
  %d3 = add i64 %d2, {data_tlb}
  %read = getelementptr inbounds i8, ptr %s, i64 %d3
  %write = getelementptr inbounds i8, ptr %read, i64 8
  store i64 -1, ptr %read
  store i64 -1, ptr %write
  %f0 = mul i64 %c, {fetch_context}
  %f1 = mul i64 %index, {FETCH_ENTRY}
  %f2 = add i64 %f0, %f1
  %f3 = add i64 %f2, {fetch_tlb}
  %fetch = getelementptr inbounds i8, ptr %s, i64 %f3
  store i64 -1, ptr %fetch
  br label %next
next:
  %c1 = add i64 %c, 1
  %more = icmp ult i64 %c1, {contexts}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

define void @tlb_context(ptr %s) {{
  %c = call {context} @"r.context"(ptr %s)
  %data = extractvalue {context} %c, 1
  %fetch = extractvalue {context} %c, 2
  %s.i = ptrtoint ptr %s to i64
  %d0 = mul i64 %data, {data_context}
  %d1 = add i64 %d0, {data_tlb}
  %d2 = add i64 %d1, %s.i
  call void @set_word(ptr %s, i64 {at[tlb_data]}, i64 %d2)
  %f0 = mul i64 %fetch, {fetch_context}
  %f1 = add i64 %f0, {fetch_tlb}
  %f2 = add i64 %f1, %s.i
  call void @set_word(ptr %s, i64 {at[tlb_fetch]}, i64 %f2)
  ret void
}}

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
    context = arch.routines["context"]
    types = ["i1", *(f"i{r.width}" for r in context.results)]
    table = {**names(arch, layout), "context": "{ " + ", ".join(types) + " }"}
    return _STATE.format_map(table)
