"""Which registers of the host hold which of the guest in a block of the baseline compiler, as LLVM
assembly. See `runtime_ir` for the notation, `stencil_registers` for what stencils have in registers.

An instruction finds what it reads in registers, or it is loaded just before; what it writes stays in
a register. That is stored to the state when its register is given up, or before what may leave the
block; if that is rare, by the thunk through which it leaves. What is written again before either is
never stored. Where all registers are in use the one that is read last of all is given up (Belady).
Where a jump leads, nothing is held.

Two passes: the first one goes backward and notes at each operand how far ahead it is read again; the
second one gives it a register (`baseline_cells_ir`).
"""

from lamina.engine.threaded.baseline_cells_ir import cell_names
from lamina.engine.threaded.baseline_ir import baseline_names
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch

_REGISTERS = """
; Choose all templates, and note at their operands when they are read again.
define internal void @baseline_look_ahead(ptr %s, i64 %entries) noinline {{
  %reads = alloca [{REGISTERS_MOST} x i64]  ; where each register is read, from the entry at hand on
  br label %clear
clear:
  %c = phi i64 [ 0, %0 ], [ %c1, %clear ]
  %clear.p = getelementptr inbounds i64, ptr %reads, i64 %c
  store i64 {NEVER}, ptr %clear.p
  %c1 = add i64 %c, 1
  %clearing = icmp ult i64 %c1, {REGISTERS_MOST}
  br i1 %clearing, label %clear, label %loop
loop:  ; from %bound on nothing is held that was held before
  %n = phi i64 [ %entries, %clear ], [ %i, %next ]
  %bound = phi i64 [ {NEVER}, %clear ], [ %bound.n, %next ]
  %end = icmp eq i64 %n, 0
  br i1 %end, label %done, label %one
done:
  ret void
one:
  %i = sub i64 %n, 1
  call void @baseline_choose(ptr %s, i64 %i)
  %marks = call i64 @listed_word(ptr %s, i64 %i, i64 {entry[marks]})
  %template = call ptr @entry_template(ptr %s, i64 %i)
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %spoils = call i1 @has(i64 %flags, i64 {SPOILS_ALL})
  %bound.1 = select i1 %spoils, i64 %n, i64 %bound
  %target = call i64 @baseline_target_register(ptr %s, i64 %i)
  %has.target = icmp ne i64 %target, {NOBODY}
  br i1 %has.target, label %write, label %read
write:
  %target.p = getelementptr inbounds i64, ptr %reads, i64 %target
  %result.next = load i64, ptr %target.p
  store i64 {NEVER}, ptr %target.p
  br label %read
read:
  %result.n = phi i64 [ {NEVER}, %one ], [ %result.next, %write ]
  %first = call i64 @baseline_source(ptr %s, i64 %i, i64 {FIRST_SHIFT})
  %other = call i64 @baseline_source(ptr %s, i64 %i, i64 {OTHER_SHIFT})
  %first.n = call i64 @reads_next(ptr %reads, i64 %first)
  %other.n = call i64 @reads_next(ptr %reads, i64 %other)
  call void @reads_at(ptr %reads, i64 %first, i64 %i)
  call void @reads_at(ptr %reads, i64 %other, i64 %i)
  %first.d = call i64 @distance_within(i64 %i, i64 %first.n, i64 %bound.1)
  %other.d = call i64 @distance_within(i64 %i, i64 %other.n, i64 %bound.1)
  %result.d = call i64 @distance_within(i64 %i, i64 %result.n, i64 %bound.1)
  %first.at = shl i64 %first.d, {FIRST_NEXT}
  %other.at = shl i64 %other.d, {OTHER_NEXT}
  %result.at = shl i64 %result.d, {RESULT_NEXT}
  %m1 = or i64 %marks, %first.at
  %m2 = or i64 %m1, %other.at
  %m3 = or i64 %m2, %result.at
  call void @set_entry(ptr %s, i64 %i, i64 {entry[marks]}, i64 %m3)
  br label %next
next:
  %met = call i1 @has(i64 %marks, i64 {MET})
  %bound.n = select i1 %met, i64 %i, i64 %bound.1
  br label %loop
}}
define internal i64 @reads_next(ptr %reads, i64 %register) alwaysinline {{
  %none = icmp eq i64 %register, {NOBODY}
  %in = select i1 %none, i64 0, i64 %register
  %p = getelementptr inbounds i64, ptr %reads, i64 %in
  %r = load i64, ptr %p
  ret i64 %r
}}
define internal void @reads_at(ptr %reads, i64 %register, i64 %i) alwaysinline {{
  %none = icmp eq i64 %register, {NOBODY}
  br i1 %none, label %out, label %set
set:
  %p = getelementptr inbounds i64, ptr %reads, i64 %register
  store i64 %i, ptr %p
  br label %out
out:
  ret void
}}
define internal i64 @distance_within(i64 %i, i64 %next, i64 %bound) alwaysinline {{
  %before = icmp ult i64 %next, %bound
  %d = sub i64 %next, %i
  %near = icmp ult i64 %d, {NOT_READ}
  %is = and i1 %before, %near
  %r = select i1 %is, i64 %d, i64 {NOT_READ}
  ret i64 %r
}}
; The register that an entry changes; -1: none.
define internal i64 @baseline_target_register(ptr %s, i64 %n) alwaysinline {{
  %r = call i64 @baseline_source(ptr %s, i64 %n, i64 {DESTINATION_SHIFT})
  ret i64 %r
}}

; When an operand of an entry is read again, from its marks.
define internal i64 @held_next(i64 %marks, i64 %n, i64 %at) alwaysinline {{
  %down = lshr i64 %marks, %at
  %d = and i64 %down, {NOT_READ}
  %is = icmp ne i64 %d, {NOT_READ}
  %then = add i64 %n, %d
  %r = select i1 %is, i64 %then, i64 {NEVER}
  ret i64 %r
}}
; Whoever takes the place of an operand may do so from now on.
define internal void @held_release(ptr %cells, i64 %taken, i1 %is, i64 %read) alwaysinline {{
  br i1 %is, label %set, label %out
set:
  %cell = and i64 %taken, {CELL_MASK}
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %cell
  %holder = load i64, ptr %holder.p
  %gone = icmp eq i64 %holder, {NOBODY}
  %read.n = select i1 %gone, i64 {NEVER}, i64 %read
  %read.p = getelementptr inbounds i8, ptr %holder.p, i64 8
  store i64 %read.n, ptr %read.p
  br label %out
out:
  ret void
}}

; Give the operands of an entry their registers; the bytes that it takes to load them.
define internal i64 @baseline_hold(ptr %s, ptr %cells, i64 %n) noinline {{
  %stores = alloca i64
  store i64 0, ptr %stores
  %owed = alloca i64
  store i64 0, ptr %owed
  %marks = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[marks]})
  %template = call ptr @entry_template(ptr %s, i64 %n)
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %first = call i64 @baseline_source(ptr %s, i64 %n, i64 {FIRST_SHIFT})
  %other = call i64 @baseline_source(ptr %s, i64 %n, i64 {OTHER_SHIFT})
  %has.first = icmp ne i64 %first, {NOBODY}
  %has.other = icmp ne i64 %other, {NOBODY}
  %met = call i1 @has(i64 %marks, i64 {MET})
  %exact = call i1 @has(i64 %flags, i64 {EXACT})
  %flushes = or i1 %met, %exact
  br i1 %flushes, label %flush, label %begin
flush:
  call void @held_owe_all(ptr %cells, ptr %stores, i1 false)
  br i1 %met, label %fresh, label %begin
fresh:
  call void @held_drop(ptr %cells, i64 {NOBODY})
  br label %begin
begin:
  br i1 %has.first, label %take.first, label %second
take.first:
  %first.t = call i64 @held_take(ptr %cells, i64 %first, ptr %stores)
  br label %second
second:
  %first.r = phi i64 [ 0, %begin ], [ %first.t, %take.first ]
  br i1 %has.other, label %take.other, label %writes
take.other:
  %other.t = call i64 @held_take(ptr %cells, i64 %other, ptr %stores)
  br label %writes
writes:
  %other.r = phi i64 [ 0, %second ], [ %other.t, %take.other ]
  %target = call i64 @baseline_target_register(ptr %s, i64 %n)
  %thunk = call ptr @baseline_thunk(ptr %s, i64 %n)
  %leaves = icmp ne ptr %thunk, null
  %keeps = call i1 @has(i64 %flags, i64 {RESULT})
  %old = call i64 @held_find(ptr %cells, i64 %target)
  %some = icmp ne i64 %target, {NOBODY}
  %was = icmp sge i64 %old, 0
  %replaces = and i1 %some, %was
  br i1 %leaves, label %careful, label %free
free:  ; nobody will need what the target held
  br i1 %replaces, label %forget, label %choose
forget:
  call void @held_drop(ptr %cells, i64 %target)
  br label %choose
careful:  ; the thunk will
  br i1 %replaces, label %lock, label %choose
lock:
  call void @held_give(ptr %cells, i64 %old, i64 %target, i64 0)
  br label %choose
choose:
  br i1 %keeps, label %give.up, label %snapshot
give.up:
  %given = call i64 @held_give_up(ptr %cells, ptr %stores)
  br label %snapshot
snapshot:
  %result.r = phi i64 [ 0, %choose ], [ %given, %give.up ]
  br i1 %leaves, label %owe, label %change
owe:
  call void @held_owe_all(ptr %cells, ptr %owed, i1 true)
  br i1 %replaces, label %unlock, label %change
unlock:
  call void @held_drop(ptr %cells, i64 %target)
  call void @held_give(ptr %cells, i64 %old, i64 {NOBODY}, i64 {NEVER})
  br label %change
change:
  br i1 %keeps, label %keep, label %taken
keep:
  %result.next = call i64 @held_next(i64 %marks, i64 %n, i64 {RESULT_NEXT})
  call void @held_give(ptr %cells, i64 %result.r, i64 %target, i64 %result.next)
  %lost = icmp ne i64 %target, {discard}
  %lacks = zext i1 %lost to i64
  call void @held_has(ptr %cells, i64 %result.r, i64 %lacks)
  br label %taken
taken:
  %first.next = call i64 @held_next(i64 %marks, i64 %n, i64 {FIRST_NEXT})
  call void @held_release(ptr %cells, i64 %first.r, i1 %has.first, i64 %first.next)
  %other.next = call i64 @held_next(i64 %marks, i64 %n, i64 {OTHER_NEXT})
  call void @held_release(ptr %cells, i64 %other.r, i1 %has.other, i64 %other.next)
  %spoils = call i1 @has(i64 %flags, i64 {SPOILS_ALL})
  br i1 %spoils, label %spoil, label %done
spoil:
  call void @held_drop(ptr %cells, i64 {NOBODY})
  br label %done
done:
  %first.c = and i64 %first.r, {CELL_MASK}
  %first.at = shl i64 %first.c, {HOLDS_FIRST}
  %other.c = and i64 %other.r, {CELL_MASK}
  %other.at = shl i64 %other.c, {HOLDS_OTHER}
  %result.c = and i64 %result.r, {CELL_MASK}
  %result.at = shl i64 %result.c, {HOLDS_RESULT}
  %first.loads = icmp uge i64 %first.r, {CELLS}
  %first.bit = select i1 %first.loads, i64 {LOADS_FIRST}, i64 0
  %other.loads = icmp uge i64 %other.r, {CELLS}
  %other.bit = select i1 %other.loads, i64 {LOADS_OTHER}, i64 0
  %m1 = or i64 %marks, %first.at
  %m2 = or i64 %m1, %other.at
  %m3 = or i64 %m2, %result.at
  %m4 = or i64 %m3, %first.bit
  %m5 = or i64 %m4, %other.bit
  call void @set_entry(ptr %s, i64 %n, i64 {entry[marks]}, i64 %m5)
  %stores.v = load i64, ptr %stores
  call void @set_entry(ptr %s, i64 %n, i64 {entry[stores]}, i64 %stores.v)
  %owed.v = load i64, ptr %owed
  call void @set_entry(ptr %s, i64 %n, i64 {entry[owed]}, i64 %owed.v)
  %first.size = call i64 @baseline_load_size(ptr %s, i64 %n, i64 {FIRST_SHIFT}, i1 %first.loads)
  %other.size = call i64 @baseline_load_size(ptr %s, i64 %n, i64 {OTHER_SHIFT}, i1 %other.loads)
  %size = add i64 %first.size, %other.size
  ret i64 %size
}}

; The bytes that it takes to store what a word says.
define internal i64 @baseline_stores_size(ptr %s, i64 %stores) noinline {{
  %store.i = call i64 @word(ptr %s, i64 {at[template_store]})
  %store = inttoptr i64 %store.i to ptr
  %size = call i64 @template_word(ptr %store, i64 {head[size]})
  br label %loop
loop:
  %word = phi i64 [ %stores, %0 ], [ %word.n, %loop ]
  %sum = phi i64 [ 0, %0 ], [ %sum.n, %loop ]
  %part = and i64 %word, 255
  %none = icmp eq i64 %part, 0
  %more = select i1 %none, i64 0, i64 %size
  %sum.n = add i64 %sum, %more
  %word.n = lshr i64 %word, 8
  %end = icmp eq i64 %word.n, 0
  br i1 %end, label %done, label %loop
done:
  ret i64 %sum.n
}}
; Write what stores it: where the next one stands.
define internal ptr @baseline_store(ptr %s, i64 %stores, ptr %out, ptr %values) noinline {{
  %store.i = call i64 @word(ptr %s, i64 {at[template_store]})
  %store = inttoptr i64 %store.i to ptr
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %word = phi i64 [ %stores, %0 ], [ %word.n, %next ]
  %at = phi ptr [ %out, %0 ], [ %at.n, %next ]
  %end = icmp eq i64 %word, 0
  br i1 %end, label %done, label %look
look:
  %part = and i64 %word, 255
  %none = icmp eq i64 %part, 0
  br i1 %none, label %next, label %one
one:
  %register = sub i64 %part, 1
  %register8 = shl i64 %register, 3
  call void @baseline_value(ptr %values, i64 {hole[base8]}, i64 %register8)
  %shift = shl i64 %i, 2
  %cell.0 = lshr i64 {CELLS_IN_TURN}, %shift
  %cell = and i64 %cell.0, {CELL_MASK}
  call void @baseline_value(ptr %values, i64 {hole[first]}, i64 %cell)
  %behind = call ptr @baseline_copy(ptr %store, ptr %at, ptr %values)
  br label %next
next:
  %at.n = phi ptr [ %at, %look ], [ %behind, %one ]
  %word.n = lshr i64 %word, 8
  %i1 = add i64 %i, 1
  br label %loop
done:
  ret ptr %at
}}

; The register that the template of an entry has in a role; -1: none.
define internal i64 @baseline_source(ptr %s, i64 %n, i64 %shift) alwaysinline {{
  %template = call ptr @entry_template(ptr %s, i64 %n)
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %place1 = call i64 @flag_number(i64 %flags, i64 %shift)
  %some = icmp ne i64 %place1, 0
  %place = sub i64 %place1, 1
  %in = select i1 %some, i64 %place, i64 0
  %register.b = call i8 @entry_operand(ptr %s, i64 %n, i64 %in)
  %register = zext i8 %register.b to i64
  %r = select i1 %some, i64 %register, i64 {NOBODY}
  ret i64 %r
}}

; What loads a register of the guest: the hardwired zero is not in the state.
define internal ptr @baseline_loader(ptr %s, i64 %register) alwaysinline {{
  %zero = icmp eq i64 %register, 0
  %load.i = call i64 @word(ptr %s, i64 {at[template_load]})
  %zero.i = call i64 @word(ptr %s, i64 {at[template_zero]})
  %which = select i1 %zero, i64 %zero.i, i64 %load.i
  %r = inttoptr i64 %which to ptr
  ret ptr %r
}}
define internal i64 @baseline_load_size(ptr %s, i64 %n, i64 %shift, i1 %loads) alwaysinline {{
  %register = call i64 @baseline_source(ptr %s, i64 %n, i64 %shift)
  %loader = call ptr @baseline_loader(ptr %s, i64 %register)
  %size = call i64 @template_word(ptr %loader, i64 {head[size]})
  %r = select i1 %loads, i64 %size, i64 0
  ret i64 %r
}}

; Write what loads an operand of an entry, if it must be: where the next one stands.
define internal ptr @baseline_load(ptr %s, i64 %n, i64 %shift, i64 %bit, i64 %at, ptr %out, ptr %values) alwaysinline {{
  %marks = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[marks]})
  %loads = call i1 @has(i64 %marks, i64 %bit)
  br i1 %loads, label %load, label %done
load:
  %register = call i64 @baseline_source(ptr %s, i64 %n, i64 %shift)
  %register8 = shl i64 %register, 3
  call void @baseline_value(ptr %values, i64 {hole[base8]}, i64 %register8)
  %cell = call i64 @held_cell(i64 %marks, i64 %at)
  call void @baseline_value(ptr %values, i64 {hole[result]}, i64 %cell)
  %loader = call ptr @baseline_loader(ptr %s, i64 %register)
  %behind = call ptr @baseline_copy(ptr %loader, ptr %out, ptr %values)
  br label %done
done:
  %r = phi ptr [ %out, %0 ], [ %behind, %load ]
  ret ptr %r
}}
define internal i64 @held_cell(i64 %marks, i64 %at) alwaysinline {{
  %down = lshr i64 %marks, %at
  %r = and i64 %down, {CELL_MASK}
  ret i64 %r
}}
; Say where the operands and the result of an entry are.
define internal void @baseline_held(ptr %s, i64 %n, ptr %values) alwaysinline {{
  %marks = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[marks]})
  %first = call i64 @held_cell(i64 %marks, i64 {HOLDS_FIRST})
  call void @baseline_value(ptr %values, i64 {hole[first]}, i64 %first)
  %other = call i64 @held_cell(i64 %marks, i64 {HOLDS_OTHER})
  call void @baseline_value(ptr %values, i64 {hole[other]}, i64 %other)
  %result = call i64 @held_cell(i64 %marks, i64 {HOLDS_RESULT})
  call void @baseline_value(ptr %values, i64 {hole[result]}, i64 %result)
  ret void
}}
; A look-up shared by several finds their base in `first`.
define internal void @baseline_held_base(ptr %s, i64 %n, ptr %values) alwaysinline {{
  %template = call ptr @entry_template(ptr %s, i64 %n)
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %marks = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[marks]})
  %base = call i64 @flag_number(i64 %flags, i64 {BASE_SHIFT})
  %first.1 = call i64 @flag_number(i64 %flags, i64 {FIRST_SHIFT})
  %first.place = sub i64 %first.1, 1
  %is.first = icmp eq i64 %first.place, %base
  %first = call i64 @held_cell(i64 %marks, i64 {HOLDS_FIRST})
  %other = call i64 @held_cell(i64 %marks, i64 {HOLDS_OTHER})
  %cell = select i1 %is.first, i64 %first, i64 %other
  call void @baseline_value(ptr %values, i64 {hole[first]}, i64 %cell)
  ret void
}}
"""


def registers(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _REGISTERS.format_map({**baseline_names(arch, layout), **cell_names()})
