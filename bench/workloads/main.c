/* `work NAME SCALE` runs one workload and prints `name units checksum user_seconds`.
 * `work list` prints the names; `work agent` serves the host over a serial line: see agent.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "agent.h"
#include "work.h"

static const struct workload *const sets[] = {
    arithmetic_set, algorithm_set, interpreter_set, text_set,    memory_set,    float_set,
    numeric_set,    atomic_set,    system_set,      process_set, guest_jit_set, thread_set,
};

void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

uint64_t digits_of(double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.8e", value);
    uint64_t sum = 1;
    for (const char *at = text; *at; at++)
        sum = mixed(sum, (unsigned char)*at);
    return sum;
}

void *pages(size_t bytes, int protection)
{
    void *found = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(found != MAP_FAILED, "mmap");
    return found;
}

static double user_seconds(void)
{
    struct rusage own, children;
    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    return (double)(own.ru_utime.tv_sec + children.ru_utime.tv_sec) +
           (double)(own.ru_utime.tv_usec + children.ru_utime.tv_usec) / 1e6;
}

static const struct workload *find(const char *name)
{
    for (size_t set = 0; set < sizeof sets / sizeof *sets; set++)
        for (const struct workload *at = sets[set]; at->name; at++)
            if (!strcmp(at->name, name))
                return at;
    return NULL;
}

static int list(void)
{
    for (size_t set = 0; set < sizeof sets / sizeof *sets; set++)
        for (const struct workload *at = sets[set]; at->name; at++)
            printf("%s %s\n", at->name, at->unit);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], NOTHING))
        return 0;
    if (argc == 2 && !strcmp(argv[1], "list"))
        return list();
    if (argc == 2 && !strcmp(argv[1], "agent"))
        return serve();
    const struct workload *found = argc == 3 ? find(argv[1]) : NULL;
    uint64_t scale = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (!found || !scale) {
        fprintf(stderr, "work: NAME SCALE, of the names in `work list`\n");
        return 2;
    }
    uint64_t units = 0;
    uint64_t sum = found->run(scale, &units);
    printf("%s %llu %016llx %.3f\n", found->name, (unsigned long long)units,
           (unsigned long long)sum, user_seconds());
    return 0;
}
