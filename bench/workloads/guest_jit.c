/* What a compiler inside of the guest does: patches one instruction of a function and calls it;
 * writes a small function at ever new places and calls it. The kernel is asked to make the code
 * visible (riscv_flush_icache), as compilers do that may run on several harts. */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "work.h"

#define THOUSAND 1000u
#define BUFFER (64u << 10)
#define OPERATIONS 24

typedef uint64_t function(uint64_t value);

#if defined __riscv
enum { REGISTER = 10 /* a0 */ };

/* addi a0, a0, amount */
static unsigned char *emit_add(unsigned char *at, int amount)
{
    uint32_t word = (uint32_t)(amount & 0x7FF) << 20 | REGISTER << 15 | REGISTER << 7 | 0x13;
    memcpy(at, &word, 4);
    return at + 4;
}

/* xori a0, a0, amount */
static unsigned char *emit_xor(unsigned char *at, int amount)
{
    uint32_t word = (uint32_t)(amount & 0x7FF) << 20 | REGISTER << 15 | REGISTER << 7 | 0x4013;
    memcpy(at, &word, 4);
    return at + 4;
}

/* jalr zero, 0(ra) */
static unsigned char *emit_return(unsigned char *at)
{
    uint32_t word = 0x00008067;
    memcpy(at, &word, 4);
    return at + 4;
}

static unsigned char *emit_entry(unsigned char *at)
{
    return at;
}

static void make_visible(unsigned char *from, unsigned char *to)
{
    syscall(259, from, to, 0);
}
#elif defined __x86_64__
/* add rax, amount */
static unsigned char *emit_add(unsigned char *at, int amount)
{
    memcpy(at, "\x48\x05", 2);
    amount &= 0x7FF;
    memcpy(at + 2, &amount, 4);
    return at + 6;
}

/* xor rax, amount */
static unsigned char *emit_xor(unsigned char *at, int amount)
{
    memcpy(at, "\x48\x35", 2);
    amount &= 0x7FF;
    memcpy(at + 2, &amount, 4);
    return at + 6;
}

static unsigned char *emit_return(unsigned char *at)
{
    *at = 0xC3;
    return at + 1;
}

/* mov rax, rdi */
static unsigned char *emit_entry(unsigned char *at)
{
    memcpy(at, "\x48\x89\xF8", 3);
    return at + 3;
}

static void make_visible(unsigned char *from, unsigned char *to)
{
    (void)from, (void)to;
    memory_barrier();
}
#endif

static function *callable(unsigned char *code)
{
    function *found;
    memcpy(&found, &code, sizeof found);
    return found;
}

static uint64_t patches(uint64_t scale, uint64_t *units)
{
    unsigned char *code = pages(BUFFER, PROT_READ | PROT_WRITE | PROT_EXEC);
    unsigned char *patched = emit_entry(code);
    emit_return(emit_xor(emit_add(patched, 0), 0x155));
    uint64_t value = 1;
    for (uint64_t n = scale * THOUSAND; n; n--) {
        unsigned char *end = emit_add(patched, (int)(n & 0x7FF));
        make_visible(patched, end);
        value = callable(code)(value);
    }
    munmap(code, BUFFER);
    *units += scale * THOUSAND;
    return value;
}

static uint64_t generated(uint64_t scale, uint64_t *units)
{
    unsigned char *code = pages(BUFFER, PROT_READ | PROT_WRITE | PROT_EXEC), *at = code;
    uint64_t value = 1, seed = 8;
    for (uint64_t n = scale * THOUSAND; n; n--) {
        if (at + 256 > code + BUFFER)
            at = code;
        unsigned char *begin = at;
        at = emit_entry(at);
        for (int i = 0; i < OPERATIONS; i += 2) {
            uint64_t choice = next_random(&seed);
            at = emit_add(at, (int)(choice & 0x7FF));
            at = emit_xor(at, (int)(choice >> 20 & 0x7FF));
        }
        at = emit_return(at);
        make_visible(begin, at);
        value = callable(begin)(value) + callable(begin)(n);
        at = code + ((size_t)(at - code) + 63) / 64 * 64;
    }
    munmap(code, BUFFER);
    *units += scale * THOUSAND;
    return value;
}

const struct workload guest_jit_set[] = {
    {"smc", "patch", patches},
    {"jitgen", "function", generated},
    {0},
};
