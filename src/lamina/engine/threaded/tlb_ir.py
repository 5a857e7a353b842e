"""The TLB's tables, as LLVM assembly: which are in force, and how translations are entered.

An *address space* (the `space` routine: an identifier and the root of its page tables) has a set of
tables of its own, one for data and one for code per context; SPACES sets are kept, and the one that
was in force the longest ago makes room for a new space. One set more holds the contexts that no
address space has a part in; its other tables have the pages of code that `translate` says are the
same in all address spaces, where a miss looks first. A table is direct-mapped. In front of its entries lies a log of those
that were filled, so that a flush (`flush_ir`) resets these and touches nothing else.

Memory is zero at first, which the outermost two entries of a table may not be: tag 0 belongs to the
first, or to an access in the last that wraps around the end of the address space. A data entry's
last word is 1, a code entry's is neither 0 nor all ones, if the log has it (it is even, and one
that is 0 after all may be in the log twice). See `runtime_ir` for the notation.
"""

from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_TABLES = """
; The tables of set %k, context %c.
define internal ptr @data_table(ptr %s, i64 %k, i64 %c) alwaysinline {{
  %first = mul i64 %k, {contexts}
  %number = add i64 %first, %c
  %rel = mul i64 %number, {data_stride}
  %at = add i64 %rel, {data_tlb}
  %t = getelementptr inbounds i8, ptr %s, i64 %at
  ret ptr %t
}}
define internal ptr @fetch_table(ptr %s, i64 %k, i64 %c) alwaysinline {{
  %first = mul i64 %k, {contexts}
  %number = add i64 %first, %c
  %rel = mul i64 %number, {fetch_stride}
  %at = add i64 %rel, {fetch_tlb}
  %t = getelementptr inbounds i8, ptr %s, i64 %at
  ret ptr %t
}}
; How many entries of a table were filled since it was last empty; data tables come first.
define internal ptr @filled(ptr %s, i64 %k, i64 %c, i64 %first) alwaysinline {{
  %row = mul i64 %k, {contexts}
  %number0 = add i64 %row, %c
  %number = add i64 %number0, %first
  %counts = getelementptr inbounds i8, ptr %s, i64 {counts}
  %p = getelementptr inbounds i64, ptr %counts, i64 %number
  ret ptr %p
}}
define internal ptr @space_at(ptr %s, i64 %k) alwaysinline {{
  %rel = mul i64 %k, {SPACE}
  %at = add i64 %rel, {spaces}
  %p = getelementptr inbounds i8, ptr %s, i64 %at
  ret ptr %p
}}

; Note in a table's log that an entry is in use.
define internal void @log_entry(ptr %table, ptr %count.p, i64 %index) alwaysinline {{
  %count = load i64, ptr %count.p
  %fits = icmp ult i64 %count, {LOG_ENTRIES}
  %last = sub i64 {LOG_ENTRIES}, 1
  %n = select i1 %fits, i64 %count, i64 %last
  %log = getelementptr inbounds i8, ptr %table, i64 -{LOG_BYTES}
  %cell = getelementptr inbounds i16, ptr %log, i64 %n
  %short = trunc i64 %index to i16
  store i16 %short, ptr %cell
  %more = add i64 %count, 1
  store i64 %more, ptr %count.p
  ret void
}}

; Enter a translation into the data table in force: of page %base, for reads (0) or writes (1).
define internal void @tlb_enter(ptr %s, i64 %base, i64 %access, i64 %addend) alwaysinline {{
  %table.i = call i64 @word(ptr %s, i64 {at[tlb_data]})
  %table = inttoptr i64 %table.i to ptr
  %number = lshr i64 %base, 12
  %index = and i64 %number, {tlb_mask}
  %entry = getelementptr inbounds [4 x i64], ptr %table, i64 %index
  %addend.p = getelementptr inbounds i64, ptr %entry, i64 2
  %old = load i64, ptr %addend.p
  store i64 %addend, ptr %addend.p
  ; The other tag stays only if it is of the same page by the same translation.
  %mine = getelementptr inbounds i64, ptr %entry, i64 %access
  %other.at = xor i64 %access, 1
  %other = getelementptr inbounds i64, ptr %entry, i64 %other.at
  %other.tag = load i64, ptr %other
  %same.page = icmp eq i64 %other.tag, %base
  %same.host = icmp eq i64 %old, %addend
  %same = and i1 %same.page, %same.host
  %keep = select i1 %same, i64 %base, i64 -1
  store i64 %keep, ptr %other
  store i64 %base, ptr %mine
  %logged.p = getelementptr inbounds i64, ptr %entry, i64 3
  %logged = load i64, ptr %logged.p
  %known = icmp eq i64 %logged, 1
  br i1 %known, label %done, label %log
log:
  store i64 1, ptr %logged.p
  %count.i = call i64 @word(ptr %s, i64 {at[tlb_data_count]})
  %count.p = inttoptr i64 %count.i to ptr
  call void @log_entry(ptr %table, ptr %count.p, i64 %index)
  br label %done
done:
  ret void
}}

; Enter a page of code into a fetch table.
define internal void @put_code(ptr %table, ptr %count.p, i64 %a, ptr %page) noinline {{
  %number = lshr i64 %a, 12
  %index = and i64 %number, {tlb_mask}
  %base = and i64 %a, -4096
  %entry = getelementptr inbounds [2 x i64], ptr %table, i64 %index
  store i64 %base, ptr %entry
  %bias.p = getelementptr inbounds i8, ptr %entry, i64 8
  %before = load i64, ptr %bias.p
  %page.i = ptrtoint ptr %page to i64
  %page.s = lshr i64 %page.i, 3
  %bias = sub i64 %base, %page.s
  store i64 %bias, ptr %bias.p
  %next = add i64 %before, 1
  %known = icmp ugt i64 %next, 1
  br i1 %known, label %done, label %log
log:
  call void @log_entry(ptr %table, ptr %count.p, i64 %index)
  br label %done
done:
  ret void
}}

; Enter a page of code into the fetch table in force, and if all address spaces have it into that of
; the last set, which has one for each context.
define internal void @tlb_enter_code(ptr %s, i64 %a, ptr %page, i64 %psize, {cache_type} %cache) noinline {{
  call void @count(ptr %s, i64 {at[fetch_misses]})
  %table.i = call i64 @word(ptr %s, i64 {at[tlb_fetch]})
  %table = inttoptr i64 %table.i to ptr
  %count.i = call i64 @word(ptr %s, i64 {at[tlb_fetch_count]})
  %count.p = inttoptr i64 %count.i to ptr
  call void @put_code(ptr %table, ptr %count.p, i64 %a, ptr %page)
  %large = icmp ugt i64 %psize, 4096
  br i1 %large, label %note, label %ask
note:
  %space.i = call i64 @word(ptr %s, i64 {at[space]})
  %space = inttoptr i64 %space.i to ptr
  call void @note_size(ptr %space, i64 %a, i64 %psize)
  br label %ask
ask:
  %everywhere = icmp uge {cache_type} %cache, {EVERYWHERE}
  br i1 %everywhere, label %shared, label %done
shared:
  %c = call i64 @word(ptr %s, i64 {at[fetch_context]})
  %all = call ptr @fetch_table(ptr %s, i64 {SPACES}, i64 %c)
  %all.n = call ptr @filled(ptr %s, i64 {SPACES}, i64 %c, i64 {tables})
  call void @put_code(ptr %all, ptr %all.n, i64 %a, ptr %page)
  br i1 %large, label %note.shared, label %done
note.shared:
  %last = call ptr @space_at(ptr %s, i64 {SPACES})
  call void @note_size(ptr %last, i64 %a, i64 %psize)
  br label %done
done:
  ret void
}}

; A page of code that all address spaces have, taken over into the fetch table in force; or null.
define internal ptr @shared_code(ptr %s, i64 %a) noinline {{
  %c = call i64 @word(ptr %s, i64 {at[fetch_context]})
  %all = call ptr @fetch_table(ptr %s, i64 {SPACES}, i64 %c)
  %number = lshr i64 %a, 12
  %index = and i64 %number, {tlb_mask}
  %base = and i64 %a, -4096
  %entry = getelementptr inbounds [2 x i64], ptr %all, i64 %index
  %tag = load i64, ptr %entry
  %hit = icmp eq i64 %tag, %base
  br i1 %hit, label %found, label %none
none:
  ret ptr null
found:
  call void @count(ptr %s, i64 {at[shared_fetches]})
  %bias.p = getelementptr inbounds i8, ptr %entry, i64 8
  %bias = load i64, ptr %bias.p
  %page = call ptr @page_by_bias(i64 %base, i64 %bias)
  %table.i = call i64 @word(ptr %s, i64 {at[tlb_fetch]})
  %table = inttoptr i64 %table.i to ptr
  %count.i = call i64 @word(ptr %s, i64 {at[tlb_fetch_count]})
  %count.p = inttoptr i64 %count.i to ptr
  call void @put_code(ptr %table, ptr %count.p, i64 %a, ptr %page)
  ret ptr %page
}}

; Remember where an address space has large pages: a bit for each 2 MiB and each 1 GiB, modulo 64,
; the lower and the upper half of the addresses apart.
define internal void @note_size(ptr %space, i64 %a, i64 %psize) noinline {{
  %half = lshr i64 %a, 63
  %at = shl i64 %half, 1
  %masks = getelementptr inbounds i8, ptr %space, i64 {SPACE_LARGE}
  %small.p = getelementptr inbounds i64, ptr %masks, i64 %at
  %big.p = getelementptr inbounds i64, ptr %small.p, i64 1
  %small.n = lshr i64 %a, 21
  %small.bit = and i64 %small.n, 63
  %small.one = shl i64 1, %small.bit
  %big.n = lshr i64 %a, 30
  %big.bit = and i64 %big.n, 63
  %big.one = shl i64 1, %big.bit
  %above.small = icmp ugt i64 %psize, {MIB2}
  %small.set = select i1 %above.small, i64 -1, i64 %small.one
  %above.big = icmp ugt i64 %psize, {GIB}
  %big.set = select i1 %above.big, i64 -1, i64 %big.one
  %small.old = load i64, ptr %small.p
  %small.new = or i64 %small.old, %small.set
  store i64 %small.new, ptr %small.p
  %big.old = load i64, ptr %big.p
  %big.new = or i64 %big.old, %big.set
  store i64 %big.new, ptr %big.p
  ret void
}}
"""

