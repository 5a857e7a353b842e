/* Integer kernels without a library: chains of ALU operations, multiplications, divisions,
 * recursion, a sieve, a matrix product, permutations. */
#include <string.h>

#include "work.h"

#define MILLION 1000000u

static uint64_t alu(uint64_t scale, uint64_t *units)
{
    uint64_t a = opaque(88172645463325252u), b = opaque(0x123456789u);
    for (uint64_t n = opaque(scale * MILLION); n; n--) {
        a ^= a << 13;
        a ^= a >> 7;
        b += a;
        b = (b ^ n) + (b >> 3);
    }
    *units += scale * MILLION;
    return mixed(a, b);
}

static uint64_t mul(uint64_t scale, uint64_t *units)
{
    uint64_t a = opaque(3), b = opaque(5), c = opaque(7);
    for (uint64_t n = opaque(scale * MILLION); n; n--) {
        a = a * 6364136223846793005u + n;
        b = b * (a | 1);
        c += b * n;
    }
    *units += scale * MILLION;
    return mixed(mixed(a, b), c);
}

static uint64_t divide(uint64_t scale, uint64_t *units)
{
    uint64_t sum = opaque(1);
    uint32_t small = (uint32_t)opaque(77777);
    for (uint64_t n = opaque(scale * MILLION); n; n--) {
        uint64_t divisor = (n & 0xFFFF) + 3;
        sum += (0x123456789ABCDEFu ^ n) / divisor;
        small = (uint32_t)(sum | 1) % (uint32_t)(small | 9) + (uint32_t)n;
    }
    *units += scale * MILLION;
    return mixed(sum, small);
}

#define FIB_OF 25
#define FIB_CALLS 242785u

static __attribute__((noinline)) uint64_t fibonacci(uint64_t n)
{
    if (n < 2)
        return n;
    return opaque(fibonacci(n - 1)) + fibonacci(n - 2);
}

static uint64_t fib(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 0;
    for (uint64_t n = 0; n < scale; n++)
        sum += fibonacci(opaque(FIB_OF));
    *units += scale * FIB_CALLS;
    return sum;
}

#define SIEVE_SIZE (4u << 20)

static uint64_t sieve(uint64_t scale, uint64_t *units)
{
    static unsigned char composite[SIEVE_SIZE];
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        memset(composite, 0, sizeof composite);
        for (uint32_t n = 2; n < SIEVE_SIZE; n++) {
            if (composite[n])
                continue;
            sum = sum + n;
            for (uint64_t at = (uint64_t)n * n; at < SIEVE_SIZE; at += n)
                composite[at] = 1;
        }
    }
    *units += scale * SIEVE_SIZE;
    return sum;
}

#define SIDE 128

static int32_t left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];

static uint64_t matmul(uint64_t scale, uint64_t *units)
{
    uint64_t seed = 42, sum = 0;
    for (int i = 0; i < SIDE; i++)
        for (int k = 0; k < SIDE; k++) {
            left[i][k] = (int32_t)next_random(&seed) >> 16;
            right[i][k] = (int32_t)next_random(&seed) >> 16;
        }
    for (uint64_t turn = 0; turn < scale; turn++) {
        memset(product, 0, sizeof product);
        for (int i = 0; i < SIDE; i++)
            for (int k = 0; k < SIDE; k++) {
                uint32_t factor = (uint32_t)left[i][k];
                for (int j = 0; j < SIDE; j++)
                    product[i][j] = (int32_t)((uint32_t)product[i][j] +
                                              factor * (uint32_t)right[k][j]);
            }
        left[turn % SIDE][0] = (int32_t)(sum = mixed(sum, (uint32_t)product[turn % SIDE][5])) >> 16;
    }
    *units += scale * SIDE * SIDE * SIDE;
    return sum;
}

#define ITEMS 8
#define PERMUTATIONS 40320u

/* Pancake flips over all permutations, in the order of a counting factorial number. */
static uint64_t flips_of_all(void)
{
    int order[ITEMS], stack[ITEMS], count[ITEMS], depth = ITEMS, most = 0;
    uint64_t sum = 0;
    for (int i = 0; i < ITEMS; i++)
        order[i] = i;
    for (uint32_t number = 0;; number++) {
        for (; depth != 1; depth--)
            count[depth - 1] = depth;
        memcpy(stack, order, sizeof order);
        int flips = 0;
        for (int top; (top = stack[0]) != 0; flips++)
            for (int low = 0, high = top; low < high; low++, high--) {
                int kept = stack[low];
                stack[low] = stack[high];
                stack[high] = kept;
            }
        most = flips > most ? flips : most;
        sum += number % 2 ? (uint64_t)-flips : (uint64_t)flips;
        for (;; depth++) {
            if (depth == ITEMS)
                return mixed(sum, (uint64_t)most);
            int first = order[0];
            for (int i = 0; i < depth; i++)
                order[i] = order[i + 1];
            order[depth] = first;
            if (--count[depth] > 0)
                break;
        }
    }
}

static uint64_t fannkuch(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++)
        sum = mixed(sum, flips_of_all());
    *units += scale * PERMUTATIONS;
    return sum;
}

const struct workload arithmetic_set[] = {
    {"alu", "iteration", alu},      {"mul", "iteration", mul},
    {"div", "iteration", divide},   {"fib", "call", fib},
    {"sieve", "element", sieve},    {"matmul", "mac", matmul},
    {"fannkuch", "permutation", fannkuch}, {0},
};
