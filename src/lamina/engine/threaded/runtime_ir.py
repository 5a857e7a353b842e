"""Dispatch and boundaries of the threaded engine, as LLVM assembly: the heart of its runtime.

The other hand-written parts are `fetch_ir` (code pages, decoding, single steps, entry points),
`memory_ir` (slow paths of guest memory), `tlb_ir` and `flush_ir` (the TLB), `remote_ir` (fences for
other vCPUs) and `wait_ir` (time, the timer, waiting).
Everything that knows the instruction set comes in by the generated functions `@r.*` (routines) and
`@h.*` (handlers) and the decoder's tables. Names of state words are replaced by their byte offsets: `{at[tlb_data]}`;
`names` has all that the texts refer to.
"""

from lamina.base.bits import PAGE_SIZE
from lamina.base.exits import Exit
from lamina.base.units import GIB, MIB
from lamina.engine.threaded.layout import (
    ARENA_FULL,
    CODE_PAGE,
    CONTENT_OFFSET,
    CROSSING_OFFSET,
    DATA_ENTRY,
    ENTERED,
    EPOCH_OFFSET,
    FETCH_ENTRY,
    LOG_BYTES,
    LOG_ENTRIES,
    MISSING_PACK,
    PAGE_RECORDS,
    RECORD,
    REGION,
    REWRITTEN_OFFSET,
    SAMPLE,
    SETTLED,
    SOURCE_OFFSET,
    SPACE,
    SPACE_LARGE,
    SPACES,
    TLB_ENTRIES,
    ThreadedLayout,
)
from lamina.engine.vcpu import (
    REQUEST_ICACHE_FLUSH,
    REQUEST_SAMPLE,
    REQUEST_STOP,
    REQUEST_TLB_FLUSH,
)
from lamina.isa.arch import EVERYWHERE, FETCH, READ, WRITE, Arch

