# Prints "hello, world" on the UART and ends with status 0.
# The first program to try on a new engine: loads, a store, a loop, two devices.
.include "machine.inc"

        .text
        .globl  _start
_start: park_other_harts
        la      s0, message
        li      s1, UART
next:   lbu     a0, 0(s0)
        beqz    a0, done
wait:   lbu     t0, UART_LSR(s1)        # a real UART is busy for 86 us a byte at 115200 baud
        andi    t0, t0, LSR_THR_EMPTY
        beqz    t0, wait
        sb      a0, UART_THR(s1)
        addi    s0, s0, 1
        j       next
done:   finish  FINISHER_PASS

        .section .rodata
message:
        .asciz  "hello, world\n"
