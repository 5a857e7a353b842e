# Two programs that run in user mode, on a page that user mode may read and execute (paging.c).
#
# Their system calls (an ecall traps with cause 8; trap.c answers), number in a7:
#   1  print the character in a0        2  leave with the status in a0
        .section .user, "ax"
        .globl  user_hello, user_peeks

# Prints its text a character at a time and leaves with the number of characters.
user_hello:
        la      s0, 3f
        li      s1, 0
1:      lbu     a0, 0(s0)
        beqz    a0, 2f
        li      a7, 1
        ecall
        addi    s0, s0, 1
        addi    s1, s1, 1
        j       1b
2:      mv      a0, s1
        li      a7, 2
        ecall
3:      .asciz  "hello from user mode\n"

# Reads the kernel's memory, which is mapped but not for user mode: a load page fault.
        .balign 4
user_peeks:
        la      t0, kernel_start
        ld      a0, 0(t0)
        li      a7, 2
        ecall
