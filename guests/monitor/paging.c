// Virtual memory: Sv39, three levels of tables of 512 entries (Privileged specification,
// "Sv39: Page-Based 39-bit Virtual-Memory System"). RAM and devices are mapped to themselves; what
// is gained is protection: code cannot be written, data cannot be executed, user mode sees one page.
#include "monitor.h"

enum { V = 1, R = 2, W = 4, X = 8, U = 16, G = 32, A = 64, D = 128 };
// A and D are set from the start: hardware may leave setting them to software, by page faults.
#define KERNEL_DATA (R | W | A | D)

#define PAGE 4096ull
#define ENTRIES 512
#define LEVEL_SHIFT(level) (12 + 9 * (level)) // 4 KiB, 2 MiB, 1 GiB
#define SATP_SV39 (8ull << 60)
#define TABLES 12

// The demand window: nothing is mapped here until it is touched.
#define DEMAND_BASE 0x2000000000ull
#define DEMAND_PAGES 4

extern char kernel_start[], user_start[], rodata_start[], data_start[], kernel_end[];
static u64 tables[TABLES][ENTRIES] __attribute__((aligned(4096)));
static u8 demand_memory[DEMAND_PAGES][PAGE] __attribute__((aligned(4096)));
static u32 tables_used, demand_used;

static u64 entry_of(u64 physical, u64 flags) { return physical >> 12 << 10 | flags | V; }
static u64 *table_of(u64 entry) { return (u64 *)(entry >> 10 << 12); }
static u32 index_of(u64 address, int level) { return address >> LEVEL_SHIFT(level) & (ENTRIES - 1); }
static bool is_leaf(u64 entry) { return entry & (R | W | X); }

// Maps `size` bytes, with the largest pages that alignment and size allow. Whole pages only.
static void map(u64 address, u64 physical, u64 size, u64 flags) {
    while (size >= PAGE) {
        int leaf = 2;
        while (leaf && ((address | physical) & ((1ull << LEVEL_SHIFT(leaf)) - 1) ||
                        size < 1ull << LEVEL_SHIFT(leaf)))
            leaf--;
        u64 *table = tables[0];
        for (int level = 2; level > leaf; level--) {
            u64 *entry = &table[index_of(address, level)];
            if (!(*entry & V)) {
                if (tables_used == TABLES)
                    return; // the rest stays unmapped: touching it is a page fault with a report
                *entry = entry_of((u64)tables[tables_used++], 0);
            }
            if (is_leaf(*entry))
                return; // mapped already, by a larger page
            table = table_of(*entry);
        }
        u64 *entry = &table[index_of(address, leaf)];
        if (!(*entry & V))
            *entry = entry_of(physical, flags);
        u64 step = 1ull << LEVEL_SHIFT(leaf);
        address += step, physical += step, size -= step;
    }
}

static void map_self(u64 from, u64 to, u64 flags) { map(from, from, to - from, flags); }

// The kernel's own pages come first, in small pages: a mapping that is there is kept, so the large
// pages for the rest of the RAM go around them.
void paging_init(void) {
    u64 begin = (u64)kernel_start, end = (u64)kernel_end, huge = 1ull << LEVEL_SHIFT(1);
    u64 ram_end = machine.ram_base + machine.ram_size;
    tables_used = 1;
    map_self(begin, (u64)user_start, R | X | A);
    map_self((u64)user_start, (u64)rodata_start, R | X | U | A);
    map_self((u64)rodata_start, (u64)data_start, R | A);
    map_self((u64)data_start, end, KERNEL_DATA);
    map_self(end, (end + huge - 1) & ~(huge - 1), KERNEL_DATA);
    if (machine.ram_base <= begin && ram_end > end && ram_end < DEMAND_BASE) {
        map_self(machine.ram_base, begin, KERNEL_DATA);
        map_self((end + huge - 1) & ~(huge - 1), ram_end, KERNEL_DATA);
        map_self(0, machine.ram_base, KERNEL_DATA); // devices
    }
}

// On each hart. A mode that the hart lacks leaves satp as it was: that is the test for it.
void paging_enable(void) {
    write_csr("satp", SATP_SV39 | (u64)tables[0] >> 12);
    __asm__ volatile("sfence.vma" ::: "memory");
}

bool paging_on(void) { return read_csr("satp") >> 60 == SATP_SV39 >> 60; }

// As the hardware walks: one entry a level, until a leaf or an entry that is not valid.
int paging_walk(u64 address, u64 entries[3]) {
    u64 *table = tables[0];
    for (int level = 2; level >= 0; level--) {
        u64 entry = table[index_of(address, level)];
        entries[2 - level] = entry;
        if (!(entry & V) || is_leaf(entry))
            return 3 - level;
        table = table_of(entry);
    }
    return 3;
}

bool paging_demand(u64 address) {
    bool inside = address >= DEMAND_BASE && address < DEMAND_BASE + DEMAND_PAGES * PAGE;
    if (!inside || demand_used == DEMAND_PAGES)
        return false;
    u64 page = address & ~(PAGE - 1);
    print("  page fault at 0x%x: page 0x%x gets memory at 0x%x, the instruction runs again\n",
          address, page, (u64)demand_memory[demand_used]);
    map(page, (u64)demand_memory[demand_used++], PAGE, KERNEL_DATA);
    __asm__ volatile("sfence.vma %0" ::"r"(page) : "memory");
    return true;
}
