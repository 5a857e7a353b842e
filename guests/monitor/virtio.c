// The virtio-mmio slots of the machine (Virtual I/O Device specification, 4.2).
#include "monitor.h"

#define MAGIC 0x74726976 // "virt"

static const char *device_name(u32 id) {
    static const char *const names[] = {"empty",   "network", "block",  "console", "entropy",
                                        "balloon", NULL,      NULL,     "SCSI",    "9P",
                                        NULL,      NULL,      NULL,     NULL,      NULL,
                                        NULL,      "GPU",     NULL,     "input",   "socket",
                                        "crypto"};
    if (id == 26)
        return "file system";
    return id < ARRAY_LENGTH(names) && names[id] ? names[id] : "unknown";
}

// The first slot with the device; its driver needs the slot and the version of the interface:
// 1 is what the specification calls legacy, 2 is the present one.
bool virtio_find(u32 device, struct slot *slot, u32 *version) {
    for (u32 i = 0; i < machine.virtio_count; i++) {
        u64 base = machine.virtio[i].base;
        *version = mmio_read32(base + VIRTIO_VERSION);
        if (mmio_read32(base + VIRTIO_MAGIC) == MAGIC && (*version == 1 || *version == 2) &&
            mmio_read32(base + VIRTIO_DEVICE_ID) == device) {
            *slot = machine.virtio[i];
            return true;
        }
    }
    return false;
}

// virtio: what is in the slots.
bool cmd_virtio(int count, char **words) {
    (void)words;
    if (count != 1)
        return false;
    if (machine.virtio_count == 0)
        print("no virtio-mmio slots in the device tree\n");
    for (u32 i = 0; i < machine.virtio_count; i++) {
        u64 base = machine.virtio[i].base;
        u32 magic = mmio_read32(base + VIRTIO_MAGIC);
        if (magic != MAGIC) {
            print("0x%x: no virtio here, magic 0x%x\n", base, (u64)magic);
            continue;
        }
        u32 id = mmio_read32(base + VIRTIO_DEVICE_ID);
        print("0x%x irq %-2u version %u  %s", base, (u64)machine.virtio[i].irq,
              (u64)mmio_read32(base + VIRTIO_VERSION), device_name(id));
        if (id)
            print(" (device %u, vendor 0x%x)", (u64)id,
                  (u64)mmio_read32(base + VIRTIO_VENDOR_ID));
        print("\n");
    }
    return true;
}