_BOUNDARY = """
; The state words that the code below names.
define internal void @set_word(ptr %s, i64 %at, i64 %v) alwaysinline {{
  %p = getelementptr inbounds i8, ptr %s, i64 %at
  store i64 %v, ptr %p
  ret void
}}
define internal i64 @word(ptr %s, i64 %at) alwaysinline {{
  %p = getelementptr inbounds i8, ptr %s, i64 %at
  %v = load i64, ptr %p
  ret i64 %v
}}
; The code page at address %base, where `pc_bias` is %bias: that of a record is pc - (record >> 3).
define internal ptr @page_by_bias(i64 %base, i64 %bias) alwaysinline {{
  %number = sub i64 %base, %bias
  %page.i = shl i64 %number, 3
  %page = inttoptr i64 %page.i to ptr
  ret ptr %page
}}
; One more of what `layout.COUNTERS` names; on slow paths only.
define internal void @count(ptr %s, i64 %at) alwaysinline {{
  %p = getelementptr inbounds i8, ptr %s, i64 %at
  %v = load i64, ptr %p
  %v1 = add i64 %v, 1
  store i64 %v1, ptr %p
  ret void
}}

; Continue at a guest address. The address travels as a pointer-typed second argument.
define dso_local preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b) {{
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  %pend = load atomic i64, ptr %pend.p monotonic, align 8
  %quiet = icmp sgt i64 %b, %pend
  br i1 %quiet, label %go, label %busy, !prof !0
busy:
  %r0 = musttail call preserve_nonecc i64 @boundary_dispatch(ptr %s, ptr %pc, i64 %b)
  ret i64 %r0
go:
  %a = ptrtoint ptr %pc to i64
  %fetch.p = getelementptr inbounds i8, ptr %s, i64 {at[tlb_fetch]}
  %table = load ptr, ptr %fetch.p
  %number = lshr i64 %a, 12
  %index = and i64 %number, {tlb_mask}
  %entry = getelementptr inbounds [2 x i64], ptr %table, i64 %index
  %tag = load i64, ptr %entry
  %base = and i64 %a, -4096
  %hit = icmp eq i64 %tag, %base
  br i1 %hit, label %found, label %miss, !prof !0
miss:
  %r1 = musttail call preserve_nonecc i64 @fetch_miss(ptr %s, ptr %pc, i64 %b)
  ret i64 %r1
found:
  %bias.p = getelementptr inbounds i8, ptr %entry, i64 8
  %bias = load i64, ptr %bias.p
  call void @set_word(ptr %s, i64 {at[pc_bias]}, i64 %bias)
  %distance = sub i64 %a, %bias
  %rec.i = shl i64 %distance, 3
  %rec = inttoptr i64 %rec.i to ptr
  %off = load i32, ptr %rec
  %off.w = sext i32 %off to i64
  %target = getelementptr i8, ptr @h.decode, i64 %off.w
  %r2 = musttail call preserve_nonecc i64 %target(ptr %s, ptr %rec, i64 %b)
  ret i64 %r2
}}

; Something is pending or the budget is used up.
define internal preserve_nonecc i64 @boundary_dispatch(ptr %s, ptr %pc, i64 %b) noinline cold {{
  %a = ptrtoint ptr %pc to i64
  call void @set_word(ptr %s, i64 {slot[pc]}, i64 %a)
  %end = call i64 @word(ptr %s, i64 {slot[icount_end]})
  %count = sub i64 %end, %b
  call void @set_word(ptr %s, i64 {slot[icount]}, i64 %count)
  %code = call i64 @boundary(ptr %s, i64 %b)
  %go = icmp eq i64 %code, 0
  br i1 %go, label %on, label %out
out:
  ret i64 %code
on:
  %a2 = call i64 @word(ptr %s, i64 {slot[pc]})
  call void @baseline_look(ptr %s, i64 %a2, i64 %b)
  %pc2 = inttoptr i64 %a2 to ptr
  %r = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc2, i64 %b)
  ret i64 %r
}}

; Take what is pending; the slot pc is exact. Returns 0 to go on, else an exit code.
define internal i64 @boundary(ptr %s, i64 %b) noinline {{
  call void @count(ptr %s, i64 {at[boundaries]})
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  %was = atomicrmw xchg ptr %pend.p, i64 0 seq_cst
  %exit.p = getelementptr inbounds i8, ptr %s, i64 {at[exit_code]}
  %exit = load i64, ptr %exit.p
  %exits = icmp ne i64 %exit, 0
  br i1 %exits, label %leave, label %requests
leave:
  store i64 0, ptr %exit.p
  %waited = call i1 @idle(ptr %s, i64 %exit)
  br i1 %waited, label %requests, label %out
requests:
  call void @take_mail(ptr %s)
  %req.p = getelementptr inbounds i8, ptr %s, i64 {slot[requests]}
  %req = atomicrmw xchg ptr %req.p, i64 0 seq_cst
  %none = icmp eq i64 %req, 0
  br i1 %none, label %budget, label %some
some:
  %t = and i64 %req, {tlb_request}
  %t.on = icmp ne i64 %t, 0
  br i1 %t.on, label %flush, label %after.flush
flush:  ; who asks for it may have changed the state, too
  call void @tlb_flush(ptr %s)
  call void @tlb_space(ptr %s)
  br label %after.flush
after.flush:
  %i = and i64 %req, {icache_request}
  %i.on = icmp ne i64 %i, 0
  br i1 %i.on, label %iflush, label %after.iflush
iflush:
  call void @icache_flush(ptr %s)
  br label %after.iflush
after.iflush:
  %stop = and i64 %req, {stop_request}
  %stop.on = icmp ne i64 %stop, 0
  %come = and i64 %req, {out_requests}
  %stops = icmp ne i64 %come, 0
  %out.code = select i1 %stop.on, i64 {exit_request}, i64 {SAMPLE}
  br i1 %stops, label %out, label %budget
budget:
  %spent = icmp sle i64 %b, 0
  br i1 %spent, label %out, label %interrupts
interrupts:
  %before = call i64 @word(ptr %s, i64 {slot[pc]})
  %ignored = call {{ i1 }} @"r.interrupt"(ptr %s)
  %after = call i64 @word(ptr %s, i64 {slot[pc]})
  %watch = call i64 @word(ptr %s, i64 {at[watch_traps]})
  %watched = icmp ne i64 %watch, 0
  %taken = icmp ne i64 %before, %after
  %one = zext i1 %taken to i64
  %interrupts.0 = call i64 @word(ptr %s, i64 {at[interrupts]})
  %interrupts.1 = add i64 %interrupts.0, %one
  call void @set_word(ptr %s, i64 {at[interrupts]}, i64 %interrupts.1)
  %tell = and i1 %watched, %taken
  br i1 %tell, label %out, label %on
on:
  ret i64 0
out:
  %code = phi i64 [ %exit, %leave ], [ %out.code, %after.iflush ], [ {exit_limit}, %budget ], [ {exit_trap}, %interrupts ]
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  ret i64 %code
}}

; An instruction was abandoned (a trap): it costs budget but does not retire.
define dso_local preserve_nonecc i64 @left(ptr %s, ptr %none, i64 %b) noinline cold {{
  call void @count(ptr %s, i64 {at[exceptions]})
  %end = call i64 @word(ptr %s, i64 {slot[icount_end]})
  %end1 = sub i64 %end, 1
  call void @set_word(ptr %s, i64 {slot[icount_end]}, i64 %end1)
  %watch = call i64 @word(ptr %s, i64 {at[watch_traps]})
  %watched = icmp ne i64 %watch, 0
  br i1 %watched, label %tell, label %on
tell:
  %code = call i64 @word(ptr %s, i64 {at[exit_code]})
  %other = icmp ne i64 %code, 0
  %new = select i1 %other, i64 %code, i64 {exit_trap}
  call void @set_word(ptr %s, i64 {at[exit_code]}, i64 %new)
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  br label %on
on:
  %a = call i64 @word(ptr %s, i64 {slot[pc]})
  %pc = inttoptr i64 %a to ptr
  %b1 = sub i64 %b, 1
  %r = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b1)
  ret i64 %r
}}
"""

