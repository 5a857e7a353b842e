// What the files of the monitor offer each other, in the order of the boot.
#pragma once
#include "riscv.h"

#define MAX_HARTS 16
#define MAX_VIRTIO 8
#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

// --- text.c: strings, numbers, formatted output -------------------------------------------------
bool text_equal(const char *a, const char *b);
bool text_starts(const char *text, const char *prefix);
bool text_number(const char *text, u64 *value);
void *memset(void *start, int value, size_t size);
void *memcpy(void *to, const void *from, size_t size);
// %s %c %d %u %x; %p is 0x and 16 digits; a width, 0 and - before it as in printf. Takes 64-bit
// values for %d %u %x %p: hand over (u64). Whole calls of several harts do not mix.
void print(const char *format, ...);

// --- fdt.c: the flattened device tree -----------------------------------------------------------
#define FDT_MAX_DEPTH 8
struct fdt_node {
    u32 offset; // where the scan goes on: the node's first property
    int depth;  // 0 is the root, -1 before it
    const char *name;
    u8 address_cells[FDT_MAX_DEPTH], size_cells[FDT_MAX_DEPTH]; // [d]: for children of depth d
};
bool fdt_open(const void *blob);
u64 fdt_size(void);
struct fdt_node fdt_start(void);
bool fdt_next(struct fdt_node *node);
bool fdt_next_property(u32 *offset, const char **name, const u8 **value, u32 *length);
const void *fdt_property(const struct fdt_node *node, const char *name, u32 *length);
bool fdt_u32(const struct fdt_node *node, const char *name, u32 *value);
bool fdt_reg(const struct fdt_node *node, u32 index, u64 *base, u64 *size);
bool fdt_compatible(const struct fdt_node *node, const char *with);
u32 fdt_cell(const void *cells, u32 index);

// --- machine.c: what the device tree says of this machine ---------------------------------------
struct slot {
    u64 base;
    u32 irq;
};
struct machine {
    const void *device_tree;
    u64 ram_base, ram_size;
    u32 timebase; // ticks of `time` a second
    u32 hart_count;
    const char *isa, *model;
    struct slot uart;
    u32 uart_shift; // its registers are 1 << shift bytes apart
    u64 plic, finisher;
    const u8 *plic_wires; // interrupts-extended: two cells a context
    u32 plic_contexts, plic_sources;
    u32 virtio_count;
    struct slot virtio[MAX_VIRTIO];
};
extern struct machine machine;
bool machine_discover(const void *device_tree);

// --- sbi.c: calls to the firmware below us ------------------------------------------------------
struct sbi_result {
    long error;
    u64 value;
};
enum {
    SBI_BASE = 0x10, SBI_TIME = 0x54494d45, SBI_IPI = 0x735049, SBI_HSM = 0x48534d,
    SBI_SRST = 0x53525354, SBI_DBCN = 0x4442434e,
};
struct sbi_result sbi_call(u64 extension, u64 function, u64 a0, u64 a1, u64 a2);
bool sbi_has(u64 extension);
const char *sbi_error(long error);
void sbi_putc(char c);
int sbi_getc(void); // -1: no input
void sbi_identity(void);

// --- uart.c, console.c, line.c: characters ------------------------------------------------------
void uart_init(void);
void uart_putc(char c);
int uart_getc(void); // -1: no input
void uart_receive_interrupt(bool on);
void console_init(void);
void console_interrupts(void);
const char *console_name(void);
void console_putc(char c);
char console_getc(void);
bool console_break(void); // Ctrl-C came while a command ran
void console_lock(void);
void console_unlock(void);
void console_release(void); // after a trap: this hart's lock, if it holds it
bool line_read(const char *prompt, char *line, u32 size);

// --- harts.c ------------------------------------------------------------------------------------
struct trap_record {
    u64 cause, pc, value, a0;
    bool from_user;
};
struct guard {
    u64 sp; // at GUARD_SP
    struct guard *outer;
    bool trapped;
    struct trap_record record;
};
struct hart {
    u64 id;        // at HART_ID
    u64 kernel_sp; // at HART_KERNEL_SP
    u64 trap_sp;   // at HART_TRAP_SP
    u32 plic_context;
    u32 interrupt_controller; // phandle
    struct guard *guard;      // innermost guarded call
    void (*volatile job)(void);
    volatile bool online;
    volatile u64 ipis, ipi_time, timer_ticks, external;
};
extern struct hart harts[MAX_HARTS]; // harts[0] is the one that booted
struct hart *this_hart(void);

// --- paging.c, plic.c, timer.c, trap.c ----------------------------------------------------------
void paging_init(void);
void paging_enable(void);
bool paging_on(void);
int paging_walk(u64 address, u64 entries[3]); // fills the entries on the way, returns their number
bool paging_demand(u64 address); // a page fault in the demand window: map a page
void plic_init(void);
bool plic_connect(u32 irq, void (*handler)(void));
void plic_interrupt(void);
void timer_init(void);
const char *timer_name(void);
void timer_arm(u64 when);
void timer_interrupt(void);
u64 timer_ticks_of_us(u64 us);
// Sleeps until done() or the deadline (a value of `time`), and says whether it was done().
bool sleep_until(bool (*done)(void), u64 deadline);
bool guarded(void (*function)(u64), u64 argument, struct trap_record *record);
void trap_report(const struct trap_record *record);
extern const u64 CAUSE_BREAK; // the cause in the record of a call that Ctrl-C ended

// --- virtio.c, rng.c -----------------------------------------------------------------------------------
// Registers, with the names and numbers of the specification (4.2.2; 4.2.4 for version 1).
enum {
    VIRTIO_MAGIC = 0x00, VIRTIO_VERSION = 0x04, VIRTIO_DEVICE_ID = 0x08, VIRTIO_VENDOR_ID = 0x0c,
    VIRTIO_DRIVER_FEATURES = 0x20, VIRTIO_DRIVER_FEATURES_SEL = 0x24, VIRTIO_PAGE_SIZE = 0x28,
    VIRTIO_QUEUE_SEL = 0x30, VIRTIO_QUEUE_NUM_MAX = 0x34, VIRTIO_QUEUE_NUM = 0x38,
    VIRTIO_QUEUE_ALIGN = 0x3c, VIRTIO_QUEUE_PFN = 0x40, VIRTIO_QUEUE_READY = 0x44,
    VIRTIO_QUEUE_NOTIFY = 0x50, VIRTIO_INTERRUPT_STATUS = 0x60, VIRTIO_INTERRUPT_ACK = 0x64,
    VIRTIO_STATUS = 0x70, VIRTIO_QUEUE_DESC = 0x80, VIRTIO_QUEUE_DRIVER = 0x90,
    VIRTIO_QUEUE_DEVICE = 0xa0,
};
#define VIRTIO_ID_ENTROPY 4
bool virtio_find(u32 device, struct slot *slot, u32 *version);

// --- commands (shell.c has the table): false means wrong arguments ------------------------------
typedef bool command(int count, char **words);
command cmd_harts, cmd_ipi, cmd_race, cmd_dt, cmd_mem, cmd_pages, cmd_walk, cmd_fault, cmd_timer,
    cmd_irqs, cmd_virtio, cmd_random, cmd_trap, cmd_user, cmd_sbi, cmd_run, cmd_csrs, cmd_peek,
    cmd_exit, cmd_poweroff, cmd_reboot;
void shell(void) __attribute__((noreturn));
