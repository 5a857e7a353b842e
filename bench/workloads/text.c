/* Text: the C library's string functions, and JSON written, read and written again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

#define STRINGS 256
#define LONGEST 1024
#define MEGABYTE (1u << 20)

static uint64_t strops(uint64_t scale, uint64_t *units)
{
    static char strings[STRINGS][LONGEST + 1], copy[LONGEST + 1];
    uint64_t seed = 31, sum = 0, bytes = 0;
    for (int i = 0; i < STRINGS; i++) {
        size_t length = 16 + next_random(&seed) % (LONGEST - 16);
        memset(strings[i], 'a' + i % 26, length);
        strings[i][length] = 0;
    }
    while (bytes < scale * MEGABYTE)
        for (int i = 0; i < STRINGS; i++) {
            size_t length = strlen(strings[i]);
            strcpy(copy, strings[i]);
            memory_barrier();
            sum += (uint64_t)(strcmp(copy, strings[i]) == 0) + (strchr(copy, '!') == NULL);
            sum += memchr(copy, 0, sizeof copy) == copy + length;
            sum += memcmp(copy, strings[i], length) == 0;
            sum = mixed(sum, length);
            bytes += 6 * length;
        }
    *units += scale;
    return sum;
}

/* A growing text and a bump allocator for trees. */
static char *text, *written;
static size_t used;
#define TEXT_SIZE (256u << 10)
#define TREE_SIZE (8u << 20)
#define LONGEST_STRING 32 /* put_record writes none longer */

static void put(const char *piece)
{
    size_t length = strlen(piece);
    memcpy(text + used, piece, length + 1);
    used += length;
}

static void put_record(uint64_t *seed, int number)
{
    char piece[256];
    uint64_t a = next_random(seed), b = next_random(seed);
    snprintf(piece, sizeof piece,
             "{\"id\":%d,\"name\":\"user \\\"%llx\\\"\\n\",\"score\":%lld,"
             "\"tags\":[\"%c%c\",\"x%u\"],"
             "\"active\":%s,\"parent\":null,\"point\":{\"x\":%lld,\"y\":%lld}}",
             number, (unsigned long long)(a >> 40), (long long)(b >> 44) - 300000,
             (char)('a' + a % 26), (char)('a' + b % 26), (unsigned)(a % 1000),
             a & 1 ? "true" : "false", (long long)(a % 100000), -(long long)(b % 100000));
    put(piece);
}

enum kind { NONE, TRUE, FALSE, NUMBER, STRING, ARRAY, OBJECT };

struct value {
    enum kind kind;
    long long number;
    const char *name, *string;
    struct value *first, *next;
};

static char *tree;
static size_t tree_used;

static void *room(size_t bytes)
{
    void *found = tree + tree_used;
    tree_used += (bytes + 15) & ~(size_t)15;
    check(tree_used <= TREE_SIZE, "json: tree");
    return found;
}

static const char *at;

static const char *parse_string(void)
{
    char *begin = room(LONGEST_STRING), *to = begin;
    for (at++; *at != '"'; at++) {
        if (*at == '\\')
            *to++ = *++at == 'n' ? '\n' : *at;
        else
            *to++ = *at;
    }
    at++;
    *to = 0;
    return begin;
}

static struct value *parse(void);

static struct value *parse_members(enum kind kind, char close)
{
    struct value *whole = room(sizeof *whole), **last = &whole->first;
    memset(whole, 0, sizeof *whole);
    whole->kind = kind;
    for (at++; *at != close;) {
        const char *name = NULL;
        if (kind == OBJECT) {
            name = parse_string();
            at++;
        }
        struct value *member = parse();
        member->name = name;
        *last = member;
        last = &member->next;
        if (*at == ',')
            at++;
    }
    at++;
    return whole;
}

static struct value *parse(void)
{
    if (*at == '{')
        return parse_members(OBJECT, '}');
    if (*at == '[')
        return parse_members(ARRAY, ']');
    struct value *found = room(sizeof *found);
    memset(found, 0, sizeof *found);
    switch (*at) {
    case '"':
        found->kind = STRING;
        found->string = parse_string();
        break;
    case 't': found->kind = TRUE, at += 4; break;
    case 'f': found->kind = FALSE, at += 5; break;
    case 'n': found->kind = NONE, at += 4; break;
    default: {
        int negative = *at == '-';
        found->kind = NUMBER;
        for (at += negative; *at >= '0' && *at <= '9'; at++)
            found->number = found->number * 10 + (*at - '0');
        if (negative)
            found->number = -found->number;
    }
    }
    return found;
}

static char *write_string(char *to, const char *string)
{
    *to++ = '"';
    for (; *string; string++) {
        if (*string == '"' || *string == '\n')
            *to++ = '\\';
        *to++ = *string == '\n' ? 'n' : *string;
    }
    *to++ = '"';
    return to;
}

static char *write_value(char *to, const struct value *value)
{
    static const char *const words[] = {"null", "true", "false"};
    char digits[24];
    switch (value->kind) {
    case NONE:
    case TRUE:
    case FALSE: return stpcpy(to, words[value->kind]);
    case STRING: return write_string(to, value->string);
    case NUMBER: {
        unsigned long long left = value->number < 0 ? -(unsigned long long)value->number
                                                    : (unsigned long long)value->number;
        int count = 0;
        do
            digits[count++] = (char)('0' + left % 10);
        while (left /= 10);
        if (value->number < 0)
            *to++ = '-';
        while (count)
            *to++ = digits[--count];
        return to;
    }
    case ARRAY:
    case OBJECT: break;
    }
    *to++ = value->kind == ARRAY ? '[' : '{';
    for (const struct value *member = value->first; member; member = member->next) {
        if (member->name) {
            to = write_string(to, member->name);
            *to++ = ':';
        }
        to = write_value(to, member);
        if (member->next)
            *to++ = ',';
    }
    *to++ = value->kind == ARRAY ? ']' : '}';
    return to;
}

static uint64_t json(uint64_t scale, uint64_t *units)
{
    uint64_t seed = 5, sum = 0;
    text = malloc(TEXT_SIZE), written = malloc(TEXT_SIZE), tree = malloc(TREE_SIZE);
    check(text && written && tree, "malloc");
    used = 0;
    put("[");
    for (int number = 0; used < TEXT_SIZE - 1024; number++) {
        if (number)
            put(",");
        put_record(&seed, number);
    }
    put("]");
    for (uint64_t turn = 0; turn < scale; turn++) {
        tree_used = 0;
        at = text;
        char *end = write_value(written, parse());
        *end = 0;
        size_t length = (size_t)(end - written);
        check(length == used && !memcmp(text, written, used), "json: not the same");
        sum = mixed(sum, used);
        *units += used / 1024;
    }
    free(text), free(written), free(tree);
    return sum;
}

const struct workload text_set[] = {
    {"strops", "MB", strops},
    {"json", "KB", json},
    {0},
};
