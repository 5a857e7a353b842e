/* Integer algorithms: three ways to sort, SHA-256, CRC-32. */
#include <stdlib.h>
#include <string.h>

#include "work.h"

#define SORTED 20000

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void fill(uint32_t *numbers, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)next_random(&seed);
}

/* Quicksort with the comparison behind a pointer, as a C library's caller gets it. */
static void quick(uint32_t *numbers, long low, long high, int (*order)(const void *, const void *))
{
    while (low < high) {
        uint32_t pivot = numbers[low + (high - low) / 2];
        long i = low, j = high;
        while (i <= j) {
            while (order(&numbers[i], &pivot) < 0)
                i++;
            while (order(&numbers[j], &pivot) > 0)
                j--;
            if (i <= j) {
                uint32_t kept = numbers[i];
                numbers[i++] = numbers[j];
                numbers[j--] = kept;
            }
        }
        if (j - low < high - i) {
            quick(numbers, low, j, order);
            low = i;
        } else {
            quick(numbers, i, high, order);
            high = j;
        }
    }
}

static uint64_t sum_of(const uint32_t *numbers, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i += 97)
        sum = mixed(sum, numbers[i]);
    return sum;
}

static uint64_t quicksort(uint64_t scale, uint64_t *units)
{
    static uint32_t numbers[SORTED];
    int (*order)(const void *, const void *) = compare;
    __asm__ volatile("" : "+r"(order));
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        fill(numbers, SORTED, turn + 1);
        quick(numbers, 0, SORTED - 1, order);
        sum = mixed(sum, sum_of(numbers, SORTED));
    }
    *units += scale * SORTED;
    return sum;
}

static uint64_t library_sort(uint64_t scale, uint64_t *units)
{
    static uint32_t numbers[SORTED];
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        fill(numbers, SORTED, turn + 1);
        qsort(numbers, SORTED, sizeof *numbers, compare);
        sum = mixed(sum, sum_of(numbers, SORTED));
    }
    *units += scale * SORTED;
    return sum;
}

static void sift(uint32_t *numbers, size_t root, size_t count)
{
    uint32_t value = numbers[root];
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && numbers[child + 1] > numbers[child])
            child++;
        if (numbers[child] <= value)
            break;
        numbers[root] = numbers[child];
    }
    numbers[root] = value;
}

static uint64_t heapsort(uint64_t scale, uint64_t *units)
{
    static uint32_t numbers[SORTED];
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        fill(numbers, SORTED, turn + 1);
        for (size_t root = SORTED / 2; root-- > 0;)
            sift(numbers, root, SORTED);
        for (size_t count = SORTED; --count > 0;) {
            uint32_t largest = numbers[0];
            numbers[0] = numbers[count];
            sift(numbers, 0, count);
            numbers[count] = largest;
        }
        sum = mixed(sum, sum_of(numbers, SORTED));
    }
    *units += scale * SORTED;
    return sum;
}

#define MEGABYTE (1u << 20)
#define CHUNK 65536u

static uint32_t turned(uint32_t value, int by)
{
    return value >> by | value << (32 - by);
}

/* The round constants of FIPS 180-4, 4.2.2: fractions of the primes' cube roots. They are worked
 * out here in integers: the largest r with r^3 <= p * 2^96, cut to 32 bits. */
static void sha_constants(uint32_t constants[64])
{
    int found = 0;
    for (uint32_t prime = 2; found < 64; prime++) {
        int composite = 0;
        for (uint32_t d = 2; d * d <= prime; d++)
            composite |= prime % d == 0;
        if (composite)
            continue;
        uint64_t low = 0, high = (uint64_t)8 << 32;
        while (high - low > 1) {
            uint64_t middle = low + (high - low) / 2;
            if ((unsigned __int128)middle * middle * middle <= (unsigned __int128)prime << 96)
                low = middle;
            else
                high = middle;
        }
        constants[found++] = (uint32_t)low;
    }
}

static void sha_block(uint32_t state[8], const uint32_t constants[64], const unsigned char *block)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
               (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t first = s[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                         ((e & s[5]) ^ (~e & s[6])) + constants[i] + w[i];
        uint32_t second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) +
                          ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        s[7] = s[6], s[6] = s[5], s[5] = e, s[4] = s[3] + first;
        s[3] = s[2], s[2] = s[1], s[1] = a, s[0] = first + second;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

static unsigned char *some_bytes(size_t count)
{
    unsigned char *bytes = malloc(count);
    check(bytes != NULL, "malloc");
    uint64_t seed = 4711;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(next_random(&seed) >> 20);
    return bytes;
}

static uint64_t sha256(uint64_t scale, uint64_t *units)
{
    uint32_t constants[64], state[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    unsigned char *bytes = some_bytes(CHUNK);
    sha_constants(constants);
    for (uint64_t turn = 0; turn < scale * (MEGABYTE / CHUNK); turn++)
        for (size_t at = 0; at < CHUNK; at += 64)
            sha_block(state, constants, bytes + at);
    free(bytes);
    *units += scale;
    return mixed(mixed(state[0], state[3]), mixed(state[5], state[7]));
}

static uint64_t crc32(uint64_t scale, uint64_t *units)
{
    uint32_t table[256], sum = ~0u;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
    }
    unsigned char *bytes = some_bytes(CHUNK);
    for (uint64_t turn = 0; turn < scale * (MEGABYTE / CHUNK); turn++)
        for (size_t at = 0; at < CHUNK; at++)
            sum = table[(sum ^ bytes[at]) & 0xFF] ^ sum >> 8;
    free(bytes);
    *units += scale;
    return ~sum;
}

const struct workload algorithm_set[] = {
    {"qsort", "element", quicksort},   {"libqsort", "element", library_sort},
    {"heapsort", "element", heapsort}, {"sha256", "MB", sha256},
    {"crc32", "MB", crc32},            {0},
};
