// Commands that show virtual memory: what is mapped, how one address is found, what a fault does.
#include "monitor.h"

#define DEMAND_TOUCH 0x2000000000ull // paging.c maps this window at the first touch
#define NOWHERE 0x3fdeadb000ull
#define ENTRY_FLAGS 0xff

static void print_flags(u64 entry) {
    static const char letters[] = "VRWXUGAD";
    for (int bit = 7; bit >= 0; bit--)
        print("%c", entry >> bit & 1 ? letters[bit] : '-');
}

static u64 page_size(int entries) { return 1ull << (12 + 9 * (3 - entries)); }
static u64 physical_of(u64 entry) { return entry << 10 >> 20 << 12; }

static void print_run(u64 from, u64 to, u64 entry, u64 size) {
    if (from == to)
        return;
    print("  %10x - %10x  ", from, to - 1);
    print_flags(entry);
    print("  %s pages\n", size == 4096 ? "4 KiB" : size == 2097152 ? "2 MiB" : "1 GiB");
}

// pages: the mappings, neighbours of one kind as one line.
bool cmd_pages(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    print("satp 0x%x: %s\n", read_csr("satp"), paging_on() ? "Sv39" : "paging is off");
    if (!paging_on())
        return true;
    u64 from = 0, at = 0, kind = 0, kind_size = 0, entries[3];
    while (at < 1ull << 38) { // the lower half; the monitor maps nothing in the upper one
        int depth = paging_walk(at, entries);
        u64 entry = entries[depth - 1], size = page_size(depth);
        u64 here = entry & 1 ? entry & ENTRY_FLAGS : 0;
        if (here != kind || (here && size != kind_size)) {
            if (kind)
                print_run(from, at, kind, kind_size);
            from = at, kind = here, kind_size = size;
        }
        at += size;
    }
    if (kind)
        print_run(from, at, kind, kind_size);
    return true;
}

// walk ADDRESS: the entries that translate it.
bool cmd_walk(int count, char **words) {
    u64 address, entries[3];
    if (count != 2 || !text_number(words[1], &address))
        return false;
    if (address >> 38 != 0 && address >> 38 != (1ull << 26) - 1) {
        print("0x%x is no Sv39 address: bits 63 to 39 must equal bit 38\n", address);
        return true;
    }
    if (!paging_on()) {
        print("paging is off: 0x%x is the physical address\n", address);
        return true;
    }
    int depth = paging_walk(address, entries);
    for (int i = 0; i < depth; i++) {
        u64 entry = entries[i];
        print("level %d, entry %3u: %p  ", (long)(2 - i),
              address >> (30 - 9 * i) & 511, entry);
        print_flags(entry);
        print(entry & 1 ? entry & 0xe ? "  leaf\n" : "  next table at 0x%x\n" : "  not valid\n",
              physical_of(entry));
    }
    u64 entry = entries[depth - 1], offset = address & (page_size(depth) - 1);
    if (entry & 1)
        print("0x%x -> 0x%x\n", address, physical_of(entry) + offset);
    else
        print("0x%x -> page fault\n", address);
    return true;
}

static void touch(u64 address) { *(volatile u64 *)address += 1; }
static u64 peeked;
static void peek_one(u64 address) { peeked = *(volatile u64 *)address; }

// fault: one page fault that the kernel repairs, and one that it reports.
bool cmd_fault(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    struct trap_record record;
    if (!paging_on()) {
        print("paging is off: nothing faults\n");
        return true;
    }
    static u64 touched; // a page further each time, until the window is used up
    u64 address = DEMAND_TOUCH + touched++ * 4096 + 8;
    print("writing to 0x%x, where nothing is mapped yet:\n", address);
    if (guarded(touch, address, &record)) {
        print("  the demand window is full: ");
        trap_report(&record);
    } else
        print("  written; now it holds %u\n", *(volatile u64 *)address);
    print("reading 0x%x, which belongs to nobody:\n  ", NOWHERE);
    if (guarded(peek_one, NOWHERE, &record))
        trap_report(&record);
    else
        print("no fault, and it holds 0x%x\n", peeked);
    return true;
}

// peek ADDRESS [WORDS]: 64-bit words of memory or of a device.
bool cmd_peek(int count, char **words) {
    u64 address, number = 1;
    if (count < 2 || count > 3 || !text_number(words[1], &address) ||
        (count == 3 && !text_number(words[2], &number)))
        return false;
    if (address & 7 || number < 1 || number > 64 || address + 8 * number < address) {
        print("peek: an address that 8 divides, and 1 to 64 words\n");
        return true;
    }
    struct trap_record record;
    for (u64 i = 0; i < number; i++, address += 8) {
        if (guarded(peek_one, address, &record)) {
            trap_report(&record);
            return true;
        }
        print("%p: %016x\n", address, peeked);
    }
    return true;
}
