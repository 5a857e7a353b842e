// The console: the UART if the device tree has one, else the SBI's console. Input comes by
// interrupt into a ring; without an interrupt it is polled a few hundred times a second.
#include "monitor.h"

#define CTRL_C 3
#define RING_SIZE 256 // a power of two
#define POLL_US 4000

static struct {
    u8 bytes[RING_SIZE];
    u32 head, tail; // both only grow; the interrupt moves head, console_getc() moves tail
} ring;
static bool has_uart, has_interrupt;
static volatile bool break_seen;
static struct hart *volatile owner; // who prints now: a lock, so that lines do not mix

static int device_getc(void) { return has_uart ? uart_getc() : sbi_getc(); }

// Takes what the device has. On a full ring it leaves the rest there: the sender waits then.
static void receive(void) {
    while (ring.head - ring.tail < RING_SIZE) {
        int c = device_getc();
        if (c < 0)
            return;
        if (c == CTRL_C && harts[0].guard) { // a command runs: it ends, and what was typed goes
            break_seen = true;
            ring.tail = ring.head;
        } else
            ring.bytes[ring.head++ % RING_SIZE] = (u8)c;
    }
    if (has_interrupt)
        uart_receive_interrupt(false); // else it would come again at once, for ever
}

void console_init(void) {
    has_uart = machine.uart.base != 0;
    if (!has_uart)
        return;
    receive(); // a UART loses what it holds when its FIFO is turned on
    uart_init();
}

// Later in the boot, when the PLIC is there.
void console_interrupts(void) {
    if (has_uart && plic_connect(machine.uart.irq, receive)) {
        has_interrupt = true;
        uart_receive_interrupt(true);
    }
}

const char *console_name(void) {
    if (!has_uart)
        return "SBI console";
    return has_interrupt ? "16550 UART, interrupts by PLIC" : "16550 UART, polled";
}

void console_putc(char c) {
    if (c == '\n')
        console_putc('\r');
    if (has_uart)
        uart_putc(c);
    else
        sbi_putc(c);
}

static bool has_input(void) {
    if (!has_interrupt)
        receive();
    return ring.head != ring.tail;
}

char console_getc(void) {
    while (!sleep_until(has_input, has_interrupt ? UINT64_MAX
                                                 : time_now() + timer_ticks_of_us(POLL_US)))
        ;
    interrupts_off(); // receive() must not run between the test and the move of the tail
    u8 c = ring.bytes[ring.tail++ % RING_SIZE];
    interrupts_on();
    if (has_interrupt)
        uart_receive_interrupt(true);
    return (char)c;
}

bool console_break(void) {
    bool seen = break_seen;
    break_seen = false;
    return seen;
}

void console_lock(void) {
    struct hart *free = NULL;
    while (!__atomic_compare_exchange_n(&owner, &free, this_hart(), false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
        free = NULL;
        spin_hint();
    }
}

void console_unlock(void) { __atomic_store_n(&owner, NULL, __ATOMIC_RELEASE); }

void console_release(void) {
    if (owner == this_hart())
        console_unlock();
}
