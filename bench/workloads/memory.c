/* Memory: dependent loads all over it, and the C library's block functions. */
#include <string.h>
#include <sys/mman.h>

#include "work.h"

#define NODES (1u << 18)
#define LOADS 100000u
#define MEGABYTE (1u << 20)

struct node {
    struct node *next;
    uint64_t value[7];
};

/* One cycle through 16 MiB. A linear congruential step of full period makes the next index, so
 * that the list is laid out by one pass over it. */
static uint64_t chase(uint64_t scale, uint64_t *units)
{
    struct node *nodes = pages(NODES * sizeof *nodes, PROT_READ | PROT_WRITE);
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[i].next = &nodes[(i * 164525u + 104729u) & (NODES - 1)];
        nodes[i].value[0] = i;
    }
    memory_barrier();
    const struct node *at = nodes;
    uint64_t sum = 0;
    for (uint64_t n = scale * LOADS; n; n--) {
        at = at->next;
        sum += at->value[0];
    }
    munmap(nodes, NODES * sizeof *nodes);
    *units += scale * LOADS;
    return sum;
}

#define BIG (8u << 20)
#define SMALL 4096u
#define SMALL_PLACES 16u

/* What lies between two blocks that are used together. At a distance of a power of two they would
 * fall on the same entries of a direct-mapped TLB, which is another workload. */
#define APART (5 * 4096u)

static unsigned char *filled(size_t bytes)
{
    unsigned char *found = pages(bytes + APART, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < bytes; i += 64)
        found[i] = (unsigned char)(i >> 6);
    return found;
}

static uint64_t copy_big(uint64_t scale, uint64_t *units)
{
    unsigned char *from = filled(BIG), *to = filled(BIG);
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        from[turn % BIG] = (unsigned char)turn;
        memcpy(to, from, BIG);
        memory_barrier();
        sum = mixed(sum, to[turn % BIG]);
    }
    munmap(from, BIG + APART), munmap(to, BIG + APART);
    *units += scale * (BIG / MEGABYTE);
    return sum;
}

static uint64_t copy_pages(uint64_t scale, uint64_t *units)
{
    unsigned char *from = filled(SMALL * SMALL_PLACES), *to = filled(SMALL * SMALL_PLACES);
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale * (BIG / SMALL); turn++) {
        size_t place = turn % SMALL_PLACES * SMALL;
        from[place + turn % SMALL] = (unsigned char)turn;
        memcpy(to + place, from + place, SMALL);
        memory_barrier();
        sum += to[place + turn % SMALL];
    }
    munmap(from, SMALL * SMALL_PLACES + APART), munmap(to, SMALL * SMALL_PLACES + APART);
    *units += scale * (BIG / MEGABYTE);
    return sum;
}

static uint64_t set_big(uint64_t scale, uint64_t *units)
{
    unsigned char *to = filled(BIG);
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        memset(to, (int)turn, BIG);
        memory_barrier();
        sum = mixed(sum, to[turn % BIG]);
    }
    munmap(to, BIG + APART);
    *units += scale * (BIG / MEGABYTE);
    return sum;
}

/* a = b + k * c, over three arrays of 2 MiB in 64-bit integers. */
#define WORDS (256u << 10)

static uint64_t stream(uint64_t scale, uint64_t *units)
{
    size_t bytes = WORDS * sizeof(uint64_t), apart = APART / sizeof(uint64_t);
    uint64_t *a = pages(3 * (bytes + APART), PROT_READ | PROT_WRITE);
    uint64_t *b = a + WORDS + apart, *c = b + WORDS + apart;
    for (size_t i = 0; i < WORDS; i++)
        b[i] = i, c[i] = i * i;
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        uint64_t factor = opaque(turn);
        for (size_t i = 0; i < WORDS; i++)
            a[i] = b[i] + factor * c[i];
        memory_barrier();
        sum = mixed(sum, a[turn % WORDS]);
    }
    munmap(a, 3 * (bytes + APART));
    *units += scale * (3 * bytes / MEGABYTE);
    return sum;
}

const struct workload memory_set[] = {
    {"chase", "load", chase},       {"memcpy", "MB", copy_big}, {"memcpy4k", "MB", copy_pages},
    {"memset", "MB", set_big},      {"stream", "MB", stream},   {0},
};
