// The Supervisor Binary Interface: an ecall from S-mode asks the firmware (or, in a virtual machine
// without firmware, the hypervisor) for what only machine mode can do. RISC-V SBI specification.
#include "monitor.h"

// Binary encoding (chapter 3): extension in a7, function in a6, arguments in a0 to a5;
// the answer is an error in a0 and a value in a1. All other registers are kept.
struct sbi_result sbi_call(u64 extension, u64 function, u64 a0, u64 a1, u64 a2) {
    register u64 r0 __asm__("a0") = a0;
    register u64 r1 __asm__("a1") = a1;
    register u64 r2 __asm__("a2") = a2;
    register u64 r6 __asm__("a6") = function;
    register u64 r7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(r0), "+r"(r1) : "r"(r2), "r"(r6), "r"(r7) : "memory");
    return (struct sbi_result){(long)r0, r1};
}

enum { GET_SPEC_VERSION, GET_IMPLEMENTATION, GET_IMPLEMENTATION_VERSION, PROBE };
enum { LEGACY_PUTCHAR = 1, LEGACY_GETCHAR = 2 };
enum { DBCN_WRITE, DBCN_READ, DBCN_WRITE_BYTE };

bool sbi_has(u64 extension) {
    struct sbi_result found = sbi_call(SBI_BASE, PROBE, extension, 0, 0);
    return found.error == 0 && found.value != 0;
}

const char *sbi_error(long error) {
    static const char *const names[] = {"success",         "failed",          "not supported",
                                        "invalid parameter", "denied",        "invalid address",
                                        "already available", "already started", "already stopped",
                                        "no shared memory"};
    u64 index = (u64)-error;
    return index < ARRAY_LENGTH(names) ? names[index] : "unknown error";
}

// Console of last resort, for machines without a UART that we know.
void sbi_putc(char c) {
    if (sbi_has(SBI_DBCN))
        sbi_call(SBI_DBCN, DBCN_WRITE_BYTE, (u8)c, 0, 0);
    else
        sbi_call(LEGACY_PUTCHAR, 0, (u8)c, 0, 0);
}

int sbi_getc(void) {
    if (!sbi_has(SBI_DBCN)) {
        long c = sbi_call(LEGACY_GETCHAR, 0, 0, 0, 0).error; // legacy calls answer in a0
        return c >= 0 && c <= 255 ? (int)c : -1;
    }
    // The SBI takes physical addresses; ours are the same, as paging.c maps RAM to itself.
    u8 byte = 0;
    struct sbi_result got = sbi_call(SBI_DBCN, DBCN_READ, 1, (u64)&byte, 0);
    return got.error == 0 && got.value == 1 ? byte : -1;
}

enum { LAMINA_SBI = 0x4c4d4e41 }; // "LMNA", far from the numbers that are handed out

static const char *implementation_name(u64 id) {
    static const char *const names[] = {"BBL",    "OpenSBI", "Xvisor", "KVM",           "RustSBI",
                                        "Diosix", "Coffer",  "Xen",    "PolarFire HSS", "coreboot",
                                        "oreboot", "bhyve"};
    if (id == LAMINA_SBI)
        return "Lamina";
    return id < ARRAY_LENGTH(names) ? names[id] : NULL;
}

static u64 base_value(u64 function) { return sbi_call(SBI_BASE, function, 0, 0, 0).value; }

// "SBI 1.0 by OpenSBI 1.1", without an end of line: the banner and `sbi` use it.
void sbi_identity(void) {
    u64 version = base_value(GET_SPEC_VERSION), id = base_value(GET_IMPLEMENTATION);
    u64 release = base_value(GET_IMPLEMENTATION_VERSION);
    const char *name = implementation_name(id);
    print("SBI %u.%u by ", version >> 24 & 0x7f, version & 0xffffff);
    if (!name)
        print("implementation %u, version 0x%x", id, release);
    else // OpenSBI and most others: major in the upper half
        print("%s %u.%u", name, release >> 16, release & 0xffff);
}

static void list_extensions(void) {
    static const struct {
        u64 id;
        const char *name, *what;
    } known[] = {
        {SBI_BASE, "BASE", "who the firmware is, and what it offers"},
        {SBI_TIME, "TIME", "timer interrupts"},
        {SBI_IPI, "IPI", "interrupts between harts"},
        {0x52464e43, "RFNC", "fences on other harts"},
        {SBI_HSM, "HSM", "harts start, stop, suspend"},
        {SBI_SRST, "SRST", "poweroff and reboot"},
        {0x504d55, "PMU", "performance counters"},
        {SBI_DBCN, "DBCN", "debug console"},
        {0x53555350, "SUSP", "suspend of the whole machine"},
        {0x43505043, "CPPC", "performance control"},
        {0x4e41434c, "NACL", "nested virtualization"},
        {0x535441, "STA", "steal time"},
        {0x535345, "SSE", "software events"},
        {0x46574654, "FWFT", "firmware features"},
        {0, "0x00", "legacy set_timer"},
        {LEGACY_PUTCHAR, "0x01", "legacy console output"},
        {LEGACY_GETCHAR, "0x02", "legacy console input"},
        {8, "0x08", "legacy shutdown"},
    };
    for (u64 i = 0; i < ARRAY_LENGTH(known); i++)
        print("  %-5s %-4s %s\n", known[i].name, sbi_has(known[i].id) ? "yes" : "no",
              known[i].what);
}

// The debug console may take fewer bytes than it was offered; what is left is offered again.
static void print_by_sbi(const char *text) {
    while (*text) {
        u64 length = 0;
        while (text[length])
            length++;
        struct sbi_result written = {-1, 0};
        if (sbi_has(SBI_DBCN))
            written = sbi_call(SBI_DBCN, DBCN_WRITE, length, (u64)text, 0);
        if (written.error) {
            sbi_putc(*text);
            written.value = 1;
        }
        text += written.value <= length ? written.value : length;
    }
}

// sbi: who is below us. sbi print WORD...: text by way of the debug console.
bool cmd_sbi(int count, char **words) {
    if (count == 1) {
        sbi_identity();
        print("\nextensions:\n");
        list_extensions();
        return true;
    }
    if (count < 3 || !text_equal(words[1], "print"))
        return false;
    if (!sbi_has(SBI_DBCN))
        print("no debug console (DBCN) here: the legacy console call prints this\n");
    for (int i = 2; i < count; i++) {
        print_by_sbi(words[i]);
        sbi_putc(i + 1 < count ? ' ' : '\r');
    }
    sbi_putc('\n');
    return true;
}
