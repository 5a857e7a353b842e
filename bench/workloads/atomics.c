/* Atomic operations of one thread: what a lock or a counter costs when nobody else wants it. */
#include <stdatomic.h>

#include "work.h"

#define MILLION 1000000u

static uint64_t amo(uint64_t scale, uint64_t *units)
{
    static _Atomic uint64_t counter;
    uint64_t sum = 0;
    atomic_store(&counter, 1);
    for (uint64_t n = scale * MILLION / 2; n; n--) {
        sum += atomic_fetch_add_explicit(&counter, n, memory_order_relaxed);
        sum ^= atomic_fetch_or_explicit(&counter, 1, memory_order_acq_rel);
    }
    *units += scale * MILLION;
    return mixed(sum, atomic_load(&counter));
}

static uint64_t cas(uint64_t scale, uint64_t *units)
{
    static _Atomic uint64_t shared;
    atomic_store(&shared, 1);
    for (uint64_t n = scale * MILLION; n; n--) {
        uint64_t seen = atomic_load_explicit(&shared, memory_order_relaxed);
        while (!atomic_compare_exchange_weak(&shared, &seen, seen * 5 + n))
            ;
    }
    *units += scale * MILLION;
    return atomic_load(&shared);
}

const struct workload atomic_set[] = {
    {"amo", "operation", amo},
    {"cas", "operation", cas},
    {0},
};
