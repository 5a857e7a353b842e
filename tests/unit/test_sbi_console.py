"""SBI: the debug console (DBCN), power (SRST) and the legacy calls."""

import pytest
from sbi_bench import ALL, PAGE_TABLE_OFFSET, RAM, RAM_END, RAM_SIZE, Bench, negative

from lamina.devices.finisher import ShutdownKind, ShutdownRequest
from lamina.isa.riscv.fields import SSIP

DBCN, SRST = 0x4442434E, 0x53525354
WRITE, READ, WRITE_BYTE = range(3)
INVALID_PARAM, INVALID_ADDRESS = -3, -5
CAP = 64 * 1024
NOWHERE = [(1, RAM_END), (2, RAM_END - 1), (1, RAM - 1), (16, 0), (ALL, RAM), (1, ALL), (2, ALL)]
UNTOUCHED = 0x5A5A_0001


@pytest.fixture
def bench():
    return Bench()


def test_console_prints_from_guest_memory(bench):
    bench.host.write(RAM + 3, b"hello\n")
    assert bench.call(DBCN, WRITE, 6, RAM + 3, 0) == (0, 6)
    assert bench.host.printed == b"hello\n"


def test_console_bytes_are_the_low_eight_bits(bench):
    assert bench.call(DBCN, WRITE_BYTE, 0xFFFF_FF41) == (0, 0)
    assert bench.host.printed == b"A"


def test_console_moves_a_chunk_a_call(bench):
    bench.host.typed = b"x" * (CAP + 5)
    assert bench.call(DBCN, WRITE, RAM_SIZE, RAM, 0) == (0, CAP)
    assert bench.call(DBCN, READ, RAM_SIZE, RAM, 0) == (0, CAP)
    assert bench.call(DBCN, READ, RAM_SIZE, RAM, 0) == (0, 5)
    assert len(bench.host.printed) == CAP


def test_console_reads_what_was_typed(bench):
    bench.host.typed = b"abc"
    assert bench.call(DBCN, READ, 2, RAM_END - 2, 0) == (0, 2)
    assert bench.call(DBCN, READ, 2, RAM, 0) == (0, 1)
    assert bench.call(DBCN, READ, 2, RAM, 0) == (0, 0)
    assert bench.host.ram[-2:] == b"ab" and bench.host.ram[:2] == b"c\0"


@pytest.mark.parametrize(("length", "gpa"), NOWHERE)
@pytest.mark.parametrize("function", [WRITE, READ])
def test_console_buffers_outside_of_ram_take_and_give_nothing(bench, function, length, gpa):
    bench.host.typed = b"kept"
    assert bench.call(DBCN, function, length, gpa, 0) == (INVALID_PARAM, 0)
    assert bench.host.typed == b"kept" and bench.host.printed == b""


def test_console_addresses_end_at_64_bits(bench):
    assert bench.call(DBCN, WRITE, 1, RAM, 1) == (INVALID_PARAM, 0)


def test_empty_console_buffers_are_fine_anywhere(bench):
    assert bench.call(DBCN, WRITE, 0, ALL, 0) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "reason", "request_"),
    [
        (0, 0, ShutdownRequest(ShutdownKind.POWEROFF)),
        (0, 1, ShutdownRequest(ShutdownKind.FAIL, 1)),
        (1, 0, ShutdownRequest(ShutdownKind.REBOOT)),
        (2, 0, ShutdownRequest(ShutdownKind.REBOOT)),
        (1, 1, ShutdownRequest(ShutdownKind.REBOOT)),
        (1 << 32, 0, ShutdownRequest(ShutdownKind.POWEROFF)),
    ],
)
def test_reset_reports_and_does_not_return(bench, kind, reason, request_):
    bench.request(0, SRST, 0, kind, reason)
    assert bench.host.log == [("shutdown", request_)]
    assert not bench.sbi.runnable(0)
    assert bench.result(0) == (kind, reason)


