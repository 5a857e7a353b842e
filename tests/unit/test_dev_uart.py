"""UART: what 16550 drivers rely on, and what hostile ones try."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.errors import SnapshotError
from lamina.bus.irq import IrqLine
from lamina.devices.uart import BACKLOG, FIFO_SIZE, IER, IIR, LCR, LSR, MCR, MSR, RBR, SCR, Uart
from lamina.testing.devices import ByteSink, RecordingLine

FCR = IIR
READY, OVERRUN, BREAK, EMPTY, FIFO_ERROR = 1, 2, 0x10, 0x60, 0x80
NONE, MODEM, THRE, RECEIVED, LINE, TIMEOUT = 1, 0, 2, 4, 6, 0xC


class Port(Uart):
    """A UART with its ends in reach."""

    def __init__(self):
        self.line = RecordingLine()
        self.out = ByteSink()
        super().__init__(self.line, self.out)

    def put(self, register, value):
        self.write(register, 1, value)

    def get(self, register):
        return self.read(register, 1)

    def cause(self):
        return self.get(IIR) & 0x3F


@pytest.fixture
def uart():
    return Port()


def test_output_reaches_the_sink_and_the_transmitter_is_empty(uart):
    for byte in b"hello\xff":
        assert uart.get(LSR) & EMPTY == EMPTY
        uart.put(RBR, byte)
    assert uart.out.data == b"hello\xff"


def test_reading_lsr_alone_does_not_drive_the_line_again():
    """xv6 only ever reads LSR when the empty transmitter interrupts: it must not be called again
    for that."""
    driven = []
    line = IrqLine(driven.append, lambda: driven.append("again"))
    uart = Uart(line, ByteSink())
    uart.write(IER, 1, 2)
    assert driven == [True]
    for _ in range(3):
        assert uart.read(LSR, 1) & EMPTY
    assert driven == [True]
    uart.write(RBR, 1, 0x41)
    assert driven == [True, "again"]


def test_input_is_read_in_order_and_shown_by_lsr(uart):
    assert uart.receive(b"ab") == 2
    assert uart.get(LSR) & READY
    assert (uart.get(RBR), uart.get(RBR)) == (0x61, 0x62)
    assert not uart.get(LSR) & READY
    assert uart.get(RBR) == 0


def test_a_paste_of_more_than_the_fifo_loses_nothing(uart):
    uart.put(FCR, 1)
    text = bytes(range(256)) * 16
    assert uart.receive(text) == len(text)
    assert bytes(uart.get(RBR) for _ in text) == text
    assert not uart.get(LSR) & (READY | OVERRUN)


def test_the_backlog_is_bounded_and_says_how_much_it_took(uart):
    taken = uart.receive(bytes(BACKLOG + 1000))
    assert taken == BACKLOG
    rest = uart.room
    assert rest <= FIFO_SIZE
    assert uart.receive(bytes(100)) == rest
    assert uart.receive(b"x") == 0


def test_receive_interrupt_follows_the_trigger_level(uart):
    uart.put(FCR, 0x81)  # FIFO on, trigger at 8
    uart.put(IER, 1)
    assert uart.get(IIR) == NONE | 0xC0
    uart.receive(b"1234567")
    assert uart.cause() == TIMEOUT
    uart.receive(b"8")
    assert uart.cause() == RECEIVED
    assert uart.line.level
    for _ in range(8):
        uart.get(RBR)
    assert uart.cause() == NONE
    assert not uart.line.level


def test_without_fifo_one_character_is_enough(uart):
    uart.put(IER, 1)
    uart.receive(b"ab")
    assert uart.get(IIR) == RECEIVED
    uart.get(RBR)
    assert uart.cause() == RECEIVED
    uart.get(RBR)
    assert uart.cause() == NONE


def test_thre_interrupt_comes_on_enable_goes_on_iir_read_and_comes_again(uart):
    uart.put(IER, 2)
    assert uart.line.level
    assert uart.cause() == THRE
    assert not uart.line.level
    assert uart.cause() == NONE
    uart.put(RBR, 0x41)
    assert uart.line.level
    assert uart.cause() == THRE
    uart.put(IER, 0)
    uart.put(IER, 2)
    assert uart.cause() == THRE


def test_iir_reports_the_highest_priority_and_clears_thre_only_when_it_reports_it(uart):
    uart.put(IER, 0xF)
    uart.receive(b"a")
    uart.put(MCR, 0x10)  # loopback: the modem lines drop
    assert uart.cause() == RECEIVED
    uart.get(RBR)
    assert uart.cause() == THRE
    assert uart.cause() == MODEM
    uart.get(MSR)
    assert uart.cause() == NONE


def test_line_status_interrupt_of_a_break(uart):
    uart.put(IER, 4)
    uart.put(FCR, 1)
    uart.receive(b"x")
    uart.receive_break()
    assert uart.cause() == NONE
    assert uart.get(LSR) & (READY | BREAK | FIFO_ERROR) == READY | FIFO_ERROR
    assert uart.get(RBR) == ord("x")
    assert uart.cause() == LINE
    assert uart.get(LSR) & (READY | BREAK) == READY | BREAK
    assert uart.cause() == NONE
    assert not uart.get(LSR) & (BREAK | FIFO_ERROR)
    assert uart.get(RBR) == 0


def test_loopback_returns_output_and_holds_input_back(uart):
    uart.put(FCR, 1)
    uart.put(MCR, 0x10)
    uart.receive(b"outside")
    uart.put(RBR, 0x42)
    assert uart.get(RBR) == 0x42
    assert not uart.get(LSR) & READY
    assert uart.out.data == b""
    uart.put(MCR, 0)
    assert bytes(uart.get(RBR) for _ in range(7)) == b"outside"


def test_loopback_overruns_a_full_fifo(uart):
    uart.put(FCR, 1)
    uart.put(MCR, 0x10)
    for byte in range(FIFO_SIZE + 3):
        uart.put(RBR, byte)
    assert uart.get(LSR) & OVERRUN
    assert not uart.get(LSR) & OVERRUN
    assert [uart.get(RBR) for _ in range(FIFO_SIZE)] == list(range(FIFO_SIZE))


@pytest.mark.parametrize(("mcr", "lines"), [(1, 0x20), (2, 0x10), (4, 0x40), (8, 0x80), (15, 0xF0)])
def test_loopback_turns_outputs_into_modem_lines(uart, mcr, lines):
    uart.put(MCR, 0x10 | mcr)
    assert uart.get(MSR) & 0xF0 == lines
    assert uart.get(MSR) & 0x0F == 0


def test_trailing_edge_of_ring_is_noted_once(uart):
    uart.put(MCR, 0x14)
    uart.get(MSR)
    uart.put(MCR, 0x10)
    assert uart.get(MSR) == 0x04
    assert uart.get(MSR) == 0


def test_divisor_latch_hides_data_and_ier(uart):
    uart.receive(b"a")
    uart.put(LCR, 0x83)
    uart.put(0, 0x34)
    uart.put(1, 0x12)
    assert (uart.get(0), uart.get(1)) == (0x34, 0x12)
    uart.put(LCR, 0x03)
    assert (uart.get(IER), uart.get(RBR)) == (0, 0x61)
    assert uart.out.data == b""


def test_clearing_the_fifo_drops_it_but_not_the_backlog(uart):
    uart.put(FCR, 1)
    uart.receive(bytes(range(32)))
    uart.put(FCR, 3)
    assert uart.get(RBR) == FIFO_SIZE


def test_switching_the_fifo_off_or_on_clears_it(uart):
    uart.put(FCR, 1)
    uart.receive(bytes(range(32)))
    uart.put(FCR, 0)
    assert uart.get(RBR) == FIFO_SIZE
    uart.put(FCR, 1)
    assert uart.get(RBR) == FIFO_SIZE + 2


def test_scratch_and_masks(uart):
    for register, value in ((SCR, 0xA5), (LCR, 0x7F)):
        uart.put(register, value)
        assert uart.get(register) == value
    uart.put(IER, 0xFF)
    uart.put(MCR, 0xFF)
    assert (uart.get(IER), uart.get(MCR)) == (0x0F, 0x1F)


def test_registers_past_the_eighth_read_zero(uart):
    for offset in range(8, uart.size):
        uart.put(offset, 0xFF)
        assert uart.get(offset) == 0
    assert uart.out.data == b""


def test_reset_keeps_what_is_on_the_wire(uart):
    uart.put(IER, 0xF)
    uart.put(FCR, 1)
    uart.receive(bytes(range(20)))
    uart.reset()
    assert not uart.line.level
    assert uart.get(RBR) == FIFO_SIZE


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("w"), st.integers(0, 9), st.integers(0, 255)),
        st.tuples(st.just("r"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("i"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("b"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS, OPERATIONS)
def test_a_restored_uart_behaves_as_the_saved_one(before, after):
    def perform(uart, operations):
        seen = []
        for kind, at, value in operations:
            if kind == "w":
                uart.put(at, value)
            elif kind == "r":
                seen.append(uart.get(at))
            elif kind == "i":
                seen.append(uart.receive(bytes(at)))
            else:
                uart.receive_break()
            assert len(uart._fifo) <= FIFO_SIZE
            seen.append(uart.line.level)
        return seen

    saved, restored = Port(), Port()
    perform(saved, before)
    restored.load(saved.save())
    assert restored.line.level == saved.line.level
    assert perform(restored, after) == perform(saved, after)
    assert restored.save() == saved.save()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fifo", [0] * 17),
        ("fifo", [256]),
        ("fifo", [-1]),
        ("fifo", ["a"]),
        ("fifo", None),
        ("fifo", [1, 2]),
        ("fcr", 129 | 4),
        ("fcr", 128),
        ("ier", 16),
        ("line_errors", 1),
        ("backlog", bytes(BACKLOG + 1)),
        ("backlog", "text"),
        ("divisor", 1 << 16),
        ("lcr", 256),
        ("transmit_pending", 1),
        ("msr_delta", 16),
        ("mcr", 32),
        ("scratch", None),
    ],
)
def test_bad_state_is_refused_and_changes_nothing(uart, key, value):
    uart.receive(b"q")
    before = uart.save()
    with pytest.raises(SnapshotError, match="uart0"):
        uart.load({**before, key: value})
    with pytest.raises(SnapshotError):
        uart.load({**before, "extra": 1})
    assert uart.save() == before
