"""Dropping translations and what is known of code, as LLVM assembly.

The tables are those of `tlb_ir`: what was filled since the last flush is in their logs, so a flush
costs in proportion to what it drops. A log that overflowed stands for all entries of its table.

Code is compared with memory (`code_page` in `fetch_ir`) once in each *code epoch*, at the first
fetch from a page that misses the TLB. Between, code pages are what the architecture allows: a cache
of instructions by physical address, past which the stores of harts and devices go. An epoch ends
with every fence of instructions, and with every change from outside. It also ends where nothing
demands it: with a flush of everything, and with a change to an address space of which nothing may
be kept (RISC-V: ASID 0). So a guest that reuses a page for new code and forgets fence.i still sees
the new code if it has no ASIDs, as small systems that only ever ran on coherent emulators have not.
Other changes of address space, and fences of a page or of one address space, do not end it: systems
with ASIDs were made for hardware, and fence the instructions of a page that becomes executable.
"""

from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_FLUSHES = """
; Make a data table empty.
define internal void @reset_data(ptr %table, ptr %count.p) noinline {{
entry:
  %n = load i64, ptr %count.p
  %empty = icmp eq i64 %n, 0
  br i1 %empty, label %done, label %look
look:
  store i64 0, ptr %count.p
  %over = icmp ugt i64 %n, {LOG_ENTRIES}
  br i1 %over, label %all, label %some
all:
  call void @llvm.memset.p0.i64(ptr %table, i8 -1, i64 {data_bytes}, i1 false)
  br label %done
some:
  %log = getelementptr inbounds i8, ptr %table, i64 -{LOG_BYTES}
  br label %loop
loop:
  %i = phi i64 [ 0, %some ], [ %i1, %loop ]
  %cell = getelementptr inbounds i16, ptr %log, i64 %i
  %short = load i16, ptr %cell
  %index = zext i16 %short to i64
  %entry.p = getelementptr inbounds [4 x i64], ptr %table, i64 %index
  store i64 -1, ptr %entry.p
  %write = getelementptr inbounds i64, ptr %entry.p, i64 1
  store i64 -1, ptr %write
  %logged = getelementptr inbounds i64, ptr %entry.p, i64 3
  store i64 0, ptr %logged
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; Make a fetch table empty.
define internal void @reset_fetch(ptr %table, ptr %count.p) noinline {{
entry:
  %n = load i64, ptr %count.p
  %empty = icmp eq i64 %n, 0
  br i1 %empty, label %done, label %look
look:
  store i64 0, ptr %count.p
  %over = icmp ugt i64 %n, {LOG_ENTRIES}
  br i1 %over, label %all, label %some
all:
  call void @llvm.memset.p0.i64(ptr %table, i8 -1, i64 {fetch_bytes}, i1 false)
  br label %done
some:
  %log = getelementptr inbounds i8, ptr %table, i64 -{LOG_BYTES}
  br label %loop
loop:
  %i = phi i64 [ 0, %some ], [ %i1, %loop ]
  %cell = getelementptr inbounds i16, ptr %log, i64 %i
  %short = load i16, ptr %cell
  %index = zext i16 %short to i64
  %entry.p = getelementptr inbounds [2 x i64], ptr %table, i64 %index
  store i64 -1, ptr %entry.p
  %bias = getelementptr inbounds i64, ptr %entry.p, i64 1
  store i64 0, ptr %bias
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}

define internal void @reset_set_code(ptr %s, i64 %k) noinline {{
entry:
  br label %loop
loop:
  %c = phi i64 [ 0, %entry ], [ %c1, %loop ]
  %fetch = call ptr @fetch_table(ptr %s, i64 %k, i64 %c)
  %fetch.n = call ptr @filled(ptr %s, i64 %k, i64 %c, i64 {tables})
  call void @reset_fetch(ptr %fetch, ptr %fetch.n)
  %c1 = add i64 %c, 1
  %more = icmp ult i64 %c1, {contexts}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; Drop all that is kept for an address space, or (set SPACES) for the contexts outside of them.
define internal void @reset_set(ptr %s, i64 %k) noinline {{
entry:
  call void @reset_set_code(ptr %s, i64 %k)
  %space = call ptr @space_at(ptr %s, i64 %k)
  %masks = getelementptr inbounds i8, ptr %space, i64 {SPACE_LARGE}
  call void @llvm.memset.p0.i64(ptr %masks, i8 0, i64 32, i1 false)
  br label %loop
loop:
  %c = phi i64 [ 0, %entry ], [ %c1, %loop ]
  %data = call ptr @data_table(ptr %s, i64 %k, i64 %c)
  %data.n = call ptr @filled(ptr %s, i64 %k, i64 %c, i64 0)
  call void @reset_data(ptr %data, ptr %data.n)
  %c1 = add i64 %c, 1
  %more = icmp ult i64 %c1, {contexts}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

define internal void @new_epoch(ptr %s) alwaysinline {{
  %old = call i64 @word(ptr %s, i64 {at[code_epoch]})
  %new = add i64 %old, 1
  call void @set_word(ptr %s, i64 {at[code_epoch]}, i64 %new)
  ret void
}}

; Everything.
define void @tlb_flush(ptr %s) noinline {{
entry:
  call void @count(ptr %s, i64 {at[full_flushes]})
  call void @new_epoch(ptr %s)
  call void @reset_set(ptr %s, i64 {SPACES})
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k1, %next ]
  %space = call ptr @space_at(ptr %s, i64 %k)
  %id = load i64, ptr %space
  %unused = icmp eq i64 %id, -1
  br i1 %unused, label %next, label %reset
reset:
  call void @reset_set(ptr %s, i64 %k)
  br label %next
next:
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {SPACES}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; What is known of code: the pages are compared with memory again.
define void @icache_flush(ptr %s) noinline {{
entry:
  call void @count(ptr %s, i64 {at[code_flushes]})
  call void @new_epoch(ptr %s)
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k1, %loop ]
  call void @reset_set_code(ptr %s, i64 %k)
  %k1 = add i64 %k, 1
  %more = icmp ule i64 %k1, {SPACES}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; All of the address space %id.
define dso_local void @tlb_flush_space(ptr %s, i64 %id) noinline {{
entry:
  call void @count(ptr %s, i64 {at[space_flushes]})
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k1, %next ]
  %space = call ptr @space_at(ptr %s, i64 %k)
  %own = load i64, ptr %space
  %same = icmp eq i64 %own, %id
  br i1 %same, label %reset, label %next
reset:
  call void @reset_set(ptr %s, i64 %k)
  ret void
next:
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {SPACES}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; The page of %a in every address space.
define dso_local void @tlb_flush_page(ptr %s, i64 %a) noinline {{
entry:
  call void @count(ptr %s, i64 {at[page_flushes]})
  call void @drop_page(ptr %s, i64 {SPACES}, i64 %a)
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k1, %next ]
  %space = call ptr @space_at(ptr %s, i64 %k)
  %id = load i64, ptr %space
  %unused = icmp eq i64 %id, -1
  br i1 %unused, label %next, label %drop
drop:
  call void @drop_page(ptr %s, i64 %k, i64 %a)
  br label %next
next:
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {SPACES}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; The page of %a in the address space %id.
define dso_local void @tlb_flush_space_page(ptr %s, i64 %id, i64 %a) noinline {{
entry:
  call void @count(ptr %s, i64 {at[page_flushes]})
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k1, %next ]
  %space = call ptr @space_at(ptr %s, i64 %k)
  %own = load i64, ptr %space
  %same = icmp eq i64 %own, %id
  br i1 %same, label %drop, label %next
drop:
  call void @drop_page(ptr %s, i64 %k, i64 %a)
  ret void
next:
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {SPACES}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; A page of a set's address space; the whole set if a large page may be meant.
define internal void @drop_page(ptr %s, i64 %k, i64 %a) noinline {{
entry:
  %space = call ptr @space_at(ptr %s, i64 %k)
  %half = lshr i64 %a, 63
  %at = shl i64 %half, 1
  %masks = getelementptr inbounds i8, ptr %space, i64 {SPACE_LARGE}
  %small.p = getelementptr inbounds i64, ptr %masks, i64 %at
  %big.p = getelementptr inbounds i64, ptr %small.p, i64 1
  %small = load i64, ptr %small.p
  %big = load i64, ptr %big.p
  %number = lshr i64 %a, 12
  %small.n = lshr i64 %a, 21
  %small.bit = and i64 %small.n, 63
  %small.is = lshr i64 %small, %small.bit
  %big.n = lshr i64 %a, 30
  %big.bit = and i64 %big.n, 63
  %big.is = lshr i64 %big, %big.bit
  %both = and i64 %small.is, %big.is
  %large = trunc i64 %both to i1
  br i1 %large, label %all, label %one
all:
  call void @reset_set(ptr %s, i64 %k)
  ret void
one:
  %index = and i64 %number, {tlb_mask}
  %base = and i64 %a, -4096
  br label %loop
loop:
  %c = phi i64 [ 0, %one ], [ %c1, %next ]
  %data.n.p = call ptr @filled(ptr %s, i64 %k, i64 %c, i64 0)
  %data.n = load i64, ptr %data.n.p
  %data.none = icmp eq i64 %data.n, 0
  br i1 %data.none, label %code, label %data
data:
  %table = call ptr @data_table(ptr %s, i64 %k, i64 %c)
  %read = getelementptr inbounds [4 x i64], ptr %table, i64 %index
  %write = getelementptr inbounds i64, ptr %read, i64 1
  %read.tag = load i64, ptr %read
  %write.tag = load i64, ptr %write
  %is.read = icmp eq i64 %read.tag, %base
  %is.write = icmp eq i64 %write.tag, %base
  %is = or i1 %is.read, %is.write
  br i1 %is, label %drop, label %code
drop:
  store i64 -1, ptr %read
  store i64 -1, ptr %write
  br label %code
code:
  %code.n.p = call ptr @filled(ptr %s, i64 %k, i64 %c, i64 {tables})
  %code.n = load i64, ptr %code.n.p
  %code.none = icmp eq i64 %code.n, 0
  br i1 %code.none, label %next, label %fetch
fetch:
  %code.table = call ptr @fetch_table(ptr %s, i64 %k, i64 %c)
  %code.entry = getelementptr inbounds [2 x i64], ptr %code.table, i64 %index
  %code.tag = load i64, ptr %code.entry
  %is.code = icmp eq i64 %code.tag, %base
  %new.tag = select i1 %is.code, i64 -1, i64 %code.tag
  store i64 %new.tag, ptr %code.entry
  br label %next
next:
  %c1 = add i64 %c, 1
  %more = icmp ult i64 %c1, {contexts}
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def flushes(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _FLUSHES.format_map(names(arch, layout))
