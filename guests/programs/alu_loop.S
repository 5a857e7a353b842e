# A memory loop of 7 instructions (two loads, one store, three ALU, one branch): the loop on which
# the speed of engines is compared.
#
# Iterations: a0 where it is not zero at _start (set it before the first step), else the 64-bit
# word at `iterations` (patch it in the loaded image). 0 in both means one iteration.
# On a real reset a0 is the hart's number, which is 0 on the one hart that goes on.
#
# Each iteration: total += addend ^ counter, counter counting down to 1. The total is in memory at
# `total` at the end. Outside of the loop, hart 0 retires a fixed number of instructions.
.include "machine.inc"

        .text
        .globl  _start, loop, loop_end
_start: park_other_harts
        la      s0, total
        mv      s1, a0
        bnez    s1, 3f
        ld      s1, 16(s0)
        bnez    s1, 3f
        li      s1, 1
# Branches go to the local label: one to a global symbol becomes a branch around a jump.
loop:
3:      ld      t1, 0(s0)
        ld      t2, 8(s0)
        xor     t2, t2, s1
        add     t1, t1, t2
        sd      t1, 0(s0)
        addi    s1, s1, -1
        bnez    s1, 3b
loop_end:
        finish  FINISHER_PASS

# On a page of its own: emulators that watch pages with code for stores would be slow otherwise.
        .data
        .balign 4096
        .globl  total, addend, iterations
total:  .dword  0
addend: .dword  0x5deece66d
iterations:
        .dword  1000000