_SPACES = """
; A set's tables that hold nothing yet: their outermost entries, which may not be zero.
define internal void @begin_set(ptr %s, i64 %k, i64 %first, i64 %end) noinline {{
entry:
  br label %loop
loop:
  %c = phi i64 [ %first, %entry ], [ %c1, %loop ]
  %data = call ptr @data_table(ptr %s, i64 %k, i64 %c)
  %data.last = getelementptr inbounds [4 x i64], ptr %data, i64 {tlb_mask}
  %data.0w = getelementptr inbounds i64, ptr %data, i64 1
  %data.lw = getelementptr inbounds i64, ptr %data.last, i64 1
  store i64 -1, ptr %data
  store i64 -1, ptr %data.0w
  store i64 -1, ptr %data.last
  store i64 -1, ptr %data.lw
  %fetch = call ptr @fetch_table(ptr %s, i64 %k, i64 %c)
  store i64 -1, ptr %fetch
  %c1 = add i64 %c, 1
  %more = icmp ult i64 %c1, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; Before anything else: no address space is known.
define void @tlb_begin(ptr %s) {{
entry:
  call void @begin_set(ptr %s, i64 {SPACES}, i64 0, i64 {contexts})
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k1, %loop ]
  %space = call ptr @space_at(ptr %s, i64 %k)
  store i64 -1, ptr %space
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {SPACES}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; The address space in force may have changed.
define void @tlb_space(ptr %s) noinline {{
entry:
  call void @count(ptr %s, i64 {at[space_changes]})
  %now = call {space} @"r.space"(ptr %s)
  %id = extractvalue {space} %now, 1
  %root = extractvalue {space} %now, 2
  %keep = extractvalue {space} %now, 3
  %family = extractvalue {space} %now, 4
  %family.was = call i64 @word(ptr %s, i64 {at[space_family]})
  %related = icmp eq i64 %family, %family.was
  br i1 %related, label %look, label %strange
strange:
  call void @set_word(ptr %s, i64 {at[space_family]}, i64 %family)
  call void @reset_set(ptr %s, i64 {SPACES})
  br label %look
look:
  %keeps = icmp ne i64 %keep, 0
  %clock0 = call i64 @word(ptr %s, i64 {at[space_clock]})
  %clock = add i64 %clock0, 1
  call void @set_word(ptr %s, i64 {at[space_clock]}, i64 %clock)
  br label %loop
loop:
  %k = phi i64 [ 0, %look ], [ %k1, %next ]
  %oldest = phi i64 [ 0, %look ], [ %oldest1, %next ]
  %least = phi i64 [ -1, %look ], [ %least1, %next ]
  %space = call ptr @space_at(ptr %s, i64 %k)
  %own = load i64, ptr %space
  %same = icmp eq i64 %own, %id
  br i1 %same, label %found, label %next
next:
  %used.p = getelementptr inbounds i64, ptr %space, i64 2
  %used = load i64, ptr %used.p
  %older = icmp ult i64 %used, %least
  %oldest1 = select i1 %older, i64 %k, i64 %oldest
  %least1 = select i1 %older, i64 %used, i64 %least
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {SPACES}
  br i1 %more, label %loop, label %make
make:
  %taken = call ptr @space_at(ptr %s, i64 %oldest1)
  store i64 %id, ptr %taken
  call void @begin_set(ptr %s, i64 %oldest1, i64 0, i64 {space_contexts})
  br label %empty
found:
  %root.p = getelementptr inbounds i64, ptr %space, i64 1
  %root.was = load i64, ptr %root.p
  %same.root = icmp eq i64 %root.was, %root
  %kept = and i1 %same.root, %keeps
  br i1 %kept, label %use, label %empty
empty:
  %e = phi i64 [ %k, %found ], [ %oldest1, %make ]
  call void @reset_set(ptr %s, i64 %e)
  br i1 %keeps, label %use, label %forget
forget:
  call void @reset_set(ptr %s, i64 {SPACES})
  call void @new_epoch(ptr %s)
  br label %use
use:
  %u = phi i64 [ %k, %found ], [ %e, %empty ], [ %e, %forget ]
  %u.p = call ptr @space_at(ptr %s, i64 %u)
  %u.root = getelementptr inbounds i64, ptr %u.p, i64 1
  store i64 %root, ptr %u.root
  %u.used = getelementptr inbounds i64, ptr %u.p, i64 2
  store i64 %clock, ptr %u.used
  %u.i = ptrtoint ptr %u.p to i64
  call void @set_word(ptr %s, i64 {at[space]}, i64 %u.i)
  call void @set_word(ptr %s, i64 {at[space_number]}, i64 %u)
  call void @tlb_context(ptr %s)
  ret void
}}

; The contexts in force may have changed.
define dso_local void @tlb_context(ptr %s) noinline {{
  %c = call {context} @"r.context"(ptr %s) alwaysinline
  %data = extractvalue {context} %c, 1
  %fetch = extractvalue {context} %c, 2
  %k = call i64 @word(ptr %s, i64 {at[space_number]})
  %data.shared = icmp uge i64 %data, {space_contexts}
  %data.k = select i1 %data.shared, i64 {SPACES}, i64 %k
  %data.t = call ptr @data_table(ptr %s, i64 %data.k, i64 %data)
  %data.n = call ptr @filled(ptr %s, i64 %data.k, i64 %data, i64 0)
  %data.i = ptrtoint ptr %data.t to i64
  %data.n.i = ptrtoint ptr %data.n to i64
  call void @set_word(ptr %s, i64 {at[tlb_data]}, i64 %data.i)
  call void @set_word(ptr %s, i64 {at[tlb_data_count]}, i64 %data.n.i)
  %fetch.shared = icmp uge i64 %fetch, {space_contexts}
  %fetch.k = select i1 %fetch.shared, i64 {SPACES}, i64 %k
  %fetch.t = call ptr @fetch_table(ptr %s, i64 %fetch.k, i64 %fetch)
  %fetch.n = call ptr @filled(ptr %s, i64 %fetch.k, i64 %fetch, i64 {tables})
  %fetch.i = ptrtoint ptr %fetch.t to i64
  %fetch.n.i = ptrtoint ptr %fetch.n to i64
  call void @set_word(ptr %s, i64 {at[tlb_fetch]}, i64 %fetch.i)
  call void @set_word(ptr %s, i64 {at[tlb_fetch_count]}, i64 %fetch.n.i)
  call void @set_word(ptr %s, i64 {at[fetch_context]}, i64 %fetch)
  ret void
}}
"""


def tlb(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    table = names(arch, layout)
    for name in ("space", "context"):
        types = ["i1", *(f"i{r.width}" for r in arch.routines[name].results)]
        table[name] = "{ " + ", ".join(types) + " }"
    return (_TABLES + _SPACES).format_map(table)
