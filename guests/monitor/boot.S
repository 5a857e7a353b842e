# The first instructions of the monitor, and of every further hart.
#
# On entry (SBI specification, "Hart State Management", start of a hart; the same holds at boot):
# S-mode, satp = 0 (no paging), sstatus.SIE = 0, a0 = this hart's id, a1 = the device tree's
# address at boot, or what sbi_hart_start() was given as `opaque`. Nothing else is known: no stack,
# and memory that the ELF file does not fill (.bss) may hold anything.
#include "layout.h"

        .section .text.boot, "ax"
        .globl  _start
_start:
        la      t0, bss_start           # C expects its zeros
        la      t1, kernel_end
1:      sd      zero, 0(t0)
        addi    t0, t0, 8
        bltu    t0, t1, 1b

        la      tp, harts               # tp names this hart's struct hart for ever
        sd      a0, HART_ID(tp)
        la      sp, boot_stack_top
        la      t0, trap_entry
        csrw    stvec, t0
        csrw    sscratch, zero          # zero: the hart runs in the kernel (see trap.S)
        mv      a0, a1
        call    main                    # main(device tree); never returns
        j       park

# A hart that harts.c started: a1 is its struct hart, which has its stack.
        .globl  hart_entry
hart_entry:
        mv      tp, a1
        ld      sp, HART_KERNEL_SP(tp)
        la      t0, trap_entry
        csrw    stvec, t0
        csrw    sscratch, zero
        call    hart_main               # never returns
park:   wfi
        j       park

        .bss
        .balign 4096
boot_stack:
        .skip   BOOT_STACK_SIZE
boot_stack_top:
