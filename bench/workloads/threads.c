/* Two threads at once: for machines of two vCPUs. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "work.h"

#define MILLION 1000000u
#define THOUSAND 1000u
#define PAGE 4096u

static void *compute(void *argument)
{
    uint64_t *value = argument, a = opaque(value[0]);
    for (uint64_t n = value[1] * MILLION; n; n--) {
        a ^= a << 13;
        a ^= a >> 7;
        a += n;
    }
    value[0] = a;
    return NULL;
}

/* Two threads that share nothing. */
static uint64_t two_compute(uint64_t scale, uint64_t *units)
{
    uint64_t values[2][16] = {{11, scale}, {13, scale}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        check(pthread_create(&threads[i], NULL, compute, values[i]) == 0, "pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    *units += 2 * scale * MILLION;
    return mixed(values[0][0], values[1][0]);
}

static _Atomic uint64_t shared;

static void *count(void *argument)
{
    for (uint64_t n = *(uint64_t *)argument * MILLION; n; n--)
        atomic_fetch_add(&shared, n);
    return NULL;
}

/* Two threads on one counter. */
static uint64_t two_count(uint64_t scale, uint64_t *units)
{
    pthread_t threads[2];
    atomic_store(&shared, 0);
    for (int i = 0; i < 2; i++)
        check(pthread_create(&threads[i], NULL, count, &scale) == 0, "pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    *units += 2 * scale * MILLION;
    return atomic_load(&shared);
}

static atomic_int stop;

static void *spin(void *argument)
{
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        atomic_fetch_add_explicit((_Atomic uint64_t *)argument, 1, memory_order_relaxed);
    return NULL;
}

/* One thread changes a page's protection while another, of the same process, computes: each change
 * must reach the other hart. */
static uint64_t shared_protections(uint64_t scale, uint64_t *units)
{
    _Atomic uint64_t turns = 0;
    pthread_t other;
    volatile unsigned char *memory = pages(PAGE, PROT_READ | PROT_WRITE);
    uint64_t sum = 0;
    atomic_store(&stop, 0);
    check(pthread_create(&other, NULL, spin, &turns) == 0, "pthread_create");
    for (uint64_t n = scale * THOUSAND / 2; n; n--) {
        memory[0] = (unsigned char)n;
        mprotect((void *)memory, PAGE, PROT_READ);
        sum += memory[0];
        mprotect((void *)memory, PAGE, PROT_READ | PROT_WRITE);
    }
    atomic_store(&stop, 1);
    pthread_join(other, NULL);
    munmap((void *)memory, PAGE);
    *units += scale * THOUSAND;
    return sum;
}

const struct workload thread_set[] = {
    {"thr2", "iteration", two_compute},
    {"amo2", "operation", two_count},
    {"mprotect2", "call", shared_protections},
    {0},
};
