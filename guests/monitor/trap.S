# Into the kernel and out of it again (Privileged specification, "Supervisor-Level ISA").
#
# A trap finds all 31 registers in use. sscratch is the one place to start from: it is zero while
# this hart runs in the kernel, and the hart's struct hart while it runs a user program.
#include "layout.h"

        .text
        .balign 4                       # stvec's two low bits are its mode: 0, direct
        .globl  trap_entry
trap_entry:
        csrrw   tp, sscratch, tp
        bnez    tp, 1f
        csrr    tp, sscratch            # from the kernel: tp was right, go on with its stack
        sd      sp, HART_TRAP_SP(tp)
        j       2f
1:      sd      sp, HART_TRAP_SP(tp)    # from user mode: the user's sp may be anything
        ld      sp, HART_KERNEL_SP(tp)
2:      addi    sp, sp, -FRAME_SIZE
        sd      x1, 8(sp)
        sd      x3, 24(sp)
        .irp    n, 5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        sd      x\n, 8*\n(sp)
        .endr
        ld      t0, HART_TRAP_SP(tp)
        sd      t0, 16(sp)
        csrrw   t0, sscratch, zero      # the interrupted tp; from here on this is the kernel
        sd      t0, 32(sp)
        csrr    t0, sepc
        sd      t0, FRAME_SEPC(sp)
        csrr    t0, sstatus
        sd      t0, FRAME_SSTATUS(sp)
        mv      a0, sp
        call    trap                    # trap(frame) may change the frame: it decides what resumes

        ld      t0, FRAME_SEPC(sp)
        csrw    sepc, t0
        ld      t0, FRAME_SSTATUS(sp)
        csrw    sstatus, t0
        andi    t0, t0, SSTATUS_SPP
        bnez    t0, 3f
        csrw    sscratch, tp            # back to user mode
3:      ld      x1, 8(sp)
        ld      x3, 24(sp)
        ld      x4, 32(sp)
        .irp    n, 5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        ld      x\n, 8*\n(sp)
        .endr
        ld      sp, 16(sp)
        sret

# guarded_call(function, argument, guard): calls function(argument). trap.c can end that call at any
# moment: it makes the trap return to guarded_return with the stack pointer kept in the guard.
        .globl  guarded_call, guarded_return
guarded_call:
        addi    sp, sp, -112
        sd      ra, 0(sp)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11
        sd      s\n, 8+8*\n(sp)
        .endr
        sd      sp, GUARD_SP(a2)
        mv      t0, a0
        mv      a0, a1
        jalr    t0
guarded_return:
        ld      ra, 0(sp)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11
        ld      s\n, 8+8*\n(sp)
        .endr
        addi    sp, sp, 112
        ret

# enter_user(entry): leaves for user mode at `entry`. The way back is a trap.
        .globl  enter_user
enter_user:
        csrci   sstatus, SSTATUS_SIE    # no interrupt may see sscratch set while in the kernel
        csrw    sepc, a0
        sd      sp, HART_KERNEL_SP(tp)
        csrw    sscratch, tp
        li      t0, SSTATUS_SPP         # sret goes to the mode in SPP: 0 is user mode
        csrc    sstatus, t0
        li      t0, SSTATUS_SPIE        # and takes SIE from SPIE
        csrs    sstatus, t0
        .irp    n, 1,3,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        li      x\n, 0                  # the program learns nothing from what the kernel left
        .endr
        li      sp, 0
        li      tp, 0
        sret
