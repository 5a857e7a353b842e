/* What the workloads share: the form of one, and a few inline functions that hide values from the
 * optimiser or make them up. All state is a workload's own; nothing here touches the machine. */
#ifndef WORK_H
#define WORK_H

#include <stddef.h>
#include <stdint.h>

/* One workload. `run` does `scale` times a fixed portion of work, adds what it did to `*units`
 * (in `unit`), and returns a checksum that depends on the scale alone, not on the machine. */
struct workload {
    const char *name;
    const char *unit;
    uint64_t (*run)(uint64_t scale, uint64_t *units);
};

/* Each set ends in an entry without a name. */
extern const struct workload arithmetic_set[], algorithm_set[], interpreter_set[], text_set[];
extern const struct workload memory_set[], float_set[], numeric_set[], atomic_set[];
extern const struct workload system_set[], process_set[], guest_jit_set[], thread_set[];

/* Names that `work` answers to beside its workloads. */
#define NOTHING "nothing" /* ends at once: what fork+exec starts */

/* The next number of a xorshift generator; the state must not be 0. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* A running checksum with one more value in it. */
static inline uint64_t mixed(uint64_t sum, uint64_t value)
{
    sum = (sum ^ value) * 0x9E3779B97F4A7C15u;
    return sum ^ sum >> 29;
}

/* The same value, of which the optimiser knows nothing any more. */
static inline uint64_t opaque(uint64_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

/* Everything in memory may have been read and written here. */
static inline void memory_barrier(void)
{
    __asm__ volatile("" : : : "memory");
}

/* Ends the program with a message if a condition that the system should meet is not met. */
void check(int good, const char *what);

/* A floating-point value in so many significant digits, as a number: libraries may round the last
 * bits differently. */
uint64_t digits_of(double value);

/* Zeroed pages, or the program ends. `protection` as for mmap. */
void *pages(size_t bytes, int protection);

#endif
