// Offsets and sizes that assembly and C share. main.c asserts that the offsets are C's.
#pragma once

#define HART_ID 0
#define HART_KERNEL_SP 8
#define HART_TRAP_SP 16

#define FRAME_SEPC 256
#define FRAME_SSTATUS 264
#define FRAME_SIZE 272

#define GUARD_SP 0

#define BOOT_STACK_SIZE 16384
#define SSTATUS_SIE 0x2
#define SSTATUS_SPIE 0x20
#define SSTATUS_SPP 0x100
