// All traps of all harts end here (Privileged specification, "Supervisor Cause Register").
//
// Interrupts go to their drivers. An exception ends the guarded call that it happened in, so that
// a command which steps on something reports it, and the prompt comes back.
#include "monitor.h"

struct trap_frame {
    u64 x[32]; // x[0] is not used
    u64 sepc, sstatus;
};
_Static_assert(offsetof(struct trap_frame, sepc) == FRAME_SEPC, "trap.S and C disagree");
_Static_assert(offsetof(struct trap_frame, sstatus) == FRAME_SSTATUS, "trap.S and C disagree");
_Static_assert(sizeof(struct trap_frame) == FRAME_SIZE, "trap.S and C disagree");
_Static_assert(offsetof(struct guard, sp) == GUARD_SP, "trap.S and C disagree");
_Static_assert(offsetof(struct hart, kernel_sp) == HART_KERNEL_SP, "trap.S and C disagree");
_Static_assert(offsetof(struct hart, trap_sp) == HART_TRAP_SP, "trap.S and C disagree");

enum { RA = 1, SP = 2, TP = 4, A0 = 10, A7 = 17 };
enum { CALL_PRINT = 1, CALL_EXIT = 2 };
const u64 CAUSE_BREAK = UINT64_MAX;

void guarded_call(void (*function)(u64), u64 argument, struct guard *guard);
extern char guarded_return[];

static const char *cause_name(u64 cause) {
    static const char *const names[16] = {
        "instruction address misaligned", "instruction access fault", "illegal instruction",
        "breakpoint", "load address misaligned", "load access fault",
        "store address misaligned", "store access fault", "ecall from user mode",
        "ecall from supervisor mode", NULL, NULL, "instruction page fault", "load page fault",
        NULL, "store page fault"};
    return cause < 16 && names[cause] ? names[cause] : "unknown exception";
}

void trap_report(const struct trap_record *record) {
    if (record->cause == CAUSE_BREAK)
        print("^C\n");
    else
        print("trap: %s (cause %u) at pc 0x%x, value 0x%x, from %s mode\n",
              cause_name(record->cause), record->cause, record->pc, record->value,
              record->from_user ? "user" : "supervisor");
}

// Calls function(argument); true, with what happened, when an exception ended it.
bool guarded(void (*function)(u64), u64 argument, struct trap_record *record) {
    struct hart *hart = this_hart();
    struct guard guard = {.outer = hart->guard};
    hart->guard = &guard;
    guarded_call(function, argument, &guard);
    hart->guard = guard.outer;
    *record = guard.record;
    return guard.trapped;
}

// Makes the trap return to the end of a guarded call, in the kernel, with interrupts as the
// boot hart always has them: on.
static void unwind(struct trap_frame *frame, struct guard *guard, u64 cause) {
    guard->trapped = true;
    guard->record = (struct trap_record){cause, frame->sepc, read_csr("stval"), frame->x[A0],
                                         !(frame->sstatus & SSTATUS_SPP)};
    console_release();
    frame->sepc = (u64)guarded_return;
    frame->sstatus |= SSTATUS_SPP | SSTATUS_SPIE;
    frame->x[SP] = guard->sp;
    frame->x[TP] = (u64)this_hart();
}

static void panic(const struct trap_frame *frame, u64 cause) {
    struct trap_record record = {cause, frame->sepc, read_csr("stval"), frame->x[A0],
                                 !(frame->sstatus & SSTATUS_SPP)};
    console_release();
    print("\nhart %u stops. ", this_hart()->id);
    trap_report(&record);
    for (int i = 1; i < 32; i++)
        print("x%-2d %p%s", (u64)i, frame->x[i], i % 4 == 3 || i == 31 ? "\n" : "  ");
    for (;;)
        wait_for_interrupt();
}

static void interrupt(struct trap_frame *frame, u64 number) {
    struct hart *hart = this_hart();
    if (number == IRQ_TIMER)
        timer_interrupt();
    else if (number == IRQ_SOFTWARE) {
        clear_csr("sip", 1ull << IRQ_SOFTWARE);
        hart->ipi_time = time_now();
        hart->ipis++;
    } else if (number == IRQ_EXTERNAL) {
        hart->external++;
        plic_interrupt();
    }
    if (hart == &harts[0] && hart->guard && console_break()) {
        struct guard *outermost = hart->guard;
        while (outermost->outer)
            outermost = outermost->outer;
        unwind(frame, outermost, CAUSE_BREAK);
    }
}

// A system call of user.S. sepc is the ecall itself: going on means going on behind it.
static bool user_call(struct trap_frame *frame) {
    if (frame->x[A7] != CALL_PRINT)
        return false; // CALL_EXIT and anything unknown end the program
    print("%c", (int)(u8)frame->x[A0]);
    frame->sepc += 4;
    return true;
}

// trap.S calls this, with interrupts off.
void trap(struct trap_frame *frame) {
    u64 cause = read_csr("scause");
    if (cause & CAUSE_INTERRUPT) {
        interrupt(frame, cause & ~CAUSE_INTERRUPT);
        return;
    }
    if (cause == CAUSE_USER_ECALL && user_call(frame))
        return;
    bool page_fault = cause == CAUSE_LOAD_PAGE_FAULT || cause == CAUSE_STORE_PAGE_FAULT;
    if (page_fault && paging_demand(read_csr("stval")))
        return; // the page is there now: the instruction runs again
    if (this_hart()->guard)
        unwind(frame, this_hart()->guard, cause);
    else
        panic(frame, cause);
}
