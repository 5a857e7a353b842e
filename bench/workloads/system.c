/* The operating system's work in one process: system calls, files, faults, protection, signals. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "vdso.h"
#include "work.h"

#define THOUSAND 1000u
#define PAGE 4096u

static uint64_t getppid_calls(uint64_t scale, uint64_t *units)
{
    long parent = getppid();
    uint64_t same = 0;
    for (uint64_t n = scale * 10 * THOUSAND; n; n--)
        same += syscall(SYS_getppid) == parent;
    *units += scale * 10 * THOUSAND;
    return same;
}

static uint64_t clock_reads(uint64_t scale, uint64_t *units)
{
    struct timeval last = {0}, now;
    uint64_t forward = 0;
    clock_function *read_clock = kernels_clock();
    check(read_clock != NULL, "vDSO");
    for (uint64_t n = scale * 100 * THOUSAND; n; n--) {
        read_clock(&now, NULL);
        forward += now.tv_sec > last.tv_sec ||
                   (now.tv_sec == last.tv_sec && now.tv_usec >= last.tv_usec);
        last = now;
    }
    *units += scale * 100 * THOUSAND;
    return forward;
}

static uint64_t small_io(uint64_t scale, uint64_t *units)
{
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
    check(zero >= 0 && null >= 0, "/dev/zero, /dev/null");
    uint64_t moved = 0;
    char byte;
    for (uint64_t n = scale * 5 * THOUSAND; n; n--) {
        moved += (uint64_t)read(zero, &byte, 1);
        moved += (uint64_t)write(null, &byte, 1);
    }
    close(zero), close(null);
    *units += scale * 10 * THOUSAND;
    return moved;
}

/* A name in a fresh folder of /tmp or $TMPDIR. */
static const char *in_new_folder(char folder[256], char name[300], const char *file)
{
    const char *place = getenv("TMPDIR");
    folder[0] = 0;
    strncat(folder, place ? place : "/tmp", 200);
    strcat(folder, "/work-XXXXXX");
    check(mkdtemp(folder) != NULL, folder);
    strcpy(name, folder);
    strcat(name, "/");
    return strcat(name, file);
}

static uint64_t stat_calls(uint64_t scale, uint64_t *units)
{
    char folder[256], name[300];
    int file = open(in_new_folder(folder, name, "file"), O_CREAT | O_WRONLY, 0600);
    check(file >= 0 && write(file, "four", 4) == 4, name);
    uint64_t sum = 0;
    for (uint64_t n = scale * THOUSAND; n; n--) {
        struct stat found;
        check(stat(name, &found) == 0, name);
        sum += (uint64_t)found.st_size;
    }
    close(file), unlink(name), rmdir(folder);
    *units += scale * THOUSAND;
    return sum;
}

#define PIECE 65536u
#define PIECES 64u

static uint64_t file_io(uint64_t scale, uint64_t *units)
{
    static char piece[PIECE];
    char folder[256], name[300];
    int file = open(in_new_folder(folder, name, "file"), O_CREAT | O_RDWR, 0600);
    check(file >= 0, name);
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        for (uint64_t n = 0; n < PIECES; n++) {
            memcpy(piece, &n, sizeof n);
            check(pwrite(file, piece, PIECE, (off_t)(n * PIECE)) == PIECE, name);
        }
        for (uint64_t n = 0, word; n < PIECES; n++) {
            check(pread(file, piece, PIECE, (off_t)(n * PIECE)) == PIECE, name);
            memcpy(&word, piece, sizeof word);
            sum += word;
        }
    }
    close(file), unlink(name), rmdir(folder);
    *units += scale * 2 * PIECES * PIECE >> 20;
    return sum;
}

#define FAULTS 1000u

static uint64_t page_faults(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        unsigned char *memory = pages(FAULTS * PAGE, PROT_READ | PROT_WRITE);
        madvise(memory, FAULTS * PAGE, MADV_NOHUGEPAGE);
        for (uint32_t n = 0; n < FAULTS; n++) {
            memory[n * PAGE] = (unsigned char)n;
            sum += memory[n * PAGE + 1] + 1u;
        }
        munmap(memory, FAULTS * PAGE);
    }
    *units += scale * FAULTS;
    return sum;
}

static uint64_t protections(uint64_t scale, uint64_t *units)
{
    volatile unsigned char *memory = pages(4 * PAGE, PROT_READ | PROT_WRITE);
    uint64_t sum = 0;
    for (uint64_t n = scale * THOUSAND / 2; n; n--) {
        memory[PAGE] = (unsigned char)n;
        check(mprotect((void *)(memory + PAGE), PAGE, PROT_READ) == 0, "mprotect");
        sum += memory[PAGE];
        check(mprotect((void *)(memory + PAGE), PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
    }
    munmap((void *)memory, 4 * PAGE);
    *units += scale * THOUSAND;
    return sum;
}

static volatile sig_atomic_t caught;

static void count(int number)
{
    (void)number;
    caught++;
}

static uint64_t signals(uint64_t scale, uint64_t *units)
{
    struct sigaction action = {.sa_handler = count};
    caught = 0;
    check(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    for (uint64_t n = scale * THOUSAND; n; n--)
        raise(SIGUSR1);
    *units += scale * THOUSAND;
    return (uint64_t)caught;
}

static unsigned char *guarded;

/* Makes the page that was hit writable; the instruction is tried again. */
static void unprotect(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    if ((unsigned char *)info->si_addr != guarded + 8)
        _exit(3);
    mprotect(guarded, PAGE, PROT_READ | PROT_WRITE);
    caught++;
}

static uint64_t segmentation_faults(uint64_t scale, uint64_t *units)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO}, old;
    action.sa_sigaction = unprotect;
    caught = 0;
    guarded = pages(PAGE, PROT_READ);
    check(sigaction(SIGSEGV, &action, &old) == 0, "sigaction");
    for (uint64_t n = scale * THOUSAND; n; n--) {
        *(volatile unsigned char *)(guarded + 8) = (unsigned char)n;
        mprotect(guarded, PAGE, PROT_READ);
    }
    sigaction(SIGSEGV, &old, NULL);
    munmap(guarded, PAGE);
    *units += scale * THOUSAND;
    return (uint64_t)caught;
}

const struct workload system_set[] = {
    {"getppid", "call", getppid_calls}, {"gettime", "call", clock_reads},
    {"smallio", "call", small_io},      {"stat", "call", stat_calls},
    {"fileio", "MB", file_io},          {"pfault", "fault", page_faults},
    {"mprotect", "call", protections},  {"signal", "signal", signals},
    {"segv", "fault", segmentation_faults}, {0},
};
