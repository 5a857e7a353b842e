// Time: the `time` counter, which all harts share, and the timer interrupt.
#include "monitor.h"

static bool has_stimecmp;

static void try_stimecmp(u64 value) { write_csr(CSR_STIMECMP, value); }

// With the Sstc extension S-mode sets its own deadline, in stimecmp. Whether it may is the firmware's
// decision (menvcfg.STCE); the device tree does not tell, so we try, and a trap is a "no".
void timer_init(void) {
    struct trap_record refused;
    has_stimecmp = !guarded(try_stimecmp, UINT64_MAX, &refused);
    timer_arm(UINT64_MAX);
    set_csr("sie", 1ull << IRQ_TIMER);
}

const char *timer_name(void) { return has_stimecmp ? "stimecmp" : "SBI"; }

// The interrupt is pending while `time` >= when; a new deadline is also what takes it back.
void timer_arm(u64 when) {
    if (has_stimecmp)
        write_csr(CSR_STIMECMP, when);
    else if (sbi_has(SBI_TIME))
        sbi_call(SBI_TIME, 0, when, 0, 0);
    else
        sbi_call(0, 0, when, 0, 0); // the legacy call
}

void timer_interrupt(void) {
    timer_arm(UINT64_MAX);
    this_hart()->timer_ticks++;
}

u64 timer_ticks_of_us(u64 us) { return us * machine.timebase / 1000000; }

bool sleep_until(bool (*done)(void), u64 deadline) {
    for (;;) {
        // wfi also ends for an interrupt that is pending but off. So nothing is lost that comes
        // between the test and wfi, as would be with interrupts on.
        interrupts_off();
        if (done() || time_now() >= deadline)
            break;
        timer_arm(deadline);
        wait_for_interrupt();
        interrupts_on(); // and here it is taken
    }
    interrupts_on();
    timer_arm(UINT64_MAX);
    return done();
}

static bool never(void) { return false; }

// timer [N [MS]]: N timer interrupts, MS milliseconds apart.
bool cmd_timer(int count, char **words) {
    u64 number = 3, ms = 100;
    if (count > 3 || (count > 1 && !text_number(words[1], &number)) ||
        (count > 2 && !text_number(words[2], &ms)))
        return false;
    if (number < 1 || number > 100 || ms < 1 || ms > 60000) {
        print("timer: 1 to 100 interrupts, 1 to 60000 ms apart\n");
        return true;
    }
    u64 step = timer_ticks_of_us(ms * 1000), start = time_now();
    print("by %s, every %u ms, which is %u ticks of %u Hz; Ctrl-C ends it\n", timer_name(), ms, step,
          (u64)machine.timebase);
    for (u64 i = 1; i <= number; i++) {
        u64 before = harts[0].timer_ticks;
        sleep_until(never, start + i * step);
        u64 late = time_now() - (start + i * step);
        print("  tick %u at +%u ticks: %u late, %s\n", i, time_now() - start, late,
              harts[0].timer_ticks > before ? "interrupt taken" : "no interrupt, time had passed");
    }
    return true;
}
