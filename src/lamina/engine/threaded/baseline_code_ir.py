"""The code of a block of the baseline compiler, as LLVM assembly: templates are copied and patched.
See `runtime_ir` for the notation, `baseline_ir` for the compiler.
"""

from lamina.engine.threaded.baseline import HOLES
from lamina.engine.threaded.baseline_cells_ir import CELLS
from lamina.engine.threaded.baseline_ir import baseline_names
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch

_CODE = """
; Patch one copy of a template. %values: what stands in its holes.
define internal void @baseline_patch(ptr %template, ptr %out, ptr %values) alwaysinline {{
  %count = call i64 @template_word(ptr %template, i64 {head[rows]})
  %rows = getelementptr inbounds i8, ptr %template, i64 {HEAD_BYTES}
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %end = icmp uge i64 %i, %count
  br i1 %end, label %done, label %one
done:
  ret void
one:
  %row = getelementptr inbounds [3 x i64], ptr %rows, i64 %i
  %offset32 = load i32, ptr %row
  %offset = zext i32 %offset32 to i64
  %hole.p = getelementptr inbounds i8, ptr %row, i64 4
  %hole32 = load i32, ptr %hole.p
  %hole = zext i32 %hole32 to i64
  %relative.p = getelementptr inbounds i8, ptr %row, i64 8
  %relative32 = load i32, ptr %relative.p
  %relative = sext i32 %relative32 to i64
  %wide.p = getelementptr inbounds i8, ptr %row, i64 12
  %wide = load i32, ptr %wide.p
  %addend.p = getelementptr inbounds i8, ptr %row, i64 16
  %addend = load i64, ptr %addend.p
  %value.p = getelementptr inbounds i64, ptr %values, i64 %hole
  %value = load i64, ptr %value.p
  %place = getelementptr inbounds i8, ptr %out, i64 %offset
  %place.i = ptrtoint ptr %place to i64
  %from = and i64 %place.i, %relative
  %sum = add i64 %value, %addend
  %final = sub i64 %sum, %from
  switch i32 %wide, label %four [ i32 8, label %eight  i32 1, label %byte  i32 0, label %register ]
register:
  %number.high = lshr i64 %value, 3
  %number.low = and i64 %value, 7
  %is.high = icmp sge i64 %addend, {HIGH_BIT}
  %number = select i1 %is.high, i64 %number.high, i64 %number.low
  %shift = and i64 %addend, 7
  %turned = shl i64 %number, %shift
  %bits = trunc i64 %turned to i8
  %unset = load i8, ptr %place
  %set = xor i8 %unset, %bits
  store i8 %set, ptr %place
  br label %next
byte:
  %lowest = trunc i64 %final to i8
  store i8 %lowest, ptr %place
  br label %next
eight:
  store i64 %final, ptr %place, align 1
  br label %next
four:
  %low = trunc i64 %final to i32
  store i32 %low, ptr %place, align 1
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %loop
}}
define internal void @baseline_value(ptr %values, i64 %hole, i64 %v) alwaysinline {{
  %p = getelementptr inbounds i64, ptr %values, i64 %hole
  store i64 %v, ptr %p
  ret void
}}

; The best template of an entry: the first of the others that fits its operands.
define internal void @baseline_choose(ptr %s, i64 %n) noinline {{
  %template = call ptr @entry_template(ptr %s, i64 %n)
  %rec = call ptr @entry_record(ptr %s, i64 %n)
  %operands.p = getelementptr inbounds i8, ptr %rec, i64 4
  %operands32 = load i32, ptr %operands.p
  %operands = zext i32 %operands32 to i64
  %imm = call i64 @record_immediate(ptr %rec)
  %from = add i64 %imm, 128
  %first = call i64 @template_word(ptr %template, i64 {head[other]})
  br label %loop
loop:
  %other.i = phi i64 [ %first, %0 ], [ %next.i, %next ]
  %none = icmp eq i64 %other.i, 0
  br i1 %none, label %done, label %look
done:
  ret void
look:
  %other = inttoptr i64 %other.i to ptr
  %mask = call i64 @template_word(ptr %other, i64 {head[mask]})
  %match = call i64 @template_word(ptr %other, i64 {head[match]})
  %room = call i64 @template_word(ptr %other, i64 {head[room]})
  %seen = and i64 %operands, %mask
  %same = icmp eq i64 %seen, %match
  %near = icmp ult i64 %from, %room
  %fits = and i1 %same, %near
  br i1 %fits, label %use, label %next
use:
  call void @set_entry(ptr %s, i64 %n, i64 {entry[template]}, i64 %other.i)
  ret void
next:
  %next.i = call i64 @template_word(ptr %other, i64 {head[other]})
  br label %loop
}}

; The size of what stands in front of the code of an entry for those who come by its record.
define internal i64 @baseline_enter_size(ptr %s, i64 %n) alwaysinline {{
  %marks = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[marks]})
  %has = call i1 @has(i64 %marks, i64 {BEGINS})
  %enter.i = call i64 @word(ptr %s, i64 {at[template_enter]})
  %enter = inttoptr i64 %enter.i to ptr
  %size = call i64 @template_word(ptr %enter, i64 {head[size]})
  %r = select i1 %has, i64 %size, i64 0
  ret i64 %r
}}
; Give every entry its place, and a thunk behind all code where it needs one. The size of all.
define internal i64 @baseline_place(ptr %s, i64 %entries) noinline {{
  %cells = alloca [{cells} x i64], align 8
  call void @held_clear(ptr %cells)
  br label %code
code:
  %i = phi i64 [ 0, %0 ], [ %i1, %one ]
  %at = phi i64 [ 0, %0 ], [ %at.1, %one ]
  %end = icmp uge i64 %i, %entries
  br i1 %end, label %thunks, label %one
one:
  %loads = call i64 @baseline_hold(ptr %s, ptr %cells, i64 %i)
  %template = call ptr @entry_template(ptr %s, i64 %i)
  %enter.size = call i64 @baseline_enter_size(ptr %s, i64 %i)
  %stores = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[stores]})
  %stores.size = call i64 @baseline_stores_size(ptr %s, i64 %stores)
  %stored = add i64 %at, %stores.size
  %place = add i64 %stored, %enter.size
  call void @set_entry(ptr %s, i64 %i, i64 {entry[place]}, i64 %place)
  %own = call i64 @template_word(ptr %template, i64 {head[size]})
  %check.i = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[check]})
  %checks = icmp ne i64 %check.i, 0
  %template.i = ptrtoint ptr %template to i64
  %some.i = select i1 %checks, i64 %check.i, i64 %template.i
  %some = inttoptr i64 %some.i to ptr
  %check.size0 = call i64 @template_word(ptr %some, i64 {head[size]})
  %check.size = select i1 %checks, i64 %check.size0, i64 0
  %own.loads = add i64 %own, %loads
  %both = add i64 %own.loads, %check.size
  %at.1 = add i64 %place, %both
  %i1 = add i64 %i, 1
  br label %code
thunks:
  %j = phi i64 [ 0, %code ], [ %j1, %next ]
  %thunk.at = phi i64 [ %at, %code ], [ %thunk.1, %next ]
  %thunk.end = icmp uge i64 %j, %entries
  br i1 %thunk.end, label %done, label %look
done:
  ret i64 %thunk.at
look:
  call void @set_entry(ptr %s, i64 %j, i64 {entry[thunk]}, i64 %thunk.at)
  %thunk = call ptr @baseline_thunk(ptr %s, i64 %j)
  %none = icmp eq ptr %thunk, null
  br i1 %none, label %next, label %has
has:
  %thunk.size = call i64 @template_word(ptr %thunk, i64 {head[size]})
  %owed = call i64 @listed_word(ptr %s, i64 %j, i64 {entry[owed]})
  %owed.size = call i64 @baseline_stores_size(ptr %s, i64 %owed)
  %thunk.stored = add i64 %thunk.at, %owed.size
  %thunk.2 = add i64 %thunk.stored, %thunk.size
  br label %next
next:
  %thunk.1 = phi i64 [ %thunk.at, %look ], [ %thunk.2, %has ]
  %j1 = add i64 %j, 1
  br label %thunks
}}
; The template of an entry's thunk; null: it has none.
define internal ptr @baseline_thunk(ptr %s, i64 %n) alwaysinline {{
  %template = call ptr @entry_template(ptr %s, i64 %n)
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %check = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[check]})
  %checks = icmp ne i64 %check, 0
  %cold = call i1 @has(i64 %flags, i64 {COLD})
  %needs = or i1 %cold, %checks
  %jumps = call i1 @has(i64 %flags, i64 {JUMPS})
  %slow.i = call i64 @word(ptr %s, i64 {at[template_thunk_slow]})
  %out.i = call i64 @word(ptr %s, i64 {at[template_thunk_out]})
  %which = select i1 %jumps, i64 %out.i, i64 %slow.i
  %r.i = select i1 %needs, i64 %which, i64 0
  %r = inttoptr i64 %r.i to ptr
  ret ptr %r
}}

; Copy a template and fill its holes; where the next one stands.
define internal ptr @baseline_copy(ptr %template, ptr %out, ptr %values) noinline {{
  %size = call i64 @template_word(ptr %template, i64 {head[size]})
  %rows.n = call i64 @template_word(ptr %template, i64 {head[rows]})
  %rows.bytes = mul i64 %rows.n, 24
  %rows = getelementptr inbounds i8, ptr %template, i64 {HEAD_BYTES}
  %code = getelementptr inbounds i8, ptr %rows, i64 %rows.bytes
  call void @llvm.memcpy.p0.p0.i64(ptr %out, ptr %code, i64 %size, i1 false)
  %after = getelementptr inbounds i8, ptr %out, i64 %size
  %after.i = ptrtoint ptr %after to i64
  call void @baseline_value(ptr %values, i64 {hole[next]}, i64 %after.i)
  call void @baseline_patch(ptr %template, ptr %out, ptr %values)
  ret ptr %after
}}

; Write the code of the list's entries at %out, and the thunks.
define internal void @baseline_write(ptr %s, ptr %page, ptr %out, i64 %entries) noinline {{
  %values = alloca [{holes} x i64]
  %out.i = ptrtoint ptr %out to i64
  call void @baseline_value(ptr %values, i64 {hole[fixed]}, i64 0)
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %end = icmp uge i64 %i, %entries
  br i1 %end, label %done, label %one
done:
  ret void
one:
  %rec = call ptr @entry_record(ptr %s, i64 %i)
  %template = call ptr @entry_template(ptr %s, i64 %i)
  %place = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[place]})
  %here = getelementptr inbounds i8, ptr %out, i64 %place
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %step = call i64 @template_word(ptr %template, i64 {head[step]})
{operands}
  %imm = call i64 @record_immediate(ptr %rec)
  call void @baseline_value(ptr %values, i64 {hole[imm]}, i64 %imm)
  %rec.i = ptrtoint ptr %rec to i64
  call void @baseline_value(ptr %values, i64 {hole[record]}, i64 %rec.i)
  %pc = lshr i64 %rec.i, 3
  call void @baseline_value(ptr %values, i64 {hole[pc]}, i64 %pc)
  %length = ashr i64 %step, 3
  %next.pc = add i64 %pc, %length
  call void @baseline_value(ptr %values, i64 {hole[next_pc]}, i64 %next.pc)
  %target.pc = add i64 %pc, %imm
  call void @baseline_value(ptr %values, i64 {hole[target]}, i64 %target.pc)
  %minus = sub i64 0, %i
  call void @baseline_value(ptr %values, i64 {hole[done]}, i64 %minus)
  %minus1 = sub i64 %minus, 1
  call void @baseline_value(ptr %values, i64 {hole[spent]}, i64 %minus1)
  ; What looks up for several may find two pages that are both known: the handler looks again.
  %slow.0 = call i64 @template_word(ptr %template, i64 {head[slow]})
  %handler = load i32, ptr %rec
  %handler.w = sext i32 %handler to i64
  %usual = add i64 %handler.w, ptrtoint (ptr @h.decode to i64)
  %check.i = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[check]})
  %checks = icmp ne i64 %check.i, 0
  %slow = select i1 %checks, i64 %usual, i64 %slow.0
  call void @baseline_value(ptr %values, i64 {hole[slow]}, i64 %slow)
  %thunk.place = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[thunk]})
  %cold = add i64 %out.i, %thunk.place
  call void @baseline_value(ptr %values, i64 {hole[cold]}, i64 %cold)
  %jumps = call i1 @has(i64 %flags, i64 {JUMPS})
  br i1 %jumps, label %jump, label %straight
jump:  ; the budget at the target counts from the target's own number
  %to = call i64 @baseline_goal(ptr %s, ptr %page, i64 %i)
  %to.place = call i64 @listed_word(ptr %s, i64 %to, i64 {entry[place]})
  %taken = add i64 %to.place, %out.i
  call void @baseline_value(ptr %values, i64 {hole[taken]}, i64 %taken)
  %merges = icmp eq i64 %step, 0
  %cost = select i1 %merges, i64 0, i64 1
  %counted = add i64 %i, %cost
  %rebase = sub i64 %to, %counted
  call void @baseline_value(ptr %values, i64 {hole[rebase]}, i64 %rebase)
  br label %straight
straight:
  %stores = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[stores]})
  %stores.size = call i64 @baseline_stores_size(ptr %s, i64 %stores)
  %enter.size = call i64 @baseline_enter_size(ptr %s, i64 %i)
  %stored = sub i64 %place, %enter.size
  %stores.place = sub i64 %stored, %stores.size
  %stores.at = getelementptr inbounds i8, ptr %out, i64 %stores.place
  %stores.end = call ptr @baseline_store(ptr %s, i64 %stores, ptr %stores.at, ptr %values)
  %here.1 = call ptr @baseline_load(ptr %s, i64 %i, i64 {FIRST_SHIFT}, i64 {LOADS_FIRST}, i64 {HOLDS_FIRST}, ptr %here, ptr %values)
  %here.2 = call ptr @baseline_load(ptr %s, i64 %i, i64 {OTHER_SHIFT}, i64 {LOADS_OTHER}, i64 {HOLDS_OTHER}, ptr %here.1, ptr %values)
  br i1 %checks, label %check, label %code
check:
  call void @baseline_held_base(ptr %s, i64 %i, ptr %values)
  %low = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[low]})
  call void @baseline_value(ptr %values, i64 {hole[low]}, i64 %low)
  %high = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[high]})
  call void @baseline_value(ptr %values, i64 {hole[high]}, i64 %high)
  %check.t = inttoptr i64 %check.i to ptr
  %checked = call ptr @baseline_copy(ptr %check.t, ptr %here.2, ptr %values)
  br label %code
code:
  %at = phi ptr [ %here.2, %straight ], [ %checked, %check ]
  call void @baseline_held(ptr %s, i64 %i, ptr %values)
  %behind = call ptr @baseline_copy(ptr %template, ptr %at, ptr %values)
  %thunk = call ptr @baseline_thunk(ptr %s, i64 %i)
  %no.thunk = icmp eq ptr %thunk, null
  br i1 %no.thunk, label %next, label %thunk.write
thunk.write:
  %cold.p = inttoptr i64 %cold to ptr
  %owed = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[owed]})
  %owed.end = call ptr @baseline_store(ptr %s, i64 %owed, ptr %cold.p, ptr %values)
  %thunk.end = call ptr @baseline_copy(ptr %thunk, ptr %owed.end, ptr %values)
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %loop
}}

; The ways into the code from records, which are led there: each stands where straight code begins,
; in front of it. Nothing else comes there.
define internal void @baseline_enter(ptr %s, ptr %out, i64 %entries) noinline {{
  %values = alloca [{holes} x i64]
  %enter.i = call i64 @word(ptr %s, i64 {at[template_enter]})
  %enter = inttoptr i64 %enter.i to ptr
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %end = icmp uge i64 %i, %entries
  br i1 %end, label %done, label %one
done:
  ret void
one:
  %size = call i64 @baseline_enter_size(ptr %s, i64 %i)
  %enters = icmp ne i64 %size, 0
  br i1 %enters, label %write, label %next
write:
  %rec = call ptr @entry_record(ptr %s, i64 %i)
  %place = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[place]})
  %at = sub i64 %place, %size
  %here = getelementptr inbounds i8, ptr %out, i64 %at
  call void @baseline_value(ptr %values, i64 {hole[count]}, i64 %i)
  %entered = call ptr @baseline_copy(ptr %enter, ptr %here, ptr %values)
  call void @set_handler(ptr %rec, ptr %here)
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %loop
}}
"""


def _operands() -> str:
    """The record's operands, plain and as places in a register file."""
    lines = []
    for i, name in enumerate("abcd"):
        lines += [
            f"  %{name}.p = getelementptr inbounds i8, ptr %rec, i64 {4 + i}",
            f"  %{name}.b = load i8, ptr %{name}.p",
            f"  %{name} = zext i8 %{name}.b to i64",
            f"  call void @baseline_value(ptr %values, i64 {HOLES.index(name)}, i64 %{name})",
            f"  %{name}8 = shl i64 %{name}, 3",
            f"  call void @baseline_value(ptr %values, i64 {HOLES.index(name + '8')}, i64 %{name}8)",
        ]
    return "\n".join(lines)


def code(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    more = {"operands": _operands(), "cells": 4 * CELLS}
    return _CODE.format_map({**baseline_names(arch, layout), **more})
