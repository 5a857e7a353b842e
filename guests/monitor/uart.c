// The 16550 UART, polled for output, with an interrupt for input (National Semiconductor PC16550D
// data sheet, section 8). console.c calls it.
#include "monitor.h"

enum { DATA = 0, INTERRUPT_ENABLE = 1, FIFO_CONTROL = 2, LINE_CONTROL = 3, LINE_STATUS = 5 };
#define RECEIVE_INTERRUPT 0x01
#define FIFO_ON 0x01 // without the bits that would clear it: something may have been typed already
#define EIGHT_BITS 0x03
#define DATA_READY 0x01
#define TRANSMITTER_EMPTY 0x20

static u64 at(u32 offset) { return machine.uart.base + ((u64)offset << machine.uart_shift); }

void uart_init(void) {
    mmio_write8(at(INTERRUPT_ENABLE), 0);
    mmio_write8(at(LINE_CONTROL), EIGHT_BITS); // the baud rate stays as the firmware left it
    mmio_write8(at(FIFO_CONTROL), FIFO_ON);
}

void uart_putc(char c) {
    // Bounded, so that a UART that is never ready costs output and not the machine.
    for (u32 tries = 0; tries < 1000000; tries++)
        if (mmio_read8(at(LINE_STATUS)) & TRANSMITTER_EMPTY)
            break;
    mmio_write8(at(DATA), (u8)c);
}

int uart_getc(void) {
    return mmio_read8(at(LINE_STATUS)) & DATA_READY ? mmio_read8(at(DATA)) : -1;
}

void uart_receive_interrupt(bool on) {
    mmio_write8(at(INTERRUPT_ENABLE), on ? RECEIVE_INTERRUPT : 0);
}
