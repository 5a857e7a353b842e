"""What the registers of the host hold while a block of the baseline compiler is made, as LLVM assembly.
See `runtime_ir` for the notation, `baseline_registers_ir` for who asks.

A *cell* for each of the host's registers, by its number xor FIRST, says which of the guest's it
holds, at which entry that is read, and whether the state lacks it. Never is a large number; those
that cannot be given up are as if they were read at entry 0.
"""

from lamina.engine.threaded.baseline import NOT_READ
from lamina.engine.threaded.baseline_ir import baseline_names
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.stencil_registers import FIRST, HELD
from lamina.isa.arch import Arch

CELLS = 16
_NOBODY = -1  # in place of a register
_NEVER = 1 << 30  # in place of an entry
_REGISTERS_MOST = 256  # that a record can name

_CELLS = """
; At the start of a block.
define internal void @held_clear(ptr %cells) alwaysinline {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %loop ]
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %i
  store i64 {NOBODY}, ptr %holder.p
  %lacks.p = getelementptr inbounds i8, ptr %holder.p, i64 16
  store i64 0, ptr %lacks.p
  %read.p = getelementptr inbounds i8, ptr %holder.p, i64 8
  %bit.1 = shl i64 1, %i
  %bit = and i64 %bit.1, {HELD_CELLS}
  %is = icmp ne i64 %bit, 0
  %read = select i1 %is, i64 {NEVER}, i64 0
  store i64 %read, ptr %read.p
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {CELLS}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; Nothing holds a register of the guest any more; -1: any.
define internal void @held_drop(ptr %cells, i64 %register) noinline {{
  %all = icmp eq i64 %register, {NOBODY}
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %i
  %holder = load i64, ptr %holder.p
  %same = icmp eq i64 %holder, %register
  %drop = or i1 %same, %all
  br i1 %drop, label %one, label %next
one:
  store i64 {NOBODY}, ptr %holder.p
  %lacks.p = getelementptr inbounds i8, ptr %holder.p, i64 16
  store i64 0, ptr %lacks.p
  %read.p = getelementptr inbounds i8, ptr %holder.p, i64 8
  %read = load i64, ptr %read.p
  %fixed = icmp eq i64 %read, 0
  %read.n = select i1 %fixed, i64 0, i64 {NEVER}
  store i64 %read.n, ptr %read.p
  br label %next
next:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {CELLS}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; The cell that holds a register of the guest; -1: none.
define internal i64 @held_find(ptr %cells, i64 %register) noinline {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %i
  %holder = load i64, ptr %holder.p
  %same = icmp eq i64 %holder, %register
  br i1 %same, label %found, label %next
found:
  ret i64 %i
next:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {CELLS}
  br i1 %more, label %loop, label %none
none:
  ret i64 -1
}}

; Add to what is to be stored what a cell holds, if the state lacks it.
define internal void @held_owe(ptr %cells, i64 %cell, ptr %stores) alwaysinline {{
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %cell
  %lacks.p = getelementptr inbounds i8, ptr %holder.p, i64 16
  %lacks = load i64, ptr %lacks.p
  %does = icmp ne i64 %lacks, 0
  br i1 %does, label %add, label %out
add:
  %holder = load i64, ptr %holder.p
  %holder.1 = add i64 %holder, 1
  %cell4 = shl i64 %cell, 2
  %place.0 = lshr i64 {PLACES_OF_CELLS}, %cell4
  %place = and i64 %place.0, 15
  %place8 = shl i64 %place, 3
  %part = shl i64 %holder.1, %place8
  %word.0 = load i64, ptr %stores
  %word = or i64 %word.0, %part
  store i64 %word, ptr %stores
  br label %out
out:
  ret void
}}
define internal void @held_has(ptr %cells, i64 %cell, i64 %lacks) alwaysinline {{
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %cell
  %lacks.p = getelementptr inbounds i8, ptr %holder.p, i64 16
  store i64 %lacks, ptr %lacks.p
  ret void
}}
; The same for all; %after: whether the state lacks them then.
define internal void @held_owe_all(ptr %cells, ptr %stores, i1 %after) noinline {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  call void @held_owe(ptr %cells, i64 %i, ptr %stores)
  br i1 %after, label %next, label %clean
clean:
  call void @held_has(ptr %cells, i64 %i, i64 0)
  br label %next
next:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {CELLS}
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; Give up the cell that is read last of all: what it holds is stored.
define internal i64 @held_give_up(ptr %cells, ptr %stores) noinline {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %loop ]
  %last = phi i64 [ 0, %0 ], [ %last.n, %loop ]
  %best = phi i64 [ 0, %0 ], [ %best.n, %loop ]
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %i
  %read.p = getelementptr inbounds i8, ptr %holder.p, i64 8
  %read.i = load i64, ptr %read.p
  %later = icmp ugt i64 %read.i, %last
  %last.n = select i1 %later, i64 %read.i, i64 %last
  %best.n = select i1 %later, i64 %i, i64 %best
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {CELLS}
  br i1 %more, label %loop, label %done
done:
  call void @held_owe(ptr %cells, i64 %best.n, ptr %stores)
  call void @held_has(ptr %cells, i64 %best.n, i64 0)
  ret i64 %best.n
}}
; Have a cell hold a register, which is read at %read.
define internal void @held_give(ptr %cells, i64 %cell, i64 %register, i64 %read) alwaysinline {{
  %holder.p = getelementptr inbounds [4 x i64], ptr %cells, i64 %cell
  store i64 %register, ptr %holder.p
  %read.p = getelementptr inbounds i8, ptr %holder.p, i64 8
  store i64 %read, ptr %read.p
  ret void
}}
; The cell of an operand, which cannot be given up now; plus {CELLS} if it did not hold it before.
define internal i64 @held_take(ptr %cells, i64 %register, ptr %stores) noinline {{
  %found = call i64 @held_find(ptr %cells, i64 %register)
  %is = icmp sge i64 %found, 0
  br i1 %is, label %known, label %new
known:
  call void @held_give(ptr %cells, i64 %found, i64 %register, i64 0)
  ret i64 %found
new:
  %given = call i64 @held_give_up(ptr %cells, ptr %stores)
  call void @held_give(ptr %cells, i64 %given, i64 %register, i64 0)
  %r = add i64 %given, {CELLS}
  ret i64 %r
}}
"""


def cell_names() -> dict[str, int]:
    """What the texts refer to, beside what all of the baseline compiler do."""
    cells = sorted(number ^ FIRST for number in HELD)
    return {
        "NOBODY": _NOBODY,
        "NEVER": _NEVER,
        "NOT_READ": NOT_READ,
        "REGISTERS_MOST": _REGISTERS_MOST,
        "CELLS": CELLS,
        "CELL_MASK": CELLS - 1,
        "HELD_CELLS": sum(1 << cell for cell in cells),
        "PLACES_OF_CELLS": sum(i << 4 * cell for i, cell in enumerate(cells)),
        "CELLS_IN_TURN": sum(cell << 4 * i for i, cell in enumerate(cells)),
    }


def cells(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _CELLS.format_map({**baseline_names(arch, layout), **cell_names()})
