// A driver for the simplest virtio device, the entropy source, with a real virtqueue: it has one
// queue; the device fills the buffers that it finds there with random bytes.
// Virtual I/O Device specification: 2.7 split virtqueues, 3.1 initialization, 5.4 entropy device.
#include "monitor.h"

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
#define DESCRIPTOR_WRITE 2 // the device writes to the buffer
#define QUEUE_SIZE 8
#define PAGE 4096
#define MAX_BYTES 256
#define ANSWER_US 2000000

struct descriptor {
    u64 address;
    u32 length;
    u16 flags, next;
};
// One piece of memory for the three parts. Version 1 wants the used ring on the next page.
static struct {
    struct descriptor descriptors[QUEUE_SIZE];
    struct {
        u16 flags, index, ring[QUEUE_SIZE];
    } avail; // written by the driver
    struct {
        _Alignas(PAGE) volatile u16 flags;
        volatile u16 index;
        volatile struct {
            u32 id, length;
        } ring[QUEUE_SIZE];
    } used; // written by the device
} queue __attribute__((aligned(PAGE)));

static u8 bytes[MAX_BYTES];
static struct slot slot;
static u16 taken; // used.index up to where the answers were taken
static volatile u32 interrupts;

static void set(u32 reg, u32 value) { mmio_write32(slot.base + reg, value); }
static u32 get(u32 reg) { return mmio_read32(slot.base + reg); }

static void rng_interrupt(void) {
    set(VIRTIO_INTERRUPT_ACK, get(VIRTIO_INTERRUPT_STATUS));
    interrupts++;
}

static void set_address(u32 reg, const volatile void *where) {
    set(reg, (u32)(u64)where);
    set(reg + 4, (u32)((u64)where >> 32));
}

// Resets the device and gives it the queue. What went wrong, or NULL.
static const char *start(u32 version) {
    set(VIRTIO_STATUS, 0);
    set(VIRTIO_STATUS, ACKNOWLEDGE | DRIVER);
    set(VIRTIO_DRIVER_FEATURES_SEL, 0);
    set(VIRTIO_DRIVER_FEATURES, 0);
    if (version == 2) {
        set(VIRTIO_DRIVER_FEATURES_SEL, 1);
        set(VIRTIO_DRIVER_FEATURES, 1); // bit 32: VIRTIO_F_VERSION_1
        set(VIRTIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if (!(get(VIRTIO_STATUS) & FEATURES_OK))
            return "the device refuses the features";
    }
    memset(&queue, 0, sizeof queue);
    taken = 0;
    set(VIRTIO_QUEUE_SEL, 0);
    if (get(VIRTIO_QUEUE_NUM_MAX) < QUEUE_SIZE)
        return "the device has no queue that is long enough";
    set(VIRTIO_QUEUE_NUM, QUEUE_SIZE);
    if (version == 1) {
        set(VIRTIO_PAGE_SIZE, PAGE);
        set(VIRTIO_QUEUE_ALIGN, PAGE);
        set(VIRTIO_QUEUE_PFN, (u32)((u64)&queue / PAGE));
    } else {
        set_address(VIRTIO_QUEUE_DESC, queue.descriptors);
        set_address(VIRTIO_QUEUE_DRIVER, &queue.avail);
        set_address(VIRTIO_QUEUE_DEVICE, &queue.used);
        set(VIRTIO_QUEUE_READY, 1);
    }
    set(VIRTIO_STATUS, get(VIRTIO_STATUS) | DRIVER_OK);
    return NULL;
}

static bool answered(void) { return queue.used.index != taken; }

// One round through the queue: offers `bytes` from `at` on, returns how many the device filled in.
static u32 request(u32 at, u32 length) {
    queue.descriptors[0] = (struct descriptor){(u64)&bytes[at], length, DESCRIPTOR_WRITE, 0};
    queue.avail.ring[queue.avail.index % QUEUE_SIZE] = 0; // the chain starts at descriptor 0
    fence(); // the device may look as soon as the index moves
    queue.avail.index++;
    fence();
    set(VIRTIO_QUEUE_NOTIFY, 0);
    if (!sleep_until(answered, time_now() + timer_ticks_of_us(ANSWER_US)))
        return 0;
    fence();
    u32 filled = queue.used.ring[taken++ % QUEUE_SIZE].length;
    return filled <= length ? filled : 0; // devices are not believed either
}

// random [N]: N random bytes.
bool cmd_random(int count, char **words) {
    u64 wanted = 16;
    u32 version, got = 0;
    if (count > 2 || (count == 2 && !text_number(words[1], &wanted)))
        return false;
    if (wanted < 1 || wanted > MAX_BYTES) {
        print("random: 1 to %u bytes\n", (u64)MAX_BYTES);
        return true;
    }
    if (!virtio_find(VIRTIO_ID_ENTROPY, &slot, &version)) {
        print("this machine has no virtio entropy device\n");
        return true;
    }
    interrupts = 0;
    bool connected = plic_connect(slot.irq, rng_interrupt);
    const char *error = start(version);
    while (!error && got < wanted) {
        u32 filled = request(got, (u32)wanted - got);
        error = filled ? NULL : "the device does not answer";
        got += filled;
    }
    set(VIRTIO_STATUS, 0); // off again: it must not write to memory that we use for something else
    for (u32 i = 0; i < got; i++)
        print("%02x%s", (u64)bytes[i], i % 16 == 15 || i + 1 == got ? "\n" : " ");
    if (error)
        print("random: %s\n", error);
    else
        print("from the device at 0x%x, %u interrupt%s%s\n", slot.base, (u64)interrupts,
              interrupts == 1 ? "" : "s", connected ? "" : " (not connected)");
    return true;
}
