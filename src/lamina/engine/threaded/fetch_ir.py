"""Fetching guest code, as LLVM assembly: code pages and their check against memory, the first
decoding of a record, single steps, and the entry points for Python. See `runtime_ir` for the
notation.
"""

from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_FETCH = """
; The fetch TLB has no entry: translate, find or make the code page, check it against memory if that
; was not done in this code epoch.
define internal preserve_nonecc i64 @fetch_miss(ptr %s, ptr %pc, i64 %b) noinline {{
  %a = ptrtoint ptr %pc to i64
  call void @set_word(ptr %s, i64 {slot[pc]}, i64 %a)
  %end = call i64 @word(ptr %s, i64 {slot[icount_end]})
  %count = sub i64 %end, %b
  call void @set_word(ptr %s, i64 {slot[icount]}, i64 %count)
  %shared = call ptr @shared_code(ptr %s, i64 %a)
  %is.shared = icmp ne ptr %shared, null
  br i1 %is.shared, label %again, label %walk
again:
  %r5 = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b)
  ret i64 %r5
walk:
  %t = call {translate} @"r.translate"(ptr %s, i64 %a, i64 {FETCH}, i64 2)
  %left = extractvalue {translate} %t, 0
  br i1 %left, label %gone, label %mapped
gone:
  %r0 = musttail call preserve_nonecc i64 @left(ptr %s, ptr null, i64 %b)
  ret i64 %r0
mapped:
  %gpa = extractvalue {translate} %t, 1
  %size = extractvalue {translate} %t, 2
  %cache = extractvalue {translate} %t, 3
  %region = call ptr @find_region(ptr %s, i64 %gpa, i64 2)
  %nowhere = icmp eq ptr %region, null
  br i1 %nowhere, label %fault, label %ram
fault:
  %f = call {{ i1 }} @"r.bus_fault"(ptr %s, i64 %a, i64 {FETCH})
  %r1 = musttail call preserve_nonecc i64 @left(ptr %s, ptr null, i64 %b)
  ret i64 %r1
ram:
  %cacheable = icmp ne {cache_type} %cache, 0
  br i1 %cacheable, label %lookup, label %careful
careful:
  %r2 = musttail call preserve_nonecc i64 @step_one(ptr %s, ptr %pc, i64 %b)
  ret i64 %r2
lookup:
  %page = call ptr @code_page(ptr %s, ptr %region, i64 %gpa)
  %full = icmp eq ptr %page, null
  br i1 %full, label %empty, label %fill
empty:
  call void @set_word(ptr %s, i64 {at[exit_code]}, i64 {ARENA_FULL})
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  %r3 = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b)
  ret i64 %r3
fill:
  call void @tlb_enter_code(ptr %s, i64 %a, ptr %page, i64 %size, {cache_type} %cache)
  %r4 = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b)
  ret i64 %r4
}}

; The code page of a guest-physical address in a region, in step with memory; null: arena full.
define internal ptr @code_page(ptr %s, ptr %region, i64 %gpa) noinline {{
  %base = load i64, ptr %region
  %host.p = getelementptr inbounds i8, ptr %region, i64 16
  %host = load ptr, ptr %host.p
  %map.p = getelementptr inbounds i8, ptr %region, i64 24
  %map = load ptr, ptr %map.p
  %rel = sub i64 %gpa, %base
  %number = lshr i64 %rel, 12
  %cell = getelementptr inbounds i64, ptr %map, i64 %number
  %start = and i64 %rel, -4096
  %memory = getelementptr inbounds i8, ptr %host, i64 %start
  %known = load ptr, ptr %cell
  %epoch = call i64 @word(ptr %s, i64 {at[code_epoch]})
  %new = icmp eq ptr %known, null
  br i1 %new, label %allocate, label %old
allocate:
  %next = call i64 @word(ptr %s, i64 {at[arena_next]})
  %end = call i64 @word(ptr %s, i64 {at[arena_end]})
  %after = add i64 %next, {CODE_PAGE}
  %fits = icmp ule i64 %after, %end
  br i1 %fits, label %take, label %full
full:
  ret ptr null
take:
  call void @count(ptr %s, i64 {at[code_pages]})
  call void @set_word(ptr %s, i64 {at[arena_next]}, i64 %after)
  %made = inttoptr i64 %next to ptr
  store ptr %made, ptr %cell
  %made.epoch = getelementptr inbounds i8, ptr %made, i64 {EPOCH_OFFSET}
  store i64 %epoch, ptr %made.epoch
  %made.source = getelementptr inbounds i8, ptr %made, i64 {SOURCE_OFFSET}
  call void @llvm.memcpy.p0.p0.i64(ptr %made.source, ptr %memory, i64 4096, i1 false)
  %edge0 = getelementptr inbounds i8, ptr %made, i64 {edge0}
  %edge1 = getelementptr inbounds i8, ptr %made, i64 {edge1}
  call void @set_handler(ptr %edge0, ptr @h.edge)
  call void @set_handler(ptr %edge1, ptr @h.edge)
  ret ptr %made
old:
  %epoch.p = getelementptr inbounds i8, ptr %known, i64 {EPOCH_OFFSET}
  %compared = load i64, ptr %epoch.p
  %current = icmp eq i64 %compared, %epoch
  br i1 %current, label %good, label %compare
compare:
  store i64 %epoch, ptr %epoch.p
  %source = getelementptr inbounds i8, ptr %known, i64 {SOURCE_OFFSET}
  %difference = call i32 @memcmp(ptr %source, ptr %memory, i64 4096)
  %same = icmp eq i32 %difference, 0
  br i1 %same, label %good, label %stale
stale:
  call void @count(ptr %s, i64 {at[changed_pages]})
  call void @llvm.memset.p0.i64(ptr %known, i8 0, i64 {records_bytes}, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr %source, ptr %memory, i64 4096, i1 false)
  %content = getelementptr inbounds i8, ptr %known, i64 {CONTENT_OFFSET}
  store i64 0, ptr %content
  %rewritten = getelementptr inbounds i8, ptr %known, i64 {REWRITTEN_OFFSET}
  %now = call i64 @word(ptr %s, i64 {slot[icount]})
  %settled = add i64 %now, {SETTLED}
  store i64 %settled, ptr %rewritten
  br label %good
good:
  ret ptr %known
}}

define internal void @set_handler(ptr %rec, ptr %handler) alwaysinline {{
  %h = ptrtoint ptr %handler to i64
  %d = sub i64 %h, ptrtoint (ptr @h.decode to i64)
  %o = trunc i64 %d to i32
  store i32 %o, ptr %rec
  ret void
}}

; The first run of a record: decode it from the page's copy of memory.
define dso_local preserve_nonecc i64 @h.decode(ptr %s, ptr %r, i64 %b) noinline {{
  %pc = call i64 @record_pc(ptr %s, ptr %r)
  %off = and i64 %pc, 4095
  %base = and i64 %pc, -4096
  %bias = call i64 @word(ptr %s, i64 {at[pc_bias]})
  %page = call ptr @page_by_bias(i64 %base, i64 %bias)
  %source = getelementptr inbounds i8, ptr %page, i64 {SOURCE_OFFSET}
  %at = getelementptr inbounds i8, ptr %source, i64 %off
  %low = load i16, ptr %at
  %len.bits = and i16 %low, {long_mask}
  %long = icmp eq i16 %len.bits, {long_match}
  br i1 %long, label %four, label %two
two:
  %insn2 = zext i16 %low to i32
  call void @decode(ptr %s, ptr %r, i32 %insn2, i64 %off, i1 false, i1 false)
  br label %go
four:
  %last = icmp eq i64 %off, 4094
  br i1 %last, label %crossing, label %whole
crossing:
  call void @set_handler(ptr %r, ptr @h.crossing)
  br label %go
whole:
  %insn4 = load i32, ptr %at, align 2
  call void @decode(ptr %s, ptr %r, i32 %insn4, i64 %off, i1 true, i1 false)
  br label %go
go:
  %o = load i32, ptr %r
  %o.w = sext i32 %o to i64
  %target = getelementptr i8, ptr @h.decode, i64 %o.w
  %res = musttail call preserve_nonecc i64 %target(ptr %s, ptr %r, i64 %b)
  ret i64 %res
}}

define internal i64 @record_pc(ptr %s, ptr %r) alwaysinline {{
  %bias = call i64 @word(ptr %s, i64 {at[pc_bias]})
  %r.i = ptrtoint ptr %r to i64
  %r.s = lshr i64 %r.i, 3
  %pc = add i64 %bias, %r.s
  ret i64 %pc
}}

; Behind the last record of a page (or of a single step).
define internal preserve_nonecc i64 @h.edge(ptr %s, ptr %r, i64 %b) noinline {{
  %pc.i = call i64 @record_pc(ptr %s, ptr %r)
  %pc = inttoptr i64 %pc.i to ptr
  %res = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b)
  ret i64 %res
}}

; The code page of an address that the fetch TLB holds; null: it does not.
define internal ptr @fetch_known(ptr %s, i64 %a) alwaysinline {{
  %table.i = call i64 @word(ptr %s, i64 {at[tlb_fetch]})
  %table = inttoptr i64 %table.i to ptr
  %number = lshr i64 %a, 12
  %index = and i64 %number, {tlb_mask}
  %entry = getelementptr inbounds [2 x i64], ptr %table, i64 %index
  %tag = load i64, ptr %entry
  %base = and i64 %a, -4096
  %hit = icmp eq i64 %tag, %base
  %bias.p = getelementptr inbounds i8, ptr %entry, i64 8
  %bias = load i64, ptr %bias.p
  %page = call ptr @page_by_bias(i64 %base, i64 %bias)
  %known = select i1 %hit, ptr %page, ptr null
  ret ptr %known
}}
; The code page of an address, from the fetch TLB or entered there: {{left, page or null}}. Null: it
; takes a closer look.
define internal {{ i1, ptr }} @code_at(ptr %s, i64 %a) noinline {{
  %known = call ptr @fetch_known(ptr %s, i64 %a)
  %hit = icmp ne ptr %known, null
  br i1 %hit, label %found, label %miss
found:
  %good0 = insertvalue {{ i1, ptr }} {{ i1 false, ptr null }}, ptr %known, 1
  ret {{ i1, ptr }} %good0
miss:
  %shared = call ptr @shared_code(ptr %s, i64 %a)
  %is.shared = icmp ne ptr %shared, null
  br i1 %is.shared, label %again, label %walk
again:
  %good2 = insertvalue {{ i1, ptr }} {{ i1 false, ptr null }}, ptr %shared, 1
  ret {{ i1, ptr }} %good2
walk:
  %t = call {translate} @"r.translate"(ptr %s, i64 %a, i64 {FETCH}, i64 2)
  %left = extractvalue {translate} %t, 0
  br i1 %left, label %gone, label %mapped
gone:
  ret {{ i1, ptr }} {{ i1 true, ptr null }}
mapped:
  %gpa = extractvalue {translate} %t, 1
  %size = extractvalue {translate} %t, 2
  %cache = extractvalue {translate} %t, 3
  %region = call ptr @find_region(ptr %s, i64 %gpa, i64 2)
  %somewhere = icmp ne ptr %region, null
  %cacheable = icmp ne {cache_type} %cache, 0
  %usual = and i1 %somewhere, %cacheable
  br i1 %usual, label %lookup, label %odd
odd:
  ret {{ i1, ptr }} {{ i1 false, ptr null }}
lookup:
  %page = call ptr @code_page(ptr %s, ptr %region, i64 %gpa)
  %full = icmp eq ptr %page, null
  br i1 %full, label %odd, label %enter
enter:
  call void @tlb_enter_code(ptr %s, i64 %a, ptr %page, i64 %size, {cache_type} %cache)
  %good1 = insertvalue {{ i1, ptr }} {{ i1 false, ptr null }}, ptr %page, 1
  ret {{ i1, ptr }} %good1
}}

; An instruction that begins in the last two bytes of a page: its halves are those that the two code
; pages hold. Its record lies in the first one's tail, and is right as long as the bits are the same.
define internal preserve_nonecc i64 @h.crossing(ptr %s, ptr %r, i64 %b) noinline {{
  %pc.i = call i64 @record_pc(ptr %s, ptr %r)
  call void @set_word(ptr %s, i64 {slot[pc]}, i64 %pc.i)
  %end = call i64 @word(ptr %s, i64 {slot[icount_end]})
  %count = sub i64 %end, %b
  call void @set_word(ptr %s, i64 {slot[icount]}, i64 %count)
  %behind = add i64 %pc.i, 2
  %next = call {{ i1, ptr }} @code_at(ptr %s, i64 %behind)
  %left = extractvalue {{ i1, ptr }} %next, 0
  br i1 %left, label %gone, label %mapped
gone:
  %r2 = musttail call preserve_nonecc i64 @left(ptr %s, ptr null, i64 %b)
  ret i64 %r2
mapped:
  %page2 = extractvalue {{ i1, ptr }} %next, 1
  %odd = icmp eq ptr %page2, null
  br i1 %odd, label %careful, label %here
careful:
  %pc = inttoptr i64 %pc.i to ptr
  %r0 = musttail call preserve_nonecc i64 @step_one(ptr %s, ptr %pc, i64 %b)
  ret i64 %r0
here:
  %high.p = getelementptr inbounds i8, ptr %page2, i64 {SOURCE_OFFSET}
  %high = load i16, ptr %high.p
  %base = and i64 %pc.i, -4096
  %bias.now = call i64 @word(ptr %s, i64 {at[pc_bias]})
  %page = call ptr @page_by_bias(i64 %base, i64 %bias.now)
  %low.p = getelementptr inbounds i8, ptr %page, i64 {last_half}
  %low = load i16, ptr %low.p
  %high.w = zext i16 %high to i32
  %high.s = shl i32 %high.w, 16
  %low.w = zext i16 %low to i32
  %insn = or i32 %high.s, %low.w
  %rec = getelementptr inbounds i8, ptr %page, i64 {CROSSING_OFFSET}
  %bits.p = getelementptr inbounds i8, ptr %rec, i64 12
  %bits = load i32, ptr %bits.p
  %same = icmp eq i32 %bits, %insn
  %handler = load i32, ptr %rec
  %decoded = icmp ne i32 %handler, 0  ; it is 0 once more if a pack was missing
  %known = and i1 %same, %decoded
  br i1 %known, label %go, label %new
new:
  call void @decode(ptr %s, ptr %rec, i32 %insn, i64 0, i1 true, i1 true)
  %rec2 = getelementptr inbounds i8, ptr %rec, i64 {two_records}
  call void @set_handler(ptr %rec2, ptr @h.edge)
  br label %go
go:
  %rec.i = ptrtoint ptr %rec to i64
  %rec.s = lshr i64 %rec.i, 3
  %bias = sub i64 %pc.i, %rec.s
  call void @set_word(ptr %s, i64 {at[pc_bias]}, i64 %bias)
  %off = load i32, ptr %rec
  %off.w = sext i32 %off to i64
  %target = getelementptr i8, ptr @h.decode, i64 %off.w
  %r1 = musttail call preserve_nonecc i64 %target(ptr %s, ptr %rec, i64 %b)
  ret i64 %r1
}}

; An instruction whose pack is not loaded: the record is forgotten and Python asked for the pack.
define internal preserve_nonecc i64 @h.missing(ptr %s, ptr %r, i64 %b) noinline cold {{
  %pack.p = getelementptr inbounds i8, ptr %r, i64 8
  %pack = load i32, ptr %pack.p
  %wide = zext i32 %pack to i64
  call void @set_word(ptr %s, i64 {at[missing_pack]}, i64 %wide)
  store i32 0, ptr %r
  %raw.p = getelementptr inbounds i8, ptr %r, i64 12
  store i32 0, ptr %raw.p
  call void @set_word(ptr %s, i64 {at[exit_code]}, i64 {MISSING_PACK})
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  %pc.i = call i64 @record_pc(ptr %s, ptr %r)
  %pc = inttoptr i64 %pc.i to ptr
  %res = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b)
  ret i64 %res
}}

define internal preserve_nonecc i64 @h.illegal(ptr %s, ptr %r, i64 %b) noinline cold {{
  %pc = call i64 @record_pc(ptr %s, ptr %r)
  call void @set_word(ptr %s, i64 {slot[pc]}, i64 %pc)
  %insn.p = getelementptr inbounds i8, ptr %r, i64 12
  %insn = load i32, ptr %insn.p
  %bits = zext i32 %insn to i64
  %t = call {{ i1 }} @"r.trap"(ptr %s, i64 {illegal_cause}, i64 %bits)
  %res = musttail call preserve_nonecc i64 @left(ptr %s, ptr null, i64 %b)
  ret i64 %res
}}

; Two bytes of code at %a: {{left, bits}}.
define internal {{ i1, i16 }} @fetch_half(ptr %s, i64 %a) noinline {{
  %t = call {translate} @"r.translate"(ptr %s, i64 %a, i64 {FETCH}, i64 2)
  %left = extractvalue {translate} %t, 0
  br i1 %left, label %gone, label %mapped
mapped:
  %gpa = extractvalue {translate} %t, 1
  %p = call ptr @phys_pointer(ptr %s, i64 %gpa, i64 2, i64 0)
  %nowhere = icmp eq ptr %p, null
  br i1 %nowhere, label %fault, label %read
fault:
  %f = call {{ i1 }} @"r.bus_fault"(ptr %s, i64 %a, i64 {FETCH})
  br label %gone
gone:
  ret {{ i1, i16 }} {{ i1 true, i16 0 }}
read:
  %bits = load i16, ptr %p
  %pair = insertvalue {{ i1, i16 }} {{ i1 false, i16 0 }}, i16 %bits, 1
  ret {{ i1, i16 }} %pair
}}

; Execute exactly the instruction at %pc, from the scratch records.
define dso_local preserve_nonecc i64 @step_one(ptr %s, ptr %pc, i64 %b) noinline {{
  %a = ptrtoint ptr %pc to i64
  call void @set_word(ptr %s, i64 {slot[pc]}, i64 %a)
  %end = call i64 @word(ptr %s, i64 {slot[icount_end]})
  %count = sub i64 %end, %b
  call void @set_word(ptr %s, i64 {slot[icount]}, i64 %count)
  %first = call {{ i1, i16 }} @fetch_half(ptr %s, i64 %a)
  %left1 = extractvalue {{ i1, i16 }} %first, 0
  br i1 %left1, label %gone, label %got1
gone:
  %r0 = musttail call preserve_nonecc i64 @left(ptr %s, ptr null, i64 %b)
  ret i64 %r0
got1:
  %low = extractvalue {{ i1, i16 }} %first, 1
  %low.w = zext i16 %low to i32
  %len.bits = and i16 %low, {long_mask}
  %long = icmp eq i16 %len.bits, {long_match}
  br i1 %long, label %four, label %ready
four:
  %a2 = add i64 %a, 2
  %second = call {{ i1, i16 }} @fetch_half(ptr %s, i64 %a2)
  %left2 = extractvalue {{ i1, i16 }} %second, 0
  br i1 %left2, label %gone, label %got2
got2:
  %high = extractvalue {{ i1, i16 }} %second, 1
  %high.w = zext i16 %high to i32
  %high.s = shl i32 %high.w, 16
  %both = or i32 %high.s, %low.w
  br label %ready
ready:
  %insn = phi i32 [ %low.w, %got1 ], [ %both, %got2 ]
  %rec = getelementptr inbounds i8, ptr %s, i64 {scratch}
  %rec1 = getelementptr inbounds i8, ptr %rec, i64 {RECORD}
  %rec2 = getelementptr inbounds i8, ptr %rec1, i64 {RECORD}
  call void @decode(ptr %s, ptr %rec, i32 %insn, i64 0, i1 %long, i1 true)
  call void @set_handler(ptr %rec1, ptr @h.edge)
  call void @set_handler(ptr %rec2, ptr @h.edge)
  %rec.i = ptrtoint ptr %rec to i64
  %rec.s = lshr i64 %rec.i, 3
  %bias = sub i64 %a, %rec.s
  call void @set_word(ptr %s, i64 {at[pc_bias]}, i64 %bias)
  %off = load i32, ptr %rec
  %off.w = sext i32 %off to i64
  %target = getelementptr i8, ptr @h.decode, i64 %off.w
  %r1 = musttail call preserve_nonecc i64 %target(ptr %s, ptr %rec, i64 %b)
  ret i64 %r1
}}

; Begin an instruction again that a compiled region has tried and left. The attempt may have raised
; flags in the host's FPU that the instruction itself will raise, and nothing else may be seen of it:
; so where a boundary is due, the instruction comes first.
define dso_local preserve_nonecc i64 @resume(ptr %s, ptr %pc, i64 %b) noinline {{
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  %pend = load atomic i64, ptr %pend.p monotonic, align 8
  %quiet = icmp sgt i64 %b, %pend
  br i1 %quiet, label %go, label %busy
go:
  %r0 = musttail call preserve_nonecc i64 @dispatch(ptr %s, ptr %pc, i64 %b)
  ret i64 %r0
busy:
  %r1 = musttail call preserve_nonecc i64 @step_one(ptr %s, ptr %pc, i64 %b)
  ret i64 %r1
}}

; Entry points for Python.
define i64 @decode_address() {{
  ret i64 ptrtoint (ptr @h.decode to i64)
}}
define i64 @run_fast(ptr %s, i64 %n) {{
  %count = call i64 @word(ptr %s, i64 {slot[icount]})
  %end = add i64 %count, %n
  call void @set_word(ptr %s, i64 {slot[icount_end]}, i64 %end)
  %a = call i64 @word(ptr %s, i64 {slot[pc]})
  %pc = inttoptr i64 %a to ptr
  call void @begin_run(ptr %s)
  call void @enter_guest_floats(ptr %s)
  %code = call preserve_nonecc i64 @boundary_dispatch(ptr %s, ptr %pc, i64 %n)
  call void @leave_guest_floats(ptr %s)
  call void @end_run(ptr %s)
  ret i64 %code
}}
define i64 @run_step(ptr %s) {{
  %count = call i64 @word(ptr %s, i64 {slot[icount]})
  %end = add i64 %count, 1
  call void @set_word(ptr %s, i64 {slot[icount_end]}, i64 %end)
  %early = call i64 @boundary(ptr %s, i64 1)
  %go = icmp eq i64 %early, 0
  br i1 %go, label %on, label %out
out:
  ret i64 %early
on:
  %a = call i64 @word(ptr %s, i64 {slot[pc]})
  %pc = inttoptr i64 %a to ptr
  call void @enter_guest_floats(ptr %s)
  %code = call preserve_nonecc i64 @step_one(ptr %s, ptr %pc, i64 1)
  call void @leave_guest_floats(ptr %s)
  ret i64 %code
}}
define i64 @run_steps(ptr %s, i64 %n) {{
entry:
  call void @begin_run(ptr %s)
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %done = icmp uge i64 %i, %n
  br i1 %done, label %limit, label %step
limit:
  call void @end_run(ptr %s)
  ret i64 {exit_limit}
step:
  %code = call i64 @run_step(ptr %s)
  %other = icmp ne i64 %code, {exit_limit}
  br i1 %other, label %out, label %next
out:
  call void @end_run(ptr %s)
  ret i64 %code
next:
  %i1 = add i64 %i, 1
  br label %loop
}}
"""


def fetch(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _FETCH.format_map(names(arch, layout))
