"""A 16550A UART, as in National's PC16550D data sheet; the console of QEMU's virt board.

    0 RBR/THR (DLL)   1 IER (DLM)   2 IIR/FCR   3 LCR   4 MCR   5 LSR   6 MSR   7 SCR

Output goes to `sink` byte by byte at once, so the transmitter is always empty; the interrupt for
that still comes and goes as the data sheet says. Input waits in a bounded backlog on the host's
side (the wire) and moves into the 16-byte FIFO as the guest makes room, so a paste of 1 KiB loses
nothing. The character time-out interrupt comes at once instead of after four character times.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from lamina.base.bits import U8
from lamina.bus.irq import IrqLine
from lamina.devices.device import Device, TreeNode
from lamina.devices.state import StateReader

RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)

IER_RECEIVE, IER_TRANSMIT, IER_LINE, IER_MODEM, IER_ALL = 0x01, 0x02, 0x04, 0x08, 0x0F
IIR_NONE, IIR_MODEM, IIR_TRANSMIT, IIR_RECEIVE = 0x01, 0x00, 0x02, 0x04
IIR_LINE, IIR_TIMEOUT, IIR_FIFO = 0x06, 0x0C, 0xC0
FCR_ENABLE, FCR_CLEAR_RECEIVE, FCR_TRIGGER = 0x01, 0x02, 0xC0
LCR_DIVISOR = 0x80
MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP, MCR_ALL = 0x01, 0x02, 0x04, 0x08, 0x10, 0x1F
LSR_READY, LSR_OVERRUN, LSR_BREAK, LSR_EMPTY, LSR_FIFO_ERROR = 0x01, 0x02, 0x10, 0x60, 0x80
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80
MSR_DELTA, MSR_DELTA_CTS, MSR_DELTA_DSR, MSR_TRAILING_RI, MSR_DELTA_DCD = 0x0F, 1, 2, 4, 8

FIFO_SIZE = 16
TRIGGERS = (1, 4, 8, 14)
BACKLOG = 64 * 1024
CLOCK_HZ = 3_686_400
BREAK = LSR_BREAK << 8  # in a FIFO entry, error bits stand above the character


class Uart(Device):
    """One serial port."""

    name = "uart0"
    size = 0x100

    def __init__(self, irq: IrqLine, sink: Callable[[bytes], None]) -> None:
        self._irq = irq
        self._sink = sink
        self._backlog = bytearray()
        self._clear()

    def _clear(self) -> None:
        self._fifo: deque[int] = deque()
        self._ier = 0
        self._fcr = 0
        self._lcr = 0
        self._mcr = 0
        self._msr_delta = 0
        self._scratch = 0
        self._divisor = 12
        self._line_errors = 0
        self._transmit_pending = False

    # The host's side

    @property
    def room(self) -> int:
        """How many bytes `receive` would take now."""
        return BACKLOG - len(self._backlog)

    def receive(self, data: bytes) -> int:
        """Input from the backend; returns how many bytes were taken, the rest is for later."""
        taken = data[: self.room]
        self._backlog += taken
        self._refill()
        self._update()
        return len(taken)

    def receive_break(self) -> None:
        """The other side holds the line: a zero character with the break bit."""
        self._put(BREAK)
        self._update()

    def _refill(self) -> None:
        """Move input from the wire into the FIFO, as far as it has room."""
        if self._mcr & MCR_LOOP:
            return
        count = min(self._depth - len(self._fifo), len(self._backlog))
        if count > 0:
            self._fifo.extend(self._backlog[:count])
            del self._backlog[:count]

    @property
    def _depth(self) -> int:
        return FIFO_SIZE if self._fcr & FCR_ENABLE else 1

    def _put(self, entry: int) -> None:
        if len(self._fifo) < self._depth:
            self._fifo.append(entry)
        else:
            self._line_errors |= LSR_OVERRUN

    # The guest's side

    def read(self, offset: int, size: int) -> int:
        """Any width reads the one register at `offset`, as byte-wide hardware does."""
        match offset:
            case 0 if self._lcr & LCR_DIVISOR:
                return self._divisor & U8
            case 0:
                return self._read_data()
            case 1 if self._lcr & LCR_DIVISOR:
                return self._divisor >> 8
            case 1:
                return self._ier
            case 2:
                return self._read_iir()
            case 3:
                return self._lcr
            case 4:
                return self._mcr
            case 5:
                return self._read_lsr()
            case 6:
                return self._read_msr()
            case 7:
                return self._scratch
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        value &= U8
        match offset:
            case 0 if self._lcr & LCR_DIVISOR:
                self._divisor = self._divisor & ~U8 | value
            case 0:
                self._write_data(value)
            case 1 if self._lcr & LCR_DIVISOR:
                self._divisor = self._divisor & U8 | value << 8
            case 1:
                self._write_ier(value)
            case 2:
                self._write_fcr(value)
            case 3:
                self._lcr = value
            case 4:
                self._write_mcr(value)
            case 7:
                self._scratch = value

    def _read_data(self) -> int:
        entry = self._fifo.popleft() if self._fifo else 0
        self._refill()
        self._update()
        return entry & U8

    def _write_data(self, value: int) -> None:
        if self._mcr & MCR_LOOP:
            self._put(value)
        else:
            self._sink(bytes((value,)))
        self._transmit_pending = True
        self._update()

    def _write_ier(self, value: int) -> None:
        if value & ~self._ier & IER_TRANSMIT:
            self._transmit_pending = True
        self._ier = value & IER_ALL
        self._update()

    def _read_iir(self) -> int:
        cause = self._cause()
        if cause == IIR_TRANSMIT:
            self._transmit_pending = False
            self._update()
        return cause | (IIR_FIFO if self._fcr & FCR_ENABLE else 0)

    def _write_fcr(self, value: int) -> None:
        if value & FCR_CLEAR_RECEIVE or (value ^ self._fcr) & FCR_ENABLE:
            self._fifo.clear()
        self._fcr = value & (FCR_TRIGGER | FCR_ENABLE) if value & FCR_ENABLE else 0
        self._refill()
        self._update()

    def _read_lsr(self) -> int:
        value = self._line_status()
        if value & (LSR_OVERRUN | LSR_BREAK):
            self._line_errors = 0
            if self._fifo:
                self._fifo[0] &= U8
            self._update()
        return value

    def _line_status(self) -> int:
        value = LSR_EMPTY | self._line_errors
        if self._fifo:
            value |= LSR_READY | self._fifo[0] >> 8
            if self._fcr & FCR_ENABLE and any(entry > U8 for entry in self._fifo):
                value |= LSR_FIFO_ERROR
        return value

    def _read_msr(self) -> int:
        value = self._modem_lines(self._mcr) | self._msr_delta
        self._msr_delta = 0
        self._update()
        return value

    @staticmethod
    def _modem_lines(mcr: int) -> int:
        """The modem's lines: a modem that is always ready, or our own outputs in loopback."""
        if not mcr & MCR_LOOP:
            return MSR_CTS | MSR_DSR | MSR_DCD
        pairs = ((MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD))
        return sum(line for output, line in pairs if mcr & output)

    def _write_mcr(self, value: int) -> None:
        before, after = self._modem_lines(self._mcr), self._modem_lines(value & MCR_ALL)
        changed = before ^ after
        self._msr_delta |= MSR_DELTA_CTS if changed & MSR_CTS else 0
        self._msr_delta |= MSR_DELTA_DSR if changed & MSR_DSR else 0
        self._msr_delta |= MSR_TRAILING_RI if changed & before & MSR_RI else 0
        self._msr_delta |= MSR_DELTA_DCD if changed & MSR_DCD else 0
        self._mcr = value & MCR_ALL
        self._refill()
        self._update()

    # Interrupts

    def _cause(self) -> int:
        """The pending interrupt of the highest priority, as the low bits of IIR."""
        if self._ier & IER_LINE and self._line_status() & (LSR_OVERRUN | LSR_BREAK):
            return IIR_LINE
        if self._ier & IER_RECEIVE and self._fifo:
            full = not self._fcr & FCR_ENABLE or len(self._fifo) >= TRIGGERS[self._fcr >> 6]
            return IIR_RECEIVE if full else IIR_TIMEOUT
        if self._ier & IER_TRANSMIT and self._transmit_pending:
            return IIR_TRANSMIT
        if self._ier & IER_MODEM and self._msr_delta:
            return IIR_MODEM
        return IIR_NONE

    def _update(self) -> None:
        self._irq.set(self._cause() != IIR_NONE)

    # Life cycle

    def reset(self) -> None:
        """Registers and FIFO; what is still on the wire stays there."""
        self._clear()
        self._refill()
        self._update()

    def save(self) -> dict[str, Any]:
        return {
            "fifo": list(self._fifo),
            "backlog": bytes(self._backlog),
            "ier": self._ier,
            "fcr": self._fcr,
            "lcr": self._lcr,
            "mcr": self._mcr,
            "msr_delta": self._msr_delta,
            "scratch": self._scratch,
            "divisor": self._divisor,
            "line_errors": self._line_errors,
            "transmit_pending": self._transmit_pending,
        }

    def load(self, state: dict[str, Any]) -> None:
        reader = StateReader(self.name, state, *self.save())
        fcr = reader.integer("fcr", FCR_TRIGGER | FCR_ENABLE)
        if fcr & ~(FCR_TRIGGER | FCR_ENABLE) or (fcr and not fcr & FCR_ENABLE):
            raise reader.refuse("fcr", "a FIFO mode")
        fifo = reader.table("fifo", len(state["fifo"]) if isinstance(state["fifo"], list) else 0)
        depth = FIFO_SIZE if fcr else 1
        good = all(type(entry) is int and (entry == BREAK or 0 <= entry <= U8) for entry in fifo)
        if len(fifo) > depth or not good:
            raise reader.refuse("fifo", f"up to {depth} characters")
        errors = reader.integer("line_errors", LSR_OVERRUN)
        if errors not in (0, LSR_OVERRUN):
            raise reader.refuse("line_errors", "an overrun or nothing")
        backlog = bytearray(reader.blob("backlog", BACKLOG))
        ier, lcr = reader.integer("ier", IER_ALL), reader.integer("lcr", U8)
        mcr, delta = reader.integer("mcr", MCR_ALL), reader.integer("msr_delta", MSR_DELTA)
        scratch, divisor = reader.integer("scratch", U8), reader.integer("divisor", 0xFFFF)
        pending = reader.boolean("transmit_pending")
        self._fifo, self._backlog, self._fcr, self._line_errors = deque(fifo), backlog, fcr, errors
        self._ier, self._lcr, self._mcr, self._msr_delta = ier, lcr, mcr, delta
        self._scratch, self._divisor, self._transmit_pending = scratch, divisor, pending
        self._update()

    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        node = tree.node(f"serial@{base:x}")
        node.text("compatible", "ns16550a")
        node.reg(base, self.size)
        node.cells("clock-frequency", CLOCK_HZ)
        return node
