// The other harts: start, stop, a call, a race. SBI specification, "Hart State Management" and
// "IPI". The boot hart runs the shell; the others sleep in hart_main() until a job is left for them.
#include "monitor.h"

enum { HSM_START, HSM_STOP, HSM_STATUS };
enum { STATUS_STARTED, STATUS_STOPPED };
#define HART_STACK 4096
#define ANSWER_US 5000000

struct hart harts[MAX_HARTS];
static u8 stacks[MAX_HARTS][HART_STACK] __attribute__((aligned(16)));

struct hart *this_hart(void) {
    struct hart *hart;
    __asm__ volatile("mv %0, tp" : "=r"(hart));
    return hart;
}

void hart_entry(void); // boot.S

// A started hart comes here from boot.S, on its own stack, with paging off.
void hart_main(void) {
    struct hart *hart = this_hart();
    paging_enable();
    print("  hart %u: here, stack at 0x%x\n", hart->id, hart->kernel_sp);
    set_csr("sie", 1ull << IRQ_SOFTWARE);
    hart->online = true;
    for (;;) {
        interrupts_off(); // so that an IPI between the test and wfi still ends wfi
        void (*job)(void) = hart->job;
        if (job) {
            job();
            hart->job = NULL; // free again
        } else
            wait_for_interrupt();
        interrupts_on();
    }
}

static bool wait_online(struct hart *hart, bool wanted) {
    u64 deadline = time_now() + timer_ticks_of_us(ANSWER_US);
    while (hart->online != wanted && time_now() < deadline)
        spin_hint();
    return hart->online == wanted;
}

static void start(struct hart *hart, u8 *stack) {
    if (hart->online)
        return;
    hart->job = NULL;
    hart->kernel_sp = (u64)stack + HART_STACK;
    fence(); // the other hart reads its struct hart
    long error = sbi_call(SBI_HSM, HSM_START, hart->id, (u64)hart_entry, (u64)hart).error;
    if (error)
        print("  hart %u: start refused: %s\n", hart->id, sbi_error(error));
    else if (!wait_online(hart, true))
        print("  hart %u: does not answer\n", hart->id);
}

static void send_ipi(struct hart *hart) {
    fence(); // what was written for it before, it shall see after
    if (sbi_call(SBI_IPI, 0, 1, hart->id, 0).error)
        print("  hart %u: IPI refused\n", hart->id);
}

// Leaves a job for a hart. False when the last one is not done: Ctrl-C ends only the waiting for it.
static bool give(struct hart *hart, void (*job)(void)) {
    if (hart->job) {
        print("hart %u: still at work\n", hart->id);
        return false;
    }
    hart->job = job;
    send_ipi(hart);
    return true;
}

static void stop_self(void) {
    this_hart()->online = false;
    sbi_call(SBI_HSM, HSM_STOP, 0, 0, 0); // does not return
}

// harts: starts all harts and lists them. harts stop: sends all but this one back to the firmware.
bool cmd_harts(int count, char **words) {
    bool stop = count == 2 && text_equal(words[1], "stop");
    if (count > 2 || (count == 2 && !stop))
        return false;
    if (!sbi_has(SBI_HSM)) {
        print("this firmware cannot start harts (no HSM extension)\n");
        return true;
    }
    for (u32 i = 1; i < machine.hart_count; i++) {
        if (!stop)
            start(&harts[i], stacks[i]);
        else if (harts[i].online) {
            if (give(&harts[i], stop_self))
                wait_online(&harts[i], false);
        }
    }
    for (u32 i = 0; i < machine.hart_count; i++) {
        static const char *const names[] = {"started", "stopped", "start pending", "stop pending",
                                            "suspended", "suspend pending", "resume pending"};
        struct sbi_result status = sbi_call(SBI_HSM, HSM_STATUS, harts[i].id, 0, 0);
        print("hart %-3u %s%s\n", harts[i].id,
              status.error                               ? sbi_error(status.error)
              : status.value < ARRAY_LENGTH(names) ? names[status.value]
                                                         : "unknown state",
              i == 0 ? ", runs this prompt" : harts[i].online ? ", waits for work" : "");
    }
    return true;
}

static u32 count_online(void) {
    u32 online = 0;
    for (u32 i = 1; i < machine.hart_count; i++)
        online += harts[i].online;
    if (online == 0)
        print(machine.hart_count > 1 ? "no other hart runs: start them with harts\n"
                                     : "this machine has one hart\n");
    return online;
}

// ipi: interrupts each other hart and measures until its handler ran.
bool cmd_ipi(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    count_online();
    for (u32 i = 1; i < machine.hart_count; i++) {
        struct hart *hart = &harts[i];
        if (!hart->online)
            continue;
        u64 before = hart->ipis, sent = time_now(), deadline = sent + timer_ticks_of_us(ANSWER_US);
        send_ipi(hart);
        while (hart->ipis == before && time_now() < deadline)
            spin_hint();
        if (hart->ipis == before)
            print("hart %u: no answer\n", hart->id);
        else
            print("hart %u: took the interrupt after %u ticks\n", hart->id, hart->ipi_time - sent);
    }
    return true;
}

static u64 rounds, amo_sum, lrsc_sum;
static volatile u64 plain_sum;
static u32 finished;

static void race_job(void) {
    for (u64 i = 0; i < rounds; i++) {
        __atomic_fetch_add(&amo_sum, 1, __ATOMIC_RELAXED); // one amoadd.d
        u64 seen = __atomic_load_n(&lrsc_sum, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&lrsc_sum, &seen, seen + 1, true, __ATOMIC_RELAXED,
                                            __ATOMIC_RELAXED))
            ; // lr.d, compare, sc.d
        plain_sum = plain_sum + 1; // a load, an addition, a store: others come between
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

// race [N]: all harts add 1 to the same three counters, N times, in three ways.
bool cmd_race(int count, char **words) {
    u64 number = 1000;
    if (count > 2 || (count == 2 && !text_number(words[1], &number)))
        return false;
    if (number < 1 || number > 10000000) {
        print("race: 1 to 10000000 rounds\n");
        return true;
    }
    u32 others = count_online();
    if (!others)
        return true;
    for (u32 i = 1; i < machine.hart_count; i++)
        if (harts[i].online && harts[i].job) {
            print("hart %u: still at work\n", harts[i].id);
            return true;
        }
    rounds = number, amo_sum = lrsc_sum = plain_sum = finished = 0;
    for (u32 i = 1; i < machine.hart_count; i++)
        if (harts[i].online)
            give(&harts[i], race_job);
    race_job();
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < others + 1)
        spin_hint(); // Ctrl-C ends it
    u64 expected = number * (others + 1);
    print("%u harts, %u rounds each: %u is right\n", (u64)others + 1, number, expected);
    print("  amoadd       %u\n  lr/sc        %u\n", amo_sum, lrsc_sum);
    print("  load, store  %u%s\n", plain_sum,
          plain_sum == expected ? "" : "  (this is why there are atomics)");
    return true;
}
