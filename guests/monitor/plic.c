// The platform-level interrupt controller: device interrupts, by number, to one hart.
// RISC-V Platform-Level Interrupt Controller specification, chapters 3 to 9.
#include "monitor.h"

#define PRIORITY(irq) (machine.plic + 4ull * (irq))
#define ENABLE(context, irq) (machine.plic + 0x2000 + 0x80ull * (context) + 4 * ((irq) / 32))
#define THRESHOLD(context) (machine.plic + 0x200000 + 0x1000ull * (context))
#define CLAIM(context) (THRESHOLD(context) + 4)

#define MAX_SOURCES 128
static void (*handlers[MAX_SOURCES])(void);
static u64 counts[MAX_SOURCES];
static u64 spurious;
static bool ready;

// A context is one mode of one hart. The device tree lists them in order as pairs: the hart's own
// interrupt controller and the interrupt it raises there; ours is "supervisor external".
static bool find_context(u32 *context) {
    for (u32 i = 0; i < machine.plic_contexts; i++)
        if (fdt_cell(machine.plic_wires, 2 * i) == harts[0].interrupt_controller &&
            fdt_cell(machine.plic_wires, 2 * i + 1) == IRQ_EXTERNAL) {
            *context = i;
            return true;
        }
    return false;
}

// All sources off for the boot hart, and all priorities let through.
void plic_init(void) {
    u32 context;
    if (!machine.plic || !find_context(&context))
        return;
    harts[0].plic_context = context;
    for (u32 irq = 0; irq < MAX_SOURCES && irq <= machine.plic_sources; irq += 32)
        mmio_write32(ENABLE(context, irq), 0);
    mmio_write32(THRESHOLD(context), 0);
    set_csr("sie", 1ull << IRQ_EXTERNAL);
    ready = true;
}

// From now on handler() runs at each interrupt of the source. Only the boot hart calls this.
bool plic_connect(u32 irq, void (*handler)(void)) {
    if (!ready || irq == 0 || irq >= MAX_SOURCES || irq > machine.plic_sources)
        return false;
    handlers[irq] = handler;
    u64 enable = ENABLE(harts[0].plic_context, irq);
    mmio_write32(PRIORITY(irq), 1); // 0 would be "never"
    mmio_write32(enable, mmio_read32(enable) | 1u << (irq % 32));
    return true;
}

// trap.c, on a supervisor external interrupt: claim, handle, complete, until nothing is left.
void plic_interrupt(void) {
    u64 claim = CLAIM(harts[0].plic_context);
    u32 irq;
    while ((irq = mmio_read32(claim)) != 0) {
        if (irq < MAX_SOURCES && handlers[irq]) {
            counts[irq]++;
            handlers[irq]();
        } else
            spurious++;
        mmio_write32(claim, irq);
    }
}

// irqs: how often which interrupt came.
bool cmd_irqs(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    print("timer (%s): %u\nsoftware:\n", timer_name(), harts[0].timer_ticks);
    for (u32 i = 0; i < machine.hart_count; i++)
        print("  hart %-3u %u\n", harts[i].id, harts[i].ipis);
    if (!ready) {
        print("external: none, this machine has no PLIC that we know\n");
        return true;
    }
    print("external (PLIC at 0x%x, context %u):\n", machine.plic, (u64)harts[0].plic_context);
    for (u32 irq = 1; irq < MAX_SOURCES; irq++)
        if (handlers[irq])
            print("  source %-3u %-8u %s\n", (u64)irq, counts[irq],
                  irq == machine.uart.irq ? "UART" : "virtio");
    if (spurious)
        print("  without a handler: %u\n", spurious);
    return true;
}
