// Commands that print what is there: the device tree, the memory map, control registers.
#include "monitor.h"

static bool printable_strings(const u8 *value, u32 length) {
    if (length == 0 || value[length - 1] != 0 || value[0] == 0)
        return false;
    for (u32 i = 0; i < length; i++)
        if ((value[i] < ' ' || value[i] > '~') && (value[i] != 0 || (i && value[i - 1] == 0)))
            return false;
    return true;
}

static void print_property(const char *name, const u8 *value, u32 length) {
    print("    %s", name);
    if (printable_strings(value, length))
        for (u32 at = 0; at < length; at++) {
            print("%s\"%s\"", at ? ", " : " = ", (const char *)value + at);
            while (value[at])
                at++;
        }
    else
        for (u32 at = 0; at + 4 <= length && at < 64; at += 4)
            print("%s0x%x", at ? " " : " = ", (u64)fdt_cell(value, at / 4));
    print(length > 64 && !printable_strings(value, length) ? " ... (%u bytes)\n" : "\n",
          (u64)length);
}

// dt: the nodes. dt NAME: the properties of the nodes whose names start so.
bool cmd_dt(int count, char **words) {
    if (count > 2)
        return false;
    bool any = false;
    struct fdt_node node = fdt_start();
    while (fdt_next(&node)) {
        if (count == 2 && !text_starts(node.name, words[1]))
            continue;
        any = true;
        u64 base, size;
        if (count == 1) {
            for (int i = 0; i < node.depth; i++)
                print("  ");
            print("%s", node.depth ? node.name : "/");
            u32 length;
            const u8 *with = fdt_property(&node, "compatible", &length);
            if (with && printable_strings(with, length))
                print("  (%s)", (const char *)with);
            print("\n");
            continue;
        }
        print("%s\n", node.depth ? node.name : "/");
        u32 offset = node.offset, length;
        const char *name;
        const u8 *value;
        while (fdt_next_property(&offset, &name, &value, &length))
            print_property(name, value, length);
        for (u32 i = 0; fdt_reg(&node, i, &base, &size) && size; i++)
            print("    # occupies 0x%x to 0x%x\n", base, base + size - 1);
    }
    if (!any)
        print(count == 2 ? "dt: no node starts with %s\n" : "no device tree\n",
              count == 2 ? words[1] : "");
    return true;
}

#define MAX_RANGES 48
static struct range {
    u64 base, size;
    const char *name;
} ranges[MAX_RANGES];
static u32 range_count;

// Keeps the list sorted; of two that begin together the larger comes first.
static void add_range(u64 base, u64 size, const char *name) {
    if (range_count == MAX_RANGES || size == 0)
        return;
    u32 at = range_count++;
    for (; at && (ranges[at - 1].base > base ||
                  (ranges[at - 1].base == base && ranges[at - 1].size < size));
         at--)
        ranges[at] = ranges[at - 1];
    ranges[at] = (struct range){base, size, name};
}

static void print_size(u64 size) {
    if (size >= 1ull << 30 && size % (1ull << 30) == 0)
        print("%5u GiB", size >> 30);
    else if (size >= 1u << 20 && size % (1u << 20) == 0)
        print("%5u MiB", size >> 20);
    else if (size >= 1u << 10 && size % (1u << 10) == 0)
        print("%5u KiB", size >> 10);
    else
        print("%5u B  ", size);
}

// mem: the physical memory map: RAM and what lies in it, and the devices.
bool cmd_mem(int count, char **words) {
    extern char kernel_start[], user_start[], rodata_start[], data_start[], bss_start[],
        kernel_end[];
    (void)words;
    if (count != 1)
        return false;
    range_count = 0;
    u64 base, size;
    struct fdt_node node = fdt_start();
    while (fdt_next(&node))
        if (node.depth > 0 && node.size_cells[node.depth - 1] > 0)
            for (u32 i = 0; fdt_reg(&node, i, &base, &size); i++)
                add_range(base, size, node.name);
    add_range((u64)kernel_start, (u64)(user_start - kernel_start), "monitor: code");
    add_range((u64)user_start, (u64)(rodata_start - user_start), "monitor: user programs");
    add_range((u64)rodata_start, (u64)(data_start - rodata_start), "monitor: constants");
    add_range((u64)data_start, (u64)(bss_start - data_start), "monitor: data");
    add_range((u64)bss_start, (u64)(kernel_end - bss_start), "monitor: zeroed data, stacks");
    add_range((u64)machine.device_tree, fdt_size(), "device tree");
    u64 end = 0;
    for (u32 i = 0; i < range_count; i++) {
        struct range *range = &ranges[i];
        print("  %10x - %10x ", range->base, range->base + range->size - 1);
        print_size(range->size);
        print("  %s%s\n", range->base < end ? "  " : "", range->name);
        if (range->base + range->size > end)
            end = range->base + range->size;
    }
    return true;
}

#define SHOW_CSR(name) print("  %-11s %p\n", name, read_csr(name))

// csrs: the control registers of supervisor mode.
bool cmd_csrs(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    SHOW_CSR("sstatus");
    SHOW_CSR("sie");
    SHOW_CSR("sip");
    SHOW_CSR("stvec");
    SHOW_CSR("sscratch");
    SHOW_CSR("sepc");
    SHOW_CSR("scause");
    SHOW_CSR("stval");
    SHOW_CSR("satp");
    SHOW_CSR("scounteren");
    SHOW_CSR("time");
    if (machine.isa)
        print("  isa         %s\n", machine.isa);
    return true;
}
