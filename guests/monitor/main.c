// The order of the boot, on one screen. boot.S calls main() with a stack and with zeroed .bss.
#include "monitor.h"

#define MONITOR_VERSION "1.0"

static void banner(void) {
    const char *arch = paging_on() ? "Sv39" : "no paging";
    print("\n"
          "     __________\n"
          "    /_________/|    Lamina monitor " MONITOR_VERSION "\n"
          "   /_________/|/    RISC-V 64, %u hart%s, %u MiB, %s\n"
          "  /_________/|/     ",
          (u64)machine.hart_count, machine.hart_count == 1 ? "" : "s", machine.ram_size >> 20,
          arch);
    sbi_identity();
    print("\n"
          "  |_________|/      %s\n\n"
          "Type help for the commands, poweroff to leave.\n",
          console_name());
}

void main(const void *device_tree) __attribute__((noreturn));
void main(const void *device_tree) {
    bool found = machine_discover(device_tree); // which devices, and where
    console_init();                             // from here on, we can say what goes wrong
    if (!found)
        print("no device tree at 0x%x: going on with what the SBI offers\n", (u64)device_tree);
    paging_init();
    paging_enable();
    plic_init();
    console_interrupts();
    timer_init();
    set_csr("sie", 1ull << IRQ_SOFTWARE);
    interrupts_on();
    banner();
    shell();
}
