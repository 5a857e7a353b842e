"""The baseline compiler, as LLVM assembly: copies stencils for what runs. See `runtime_ir` for the
notation, `stencils` for what a stencil is, `templates` for how it lies in memory.

Now and then a vCPU looks where it is (`baseline_look`): `pending` holds the budget at which the next
boundary is due. What it finds there is compiled from that record on: over straight code, jumps
inside of the page and both ways of branches, as far as the records have run and have stencils.
Then the record leads into the code. Everywhere else the code goes on with a record's handler, so
whatever vanishes with its page's records vanishes altogether: nothing leads from one block into
another but by a record.

Two passes: the first one lists the instructions, which gives each a number and a place; the second
one copies and patches. The budget in the code is what was left at its start: at the instruction of
number n, n less are left, and a jump from n to m adds what is between them.

Code lies in memory of the vCPU's own, which is writable while this writes and executable else: no
other vCPU runs it, and this one is here.
"""

from lamina.engine.threaded import baseline as agreed
from lamina.engine.threaded.baseline import (
    BARRIER,
    BEGINS,
    ENTRY,
    HEAD,
    HOLES,
    LOOKUP_BITS,
    READS,
    SPOILS,
    TARGET,
    WRITES,
)
from lamina.engine.threaded.decoder import discard
from lamina.engine.threaded.layout import (
    BASELINE_ENTRY,
    BASELINE_MAX,
    BASELINE_TODO,
    PAGE_RECORDS,
    ThreadedLayout,
)
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_NUMBERS = (
    *("ENDS", "JUMPS", "LINKS", "COLD", "WRITES", "BARRIER"),
    *("SIZE_SHIFT", "BASE_SHIFT", "DESTINATION_SHIFT", "BEGINS", "TARGET", "NEAR", "FAR"),
    *("FIRST_SHIFT", "OTHER_SHIFT", "RESULT", "HOLDS_FIRST", "HOLDS_OTHER", "HOLDS_RESULT"),
    *("FIRST_NEXT", "OTHER_NEXT", "RESULT_NEXT", "HIGH_BIT", "EXACT"),
    *("LOADS_FIRST", "LOADS_OTHER", "MOST_PERIOD"),
)