HEAD = """
declare i32 @memcmp(ptr, ptr, i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
"""


def names(arch: Arch, layout: ThreadedLayout) -> dict[str, object]:
    """What the templates here and in `memory_ir` refer to."""
    translate = arch.routines["translate"]
    types = ["i1", *(f"i{r.width}" for r in translate.results)]
    return {
        "slot": {k: 8 * v for k, v in arch.layout.index.items()},
        "at": layout.at,
        "translate": "{ " + ", ".join(types) + " }",
        "cache_type": types[3],
        "tlb_mask": TLB_ENTRIES - 1,
        "record_per_byte": RECORD // 2,
        "records_bytes": PAGE_RECORDS * RECORD,
        "edge0": PAGE_RECORDS * RECORD,
        "edge1": (PAGE_RECORDS + 1) * RECORD,
        "scratch": layout.scratch,
        "data_tlb": layout.data_tlb,
        "fetch_tlb": layout.fetch_tlb,
        "data_stride": layout.data_stride,
        "fetch_stride": layout.fetch_stride,
        "data_bytes": TLB_ENTRIES * DATA_ENTRY,
        "fetch_bytes": TLB_ENTRIES * FETCH_ENTRY,
        "tables": layout.tables,
        "counts": layout.counts,
        "spaces": layout.spaces,
        "regions": layout.regions,
        "always": (1 << 63) - 1,
        "exit_limit": int(Exit.LIMIT),
        "exit_request": int(Exit.REQUEST),
        "exit_trap": int(Exit.TRAP),
        "tlb_request": REQUEST_TLB_FLUSH,
        "icache_request": REQUEST_ICACHE_FLUSH,
        "stop_request": REQUEST_STOP,
        "out_requests": REQUEST_STOP | REQUEST_SAMPLE,
        "SAMPLE": SAMPLE,
        "illegal_cause": arch.illegal_cause,
        "long_mask": arch.long_mask,
        "long_match": arch.long_match,
        "contexts": arch.contexts,
        "space_contexts": arch.space_contexts,
        "SPACE": SPACE,
        "SPACES": SPACES,
        "SPACE_LARGE": SPACE_LARGE,
        "LOG_BYTES": LOG_BYTES,
        "LOG_ENTRIES": LOG_ENTRIES,
        "EPOCH_OFFSET": EPOCH_OFFSET,
        "CROSSING_OFFSET": CROSSING_OFFSET,
        "last_half": SOURCE_OFFSET + PAGE_SIZE - 2,
        "two_records": 2 * RECORD,
        "MIB2": 2 * MIB,
        "GIB": GIB,
        "RECORD": RECORD,
        "REGION": REGION,
        "CODE_PAGE": CODE_PAGE,
        "REWRITTEN_OFFSET": REWRITTEN_OFFSET,
        "SETTLED": SETTLED,
        "SOURCE_OFFSET": SOURCE_OFFSET,
        "CONTENT_OFFSET": CONTENT_OFFSET,
        "ARENA_FULL": ARENA_FULL,
        "MISSING_PACK": MISSING_PACK,
        "ENTERED": ENTERED,
        "READ": READ,
        "WRITE": WRITE,
        "FETCH": FETCH,
        "EVERYWHERE": EVERYWHERE,
    }


def boundary(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _BOUNDARY.format_map(names(arch, layout))