@pytest.mark.parametrize(
    ("kind", "reason"), [(3, 0), (0xF000_0000, 0), (0, 2), (0, 0xE000_0000), (0, 0xFFFF_FFFF)]
)
def test_reserved_resets_are_refused(bench, kind, reason):
    assert bench.call(SRST, 0, kind, reason) == (INVALID_PARAM, 0)
    assert bench.host.log == [] and bench.sbi.runnable(0)


def test_a_reset_inside_of_the_shutdown_call_is_not_undone(bench):
    bench.host.shutdown = lambda request: bench.sbi.reset()
    bench.request(0, SRST, 0, 1, 0)
    assert bench.sbi.runnable(0)


# Legacy calls: only a0 changes


def test_legacy_console(bench):
    bench.host.typed = b"\xf0"
    assert bench.call(1, ALL, ord("L")) == (0, UNTOUCHED)
    assert bench.call(2, 0, 9) == (0xF0, UNTOUCHED)
    assert bench.call(2, 0, 9) == (-1, UNTOUCHED)
    assert bench.host.vcpus[0].reg("x", 10) == negative(-1)
    assert bench.host.printed == b"L"


def test_legacy_timer_and_clearing_of_interrupts(bench):
    bench.host.raise_software(0)
    assert bench.call(0, 0, 77) == (0, UNTOUCHED)
    assert bench.call(3, 0) == (0, UNTOUCHED)
    assert bench.host.timers == {0: 77} and bench.host.vcpus[0].get("mip_soft") & SSIP == 0


def test_legacy_shutdown_powers_off(bench):
    bench.request(0, 8, 0)
    assert bench.logged("shutdown") == [(ShutdownRequest(ShutdownKind.POWEROFF),)]
    assert not bench.sbi.runnable(0)


@pytest.mark.parametrize(
    ("eid", "effect"),
    [
        (4, [("raise", 0), ("raise", 2)]),
        (5, [("fence", [0, 2], False, True)]),
        (6, [("fence", [0, 2], True, False)]),
        (7, [("fence", [0, 2], True, False)]),
    ],
)
def test_legacy_masks_are_read_through_translation(bench, eid, effect):
    bench.start(2)
    bench.start(3)
    bench.host.log.clear()
    bench.host.write(RAM + 8, (ALL - 0b1010).to_bytes(8, "little"))
    mask = RAM + 8 + PAGE_TABLE_OFFSET
    assert bench.call(eid, 0, mask, UNTOUCHED) == (0, UNTOUCHED)
    assert bench.host.log == effect


def test_legacy_masks_have_as_many_words_as_it_takes():
    bench = Bench(harts=66)
    bench.start(65)
    bench.host.log.clear()
    bench.host.write(RAM, (1 << 65).to_bytes(16, "little"))
    assert bench.call(4, 0, RAM + PAGE_TABLE_OFFSET) == (0, UNTOUCHED)
    assert bench.host.log == [("raise", 65)]


@pytest.mark.parametrize("eid", [4, 5, 6, 7])
def test_legacy_null_mask_means_all_harts(bench, eid):
    bench.start(1)
    bench.host.log.clear()
    assert bench.call(eid, 0, 0) == (0, UNTOUCHED)
    both = [("raise", 0), ("raise", 1)]
    assert bench.host.log == (both if eid == 4 else [("fence", [0, 1], eid != 5, eid == 5)])


@pytest.mark.parametrize("gva", [8, RAM, RAM + PAGE_TABLE_OFFSET + 4, RAM_END + PAGE_TABLE_OFFSET])
@pytest.mark.parametrize("eid", [4, 5, 6, 7])
def test_legacy_masks_out_of_reach_are_refused(bench, eid, gva):
    assert bench.call(eid, 0, gva) == (INVALID_ADDRESS, UNTOUCHED)
    assert bench.host.log == []
