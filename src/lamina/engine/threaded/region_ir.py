"""What compiled regions call when an access misses the TLB, as LLVM assembly. See `runtime_ir` for
the notation, `engine/jit/writer` for the callers.

`page` is the guest-virtual start of the region's first page and `where` the instruction's distance
from it << 8 | size of the access. The functions make pc and icount exact, and return a host
pointer: where RAM is, the caller accesses it itself; an access of a device or across two pages is
done here, and the pointer is to a word that holds (or takes) the value. Null: the instruction was
abandoned; the budget to go on with is in the word `left_budget`. They preserve the caller's
general registers, so that the way of a hit is free of spills.
"""

from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_REGION = """
define internal void @region_exact(ptr %s, i64 %page, i64 %b, i64 %where) alwaysinline {{
  %distance = ashr i64 %where, 8
  %pc = add i64 %page, %distance
  call void @set_word(ptr %s, i64 {slot[pc]}, i64 %pc)
  %end = call i64 @word(ptr %s, i64 {slot[icount_end]})
  %count = sub i64 %end, %b
  call void @set_word(ptr %s, i64 {slot[icount]}, i64 %count)
  ret void
}}

; A TLB look-up as in compiled code: {{hit, host address}}. %access: 0 read, 1 write.
define internal {{ i1, i64 }} @region_hit(ptr %s, i64 %a, i64 %size, i64 %access) alwaysinline {{
  %table.i = call i64 @word(ptr %s, i64 {at[tlb_data]})
  %table = inttoptr i64 %table.i to ptr
  %number = lshr i64 %a, 12
  %index = and i64 %number, {tlb_mask}
  %entry = getelementptr inbounds [4 x i64], ptr %table, i64 %index
  %tag.p = getelementptr inbounds i64, ptr %entry, i64 %access
  %tag = load i64, ptr %tag.p
  %less = sub i64 %size, 1
  %last = add i64 %a, %less
  %base = and i64 %last, -4096
  %hit = icmp eq i64 %base, %tag
  %addend.p = getelementptr inbounds i64, ptr %entry, i64 2
  %addend = load i64, ptr %addend.p
  %host = add i64 %a, %addend
  %o1 = insertvalue {{ i1, i64 }} poison, i1 %hit, 0
  %o2 = insertvalue {{ i1, i64 }} %o1, i64 %host, 1
  ret {{ i1, i64 }} %o2
}}

define dso_local preserve_mostcc ptr @region_read(ptr %s, i64 %a, i64 %page, i64 %b, i64 %where) noinline {{
  %size = and i64 %where, 255
  %t = call {{ i1, i64 }} @region_hit(ptr %s, i64 %a, i64 %size, i64 {READ})
  %hit = extractvalue {{ i1, i64 }} %t, 0
  br i1 %hit, label %found, label %miss
found:
  %host.i = extractvalue {{ i1, i64 }} %t, 1
  %host = inttoptr i64 %host.i to ptr
  ret ptr %host
miss:
  call void @region_exact(ptr %s, i64 %page, i64 %b, i64 %where)
  %answer = call {{ i1, i64 }} @slow_load(ptr %s, i64 %a, i64 %size)
  %left = extractvalue {{ i1, i64 }} %answer, 0
  br i1 %left, label %gone, label %loaded
gone:
  call void @set_word(ptr %s, i64 {at[left_budget]}, i64 %b)
  ret ptr null
loaded:
  %value = extractvalue {{ i1, i64 }} %answer, 1
  %cell = getelementptr inbounds i8, ptr %s, i64 {at[region_value]}
  store i64 %value, ptr %cell
  ret ptr %cell
}}

define dso_local preserve_mostcc ptr @region_write(ptr %s, i64 %a, i64 %value, i64 %page, i64 %b, i64 %where) noinline {{
  %size = and i64 %where, 255
  %t = call {{ i1, i64 }} @region_hit(ptr %s, i64 %a, i64 %size, i64 {WRITE})
  %hit = extractvalue {{ i1, i64 }} %t, 0
  br i1 %hit, label %found, label %miss
found:
  %host.i = extractvalue {{ i1, i64 }} %t, 1
  %host = inttoptr i64 %host.i to ptr
  ret ptr %host
miss:
  call void @region_exact(ptr %s, i64 %page, i64 %b, i64 %where)
  %left = call i1 @slow_store(ptr %s, i64 %a, i64 %size, i64 %value)
  br i1 %left, label %gone, label %stored
gone:
  call void @set_word(ptr %s, i64 {at[left_budget]}, i64 %b)
  ret ptr null
stored:
  %cell = getelementptr inbounds i8, ptr %s, i64 {at[region_value]}
  ret ptr %cell
}}

; For atomics: RAM only.
define dso_local preserve_mostcc ptr @region_pointer(ptr %s, i64 %a, i64 %page, i64 %b, i64 %where) noinline {{
  %size = and i64 %where, 255
  call void @region_exact(ptr %s, i64 %page, i64 %b, i64 %where)
  %answer = call {{ i1, ptr }} @host_pointer(ptr %s, i64 %a, i64 %size)
  %left = extractvalue {{ i1, ptr }} %answer, 0
  br i1 %left, label %gone, label %good
gone:
  call void @set_word(ptr %s, i64 {at[left_budget]}, i64 %b)
  ret ptr null
good:
  %host = extractvalue {{ i1, ptr }} %answer, 1
  ret ptr %host
}}

; Raise an exception. The caller leaves.
define dso_local preserve_mostcc void @region_trap(ptr %s, i64 %cause, i64 %tval, i64 %page, i64 %b, i64 %where) noinline {{
  call void @region_exact(ptr %s, i64 %page, i64 %b, i64 %where)
  call void @set_word(ptr %s, i64 {at[left_budget]}, i64 %b)
  %t = call {{ i1 }} @"r.trap"(ptr %s, i64 %cause, i64 %tval)
  ret void
}}

; In the place of a region on trial: stop where it would be entered.
define dso_local preserve_nonecc i64 @region_entered(ptr %s, ptr %rec, i64 %b) noinline {{
  %bias = call i64 @word(ptr %s, i64 {at[pc_bias]})
  %rec.i = ptrtoint ptr %rec to i64
  %place = lshr i64 %rec.i, 3
  %pc = add i64 %bias, %place
  call void @set_word(ptr %s, i64 {slot[pc]}, i64 %pc)
  %end = call i64 @word(ptr %s, i64 {slot[icount_end]})
  %count = sub i64 %end, %b
  call void @set_word(ptr %s, i64 {slot[icount]}, i64 %count)
  ret i64 {ENTERED}
}}
"""

DECLARATIONS = """
declare dso_local preserve_mostcc ptr @region_read(ptr, i64, i64, i64, i64) cold
declare dso_local preserve_mostcc ptr @region_write(ptr, i64, i64, i64, i64, i64) cold
declare dso_local preserve_mostcc ptr @region_pointer(ptr, i64, i64, i64, i64) cold
declare dso_local preserve_mostcc void @region_trap(ptr, i64, i64, i64, i64, i64) cold
"""


def region(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _REGION.format_map(names(arch, layout))
