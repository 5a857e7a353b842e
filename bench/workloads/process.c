/* The operating system's work with several processes: fork, exec, switching between two. */
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

#define FORKS 10u
#define SWITCHES 1000u

static uint64_t status_of(pid_t child)
{
    int status = -1;
    check(child > 0 && waitpid(child, &status, 0) == child, "fork");
    return WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 999;
}

static uint64_t forks(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 0;
    for (uint64_t n = 0; n < scale * FORKS; n++) {
        pid_t child = fork();
        if (child == 0)
            _exit((int)(n % 100));
        sum += status_of(child);
    }
    *units += scale * FORKS;
    return sum;
}

static uint64_t fork_exec(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 0;
    for (uint64_t n = 0; n < scale * FORKS; n++) {
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", "work", NOTHING, (char *)NULL);
            _exit(127);
        }
        sum += status_of(child) + 1;
    }
    *units += scale * FORKS;
    return sum;
}

/* One byte goes to a child and back; each way is a switch. */
static uint64_t ping_pong(uint64_t scale, uint64_t *units)
{
    int there[2], back[2];
    unsigned char byte = 0;
    uint64_t sum = 0;
    check(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        close(there[1]), close(back[0]);
        while (read(there[0], &byte, 1) == 1) {
            byte = (unsigned char)(byte * 3 + 1);
            if (write(back[1], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    close(there[0]), close(back[1]);
    for (uint64_t n = scale * SWITCHES / 2; n; n--) {
        check(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "pipe");
        sum += byte;
    }
    close(there[1]), close(back[0]);
    *units += scale * SWITCHES;
    return mixed(sum, status_of(child));
}

const struct workload process_set[] = {
    {"fork", "fork", forks},
    {"forkexec", "exec", fork_exec},
    {"pipe", "switch", ping_pong},
    {0},
};