_COMPILE = """
; Compile from a record on and lead it there. Whether anything was.
define internal i1 @baseline_compile(ptr %s, ptr %page, ptr %start) noinline {{
  %out.i = call i64 @word(ptr %s, i64 {at[baseline_next]})
  %end = call i64 @word(ptr %s, i64 {at[baseline_end]})
  br label %list
full:
  call void @set_word(ptr %s, i64 {at[exit_code]}, i64 {ARENA_FULL})
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  br label %no
no:
  ret i1 false
list:
  %entries = call i64 @baseline_list(ptr %s, ptr %page, ptr %start)
  %nothing = icmp eq i64 %entries, 0
  br i1 %nothing, label %no, label %measure
measure:
  call void @baseline_mark(ptr %s, ptr %page, i64 %entries)
  call void @baseline_group(ptr %s, i64 %entries)
  call void @baseline_look_ahead(ptr %s, i64 %entries)
  %bytes = call i64 @baseline_place(ptr %s, i64 %entries)
  %first.page = and i64 %out.i, -4096
  %bytes.end = add i64 %out.i, %bytes
  %stop1 = add i64 %bytes.end, 4095
  %stop = and i64 %stop1, -4096
  %fits = icmp ule i64 %stop, %end
  br i1 %fits, label %write, label %full
write:
  %length = sub i64 %stop, %first.page
  %mprotect.i = call i64 @word(ptr %s, i64 {at[mprotect]})
  %mprotect = inttoptr i64 %mprotect.i to ptr
  %open = call i32 %mprotect(i64 %first.page, i64 %length, i32 3)
  %refused = icmp ne i32 %open, 0
  br i1 %refused, label %off, label %copy
off:  ; no more memory for code: go on without
  call void @set_word(ptr %s, i64 {at[templates]}, i64 0)
  br label %no
copy:
  %out = inttoptr i64 %out.i to ptr
  call void @baseline_write(ptr %s, ptr %page, ptr %out, i64 %entries)
  call void @baseline_enter(ptr %s, ptr %out, i64 %entries)
  %shut = call i32 %mprotect(i64 %first.page, i64 %length, i32 5)
  %kept = icmp ne i32 %shut, 0
  br i1 %kept, label %undo, label %lead
undo:
  call void @baseline_leave(ptr %s, ptr %page)
  br label %off
lead:
  %aligned0 = add i64 %bytes.end, 15
  %aligned = and i64 %aligned0, -16
  call void @set_word(ptr %s, i64 {at[baseline_next]}, i64 %aligned)
  call void @count(ptr %s, i64 {at[baseline_blocks]})
  ret i1 true
}}

; A boundary is over: look where the vCPU is, and say when to look again.
define internal void @baseline_look(ptr %s, i64 %a, i64 %b) noinline cold {{
  %table = call i64 @word(ptr %s, i64 {at[templates]})
  %off = icmp eq i64 %table, 0
  br i1 %off, label %out, label %find
find:
  %page = call ptr @fetch_known(ptr %s, i64 %a)
  %hit = icmp ne ptr %page, null
  br i1 %hit, label %found, label %later
found:
  %in = and i64 %a, 4094
  %slot = mul i64 %in, {record_per_byte}
  %rec = getelementptr inbounds i8, ptr %page, i64 %slot
  %handler = load i32, ptr %rec
  %template = call ptr @template_of(ptr %s, i32 %handler)
  %other = icmp eq ptr %template, null
  br i1 %other, label %useless, label %settled
settled:
  %rewritten.p = getelementptr inbounds i8, ptr %page, i64 {REWRITTEN_OFFSET}
  %rewritten = load i64, ptr %rewritten.p
  %now = call i64 @word(ptr %s, i64 {slot[icount]})
  %fresh = icmp ult i64 %now, %rewritten
  br i1 %fresh, label %useless, label %compile
compile:
  call void @set_word(ptr %s, i64 {at[baseline_more]}, i64 0)
  %did = call i1 @baseline_compile(ptr %s, ptr %page, ptr %rec)
  br i1 %did, label %further, label %useless
further:  ; straight code is looked at where a jump leads only
  %more.i = call i64 @word(ptr %s, i64 {at[baseline_more]})
  %whole = icmp eq i64 %more.i, 0
  br i1 %whole, label %useful, label %continue
continue:
  call void @set_word(ptr %s, i64 {at[baseline_more]}, i64 0)
  %rest = inttoptr i64 %more.i to ptr
  %did.more = call i1 @baseline_compile(ptr %s, ptr %page, ptr %rest)
  br label %further
useful:
  %period0 = call i64 @word(ptr %s, i64 {at[baseline_period]})
  %half = lshr i64 %period0, 1
  %least = call i64 @word(ptr %s, i64 {at[baseline_least]})
  %small = icmp ult i64 %half, %least
  %shorter = select i1 %small, i64 %least, i64 %half
  br label %adapt
useless:
  %period1 = call i64 @word(ptr %s, i64 {at[baseline_period]})
  %part = lshr i64 %period1, 3
  %more = add i64 %period1, %part
  %big = icmp ugt i64 %more, {MOST_PERIOD}
  %longer = select i1 %big, i64 {MOST_PERIOD}, i64 %more
  br label %adapt
adapt:
  %period = phi i64 [ %shorter, %useful ], [ %longer, %useless ]
  call void @set_word(ptr %s, i64 {at[baseline_period]}, i64 %period)
  br label %later
later:
  %wait = call i64 @word(ptr %s, i64 {at[baseline_period]})
  %due = sub i64 %b, %wait
  %soon = icmp sgt i64 %due, 0
  br i1 %soon, label %arm, label %out
arm:  ; unless somebody wants attention by now
  %pend.p = getelementptr inbounds i8, ptr %s, i64 {slot[pending]}
  %ignored = cmpxchg ptr %pend.p, i64 0, i64 %due monotonic monotonic, align 8
  br label %out
out:
  ret void
}}

; Lead no record of a page into baseline code any more.
define dso_local void @baseline_leave(ptr %s, ptr %page) {{
  %first = call i64 @word(ptr %s, i64 {at[baseline_start]})
  %end = call i64 @word(ptr %s, i64 {at[baseline_end]})
  %size = sub i64 %end, %first
  %low = sub i64 %first, ptrtoint (ptr @h.decode to i64)
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %rec = getelementptr inbounds [2 x i64], ptr %page, i64 %i
  %off = load i32, ptr %rec
  %off.w = sext i32 %off to i64
  %distance = sub i64 %off.w, %low
  %inside = icmp ult i64 %distance, %size
  br i1 %inside, label %drop, label %next
drop:
  store i32 0, ptr %rec
  br label %next
next:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {PAGE_RECORDS}
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def baseline(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _COMPILE.format_map(baseline_names(arch, layout))


def baseline_names(arch: Arch, layout: ThreadedLayout) -> dict[str, object]:
    """What the texts of the baseline compiler refer to, beside what all texts do."""
    return {
        **names(arch, layout),
        **{name: getattr(agreed, name) for name in _NUMBERS},
        "ACCESS": READS | WRITES,
        "MET": BEGINS | TARGET,
        "SPOILS_ALL": SPOILS | BARRIER,
        "hole": {name: i for i, name in enumerate(HOLES)},
        "holes": len(HOLES),
        "head": {name: 8 * i for i, name in enumerate(HEAD)},
        "HEAD_BYTES": 8 * len(HEAD),
        "entry": {name: 8 * i for i, name in enumerate(ENTRY)},
        "entry_words": BASELINE_ENTRY // 8,
        "lookup_shift": 32 - LOOKUP_BITS,
        "lookup_mask": (1 << LOOKUP_BITS) - 1,
        "map": layout.baseline,
        "list": layout.baseline_list,
        "todo": layout.baseline_todo,
        "discard": discard(arch),
        "BASELINE_MAX": BASELINE_MAX,
        "TODO_ROOM": BASELINE_TODO - 2 * BASELINE_MAX - 2,
        "PAGE_RECORDS": PAGE_RECORDS,
    }
