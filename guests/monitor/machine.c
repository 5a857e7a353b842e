// What this machine has, from one walk over its device tree. main.c calls it before anything else:
// no address of a device is written in this kernel, all of them come from here.
#include "monitor.h"

struct machine machine;

// A property that is text, if it is there and ends as text must.
static const char *text_property(const struct fdt_node *node, const char *name) {
    u32 length;
    const char *text = fdt_property(node, name, &length);
    return text && length > 0 && text[length - 1] == 0 ? text : NULL;
}

// Adds the hart of a cpu node. harts[0] is taken by the hart that booted, whichever id it has.
static struct hart *add_hart(const struct fdt_node *node) {
    u64 id, size;
    const char *status = text_property(node, "status");
    if (!fdt_reg(node, 0, &id, &size) || (status && !text_equal(status, "okay")))
        return NULL;
    const char *isa = text_property(node, "riscv,isa");
    if (id == harts[0].id) {
        machine.isa = isa ? isa : text_property(node, "riscv,isa-base");
        return &harts[0];
    }
    if (machine.hart_count == MAX_HARTS)
        return NULL;
    struct hart *hart = &harts[machine.hart_count++];
    hart->id = id;
    return hart;
}

static struct slot slot_of(const struct fdt_node *node) {
    struct slot slot = {0, 0};
    u64 size;
    if (fdt_reg(node, 0, &slot.base, &size))
        fdt_u32(node, "interrupts", &slot.irq);
    return slot;
}

static void add_plic(const struct fdt_node *node) {
    u32 length;
    u64 size;
    const u8 *wires = fdt_property(node, "interrupts-extended", &length);
    if (!wires || !fdt_reg(node, 0, &machine.plic, &size))
        return;
    machine.plic_wires = wires;
    machine.plic_contexts = length / 8;
    if (!fdt_u32(node, "riscv,ndev", &machine.plic_sources))
        machine.plic_sources = 31;
}

static void add_device(const struct fdt_node *node) {
    u64 size;
    if (fdt_compatible(node, "ns16550a") || fdt_compatible(node, "ns16550")) {
        if (!machine.uart.base) {
            machine.uart = slot_of(node);
            if (!fdt_u32(node, "reg-shift", &machine.uart_shift) || machine.uart_shift > 4)
                machine.uart_shift = 0;
        }
    } else if (fdt_compatible(node, "riscv,plic0") || fdt_compatible(node, "sifive,plic-1.0.0")) {
        add_plic(node);
    } else if (fdt_compatible(node, "sifive,test0") || fdt_compatible(node, "sifive,test1")) {
        if (!fdt_reg(node, 0, &machine.finisher, &size))
            machine.finisher = 0;
    } else if (fdt_compatible(node, "virtio,mmio")) {
        if (machine.virtio_count < MAX_VIRTIO)
            machine.virtio[machine.virtio_count++] = slot_of(node);
    }
}

bool machine_discover(const void *device_tree) {
    machine.hart_count = 1;
    machine.timebase = 10000000; // that of the `virt` board, until the tree says otherwise
    if (!fdt_open(device_tree))
        return false;
    machine.device_tree = device_tree;
    struct hart *hart = NULL; // of the cpu node that the walk is in
    u64 base, size;
    struct fdt_node node = fdt_start();
    while (fdt_next(&node)) {
        const char *type = text_property(&node, "device_type");
        u32 phandle;
        if (node.depth == 0)
            machine.model = text_property(&node, "model");
        else if (text_equal(node.name, "cpus"))
            fdt_u32(&node, "timebase-frequency", &machine.timebase);
        else if (type && text_equal(type, "cpu"))
            hart = add_hart(&node);
        else if (fdt_compatible(&node, "riscv,cpu-intc")) {
            if (hart && fdt_u32(&node, "phandle", &phandle))
                hart->interrupt_controller = phandle;
            hart = NULL;
        } else if (type && text_equal(type, "memory")) {
            if (!machine.ram_size && fdt_reg(&node, 0, &base, &size)) {
                machine.ram_base = base;
                machine.ram_size = size;
            }
        } else
            add_device(&node);
    }
    if (machine.timebase == 0)
        machine.timebase = 10000000;
    return true;
}
