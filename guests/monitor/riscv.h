// The instructions that C has no words for: control registers, fences, device registers.
#pragma once
#include "layout.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define read_csr(name)                                                                            \
    ({                                                                                            \
        u64 value_;                                                                               \
        __asm__ volatile("csrr %0, " name : "=r"(value_)::"memory");                              \
        value_;                                                                                   \
    })
#define write_csr(name, value) __asm__ volatile("csrw " name ", %0" ::"r"((u64)(value)) : "memory")
#define set_csr(name, bits) __asm__ volatile("csrs " name ", %0" ::"r"((u64)(bits)) : "memory")
#define clear_csr(name, bits) __asm__ volatile("csrc " name ", %0" ::"r"((u64)(bits)) : "memory")

// By number, since older assemblers lack the name (Sstc extension, stimecmp).
#define CSR_STIMECMP "0x14d"

// sie and sip: one bit an interrupt; scause has the same number with bit 63 set.
#define IRQ_SOFTWARE 1
#define IRQ_TIMER 5
#define IRQ_EXTERNAL 9
#define CAUSE_INTERRUPT (1ull << 63)

#define CAUSE_FETCH_PAGE_FAULT 12
#define CAUSE_LOAD_PAGE_FAULT 13
#define CAUSE_STORE_PAGE_FAULT 15
#define CAUSE_USER_ECALL 8

static inline u64 time_now(void) { return read_csr("time"); }
static inline void wait_for_interrupt(void) { __asm__ volatile("wfi" ::: "memory"); }
static inline void interrupts_on(void) { set_csr("sstatus", SSTATUS_SIE); }
static inline void interrupts_off(void) { clear_csr("sstatus", SSTATUS_SIE); }
// Orders memory and device accesses alike (unprivileged specification, FENCE).
static inline void fence(void) { __asm__ volatile("fence iorw, iorw" ::: "memory"); }
// A hint that this hart spins (Zihintpause); elsewhere it is a fence that orders nothing.
static inline void spin_hint(void) { __asm__ volatile(".word 0x0100000f" ::: "memory"); }

// Device registers: `volatile`, so that every access in the source is one access of the machine.
static inline u8 mmio_read8(u64 address) { return *(volatile u8 *)address; }
static inline u32 mmio_read32(u64 address) { return *(volatile u32 *)address; }
static inline void mmio_write8(u64 address, u8 value) { *(volatile u8 *)address = value; }
static inline void mmio_write32(u64 address, u32 value) { *(volatile u32 *)address = value; }
