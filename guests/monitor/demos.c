// Commands that do something to the processor: traps, a user program, a computation.
#include "monitor.h"

static void do_illegal(u64 unused) {
    (void)unused;
    __asm__ volatile(".word 0"); // all zeros: illegal by definition, in every extension
}
static void do_ebreak(u64 unused) {
    (void)unused;
    __asm__ volatile(".option push\n.option norvc\nebreak\n.option pop");
}
static void do_csr(u64 unused) {
    (void)unused;
    read_csr("mstatus"); // a register of machine mode
}
static u64 words_of_memory[2] = {0x1122334455667788, 0x99aabbccddeeff00};
static u64 loaded;
static void do_misaligned(u64 address) {
    __asm__ volatile("ld %0, 0(%1)" : "=r"(loaded) : "r"(address) : "memory");
}
static void do_amo(u64 address) {
    __asm__ volatile("amoadd.d zero, zero, (%0)" ::"r"(address) : "memory");
}
static void do_read(u64 address) { loaded = *(volatile u64 *)address; }
static void do_write(u64 address) { *(volatile u32 *)address = 0; }
static void do_jump(u64 address) { ((void (*)(void))address)(); }
static void do_ecall(u64 unused) {
    (void)unused;
    long error = sbi_call(0x4c414d49, 0, 0, 0, 0).error; // an extension that nobody has
    print("the ecall went to the SBI, which answered: %s\n", sbi_error(error));
}

extern char kernel_start[], data_start[];

static const struct demo {
    const char *name;
    void (*function)(u64);
    u64 argument;
    const char *without; // what it means when no trap comes
} demos[] = {
    {"illegal", do_illegal, 0, "no trap: this machine knows the instruction 0"},
    {"csr", do_csr, 0, "no trap: supervisor mode may read mstatus here"},
    {"ebreak", do_ebreak, 0, "no trap: a debugger took it"},
    {"ecall", do_ecall, 0, NULL},
    {"misaligned", do_misaligned, (u64)words_of_memory + 3, NULL},
    {"amo", do_amo, (u64)words_of_memory + 3, "no trap: misaligned atomics work here"},
    {"read", do_read, 0x3fdeadb000, "no trap: something is there"},
    {"write", do_write, (u64)kernel_start, "no trap: code can be written"},
    {"jump", do_jump, (u64)words_of_memory, "no trap: data can be executed"},
};

static void run_demo(const struct demo *demo) {
    struct trap_record record;
    bool unsafe = !paging_on() && (demo->function == do_write || demo->function == do_jump);
    print("%-11s ", demo->name);
    if (unsafe)
        print("left out: paging is off, nothing would stop it\n");
    else if (guarded(demo->function, demo->argument, &record))
        trap_report(&record);
    else if (demo->function == do_misaligned)
        print("no trap: read 0x%x at 0x%x (by hardware, or firmware hides the trap)\n", loaded,
              demo->argument);
    else if (demo->without)
        print("%s\n", demo->without);
}

// trap: all of them. trap NAME: one.
bool cmd_trap(int count, char **words) {
    bool any = false;
    if (count > 2)
        return false;
    for (u64 i = 0; i < ARRAY_LENGTH(demos); i++)
        if (count == 1 || text_equal(words[1], demos[i].name)) {
            run_demo(&demos[i]);
            any = true;
        }
    return any;
}

void enter_user(u64 entry);                 // trap.S
extern char user_hello[], user_peeks[];     // user.S

// user: two programs in user mode, one well-behaved.
bool cmd_user(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    if (!paging_on()) {
        print("paging is off: user mode needs a page of its own\n");
        return true;
    }
    const char *const programs[] = {user_hello, user_peeks};
    for (u64 i = 0; i < ARRAY_LENGTH(programs); i++) {
        struct trap_record record;
        print("user program at 0x%x:\n", (u64)programs[i]);
        guarded(enter_user, (u64)programs[i], &record);
        if (record.cause == CAUSE_USER_ECALL)
            print("  it left with status %u\n", record.a0);
        else {
            print("  it was ended by a ");
            trap_report(&record);
        }
    }
    return true;
}

static u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static u64 instructions, cycles;
static void read_counters(u64 unused) {
    (void)unused;
    instructions = read_csr("instret");
    cycles = read_csr("cycle");
}

// run fib [N]: a Fibonacci number by recursion, which takes as many calls, and how long it took.
bool cmd_run(int count, char **words) {
    u64 n = 20;
    if (count < 2 || count > 3 || !text_equal(words[1], "fib") ||
        (count == 3 && !text_number(words[2], &n)))
        return false;
    if (n > 45) {
        print("run fib: at most 45\n");
        return true;
    }
    struct trap_record record; // the firmware may keep the counters to itself (mcounteren)
    bool counters = !guarded(read_counters, 0, &record);
    u64 first_instruction = instructions, first_cycle = cycles, first_tick = time_now();
    u64 result = fib(n);
    u64 ticks = time_now() - first_tick;
    if (counters)
        guarded(read_counters, 0, &record);
    u64 us = ticks * 1000000 / machine.timebase;
    print("fib(%u) = %u\n%u us", n, result, us);
    if (counters) {
        u64 retired = instructions - first_instruction;
        print(", %u instructions, %u cycles", retired, cycles - first_cycle);
        if (us)
            print(", %u MIPS", retired / us);
    }
    print("\n");
    return true;
}
