// Ways to end: SBI system reset ("System Reset Extension"), and the test finisher, a register that
// ends the machine with a status for whoever started it.
#include "monitor.h"

enum { SHUTDOWN = 0, COLD_REBOOT = 1 };
#define LEGACY_SHUTDOWN 8
#define FINISHER_PASS 0x5555
#define FINISHER_FAIL 0x3333
#define FINISHER_RESET 0x7777

static void finish(u32 value) {
    if (machine.finisher) {
        mmio_write32(machine.finisher, value);
        for (u32 i = 0; i < 1000000; i++) // the machine may take a moment
            spin_hint();
    }
}

bool cmd_poweroff(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    print("bye\n");
    if (sbi_has(SBI_SRST))
        sbi_call(SBI_SRST, 0, SHUTDOWN, 0, 0);
    finish(FINISHER_PASS);
    sbi_call(LEGACY_SHUTDOWN, 0, 0, 0, 0);
    print("poweroff: neither the SBI nor a finisher turns this machine off\n");
    return true;
}

bool cmd_reboot(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    if (sbi_has(SBI_SRST))
        sbi_call(SBI_SRST, 0, COLD_REBOOT, 0, 0);
    finish(FINISHER_RESET);
    print("reboot: neither the SBI nor a finisher restarts this machine\n");
    return true;
}

// exit [N]: the host's command that runs this machine ends with status N.
bool cmd_exit(int count, char **words) {
    u64 status = 0;
    if (count > 2 || (count == 2 && !text_number(words[1], &status)))
        return false;
    if (status > 255) {
        print("exit: a status is 0 to 255\n");
        return true;
    }
    finish(status ? (u32)status << 16 | FINISHER_FAIL : FINISHER_PASS);
    print("exit: this machine has no test finisher\n");
    return true;
}
