"""CLINT: software interrupts and timers against a clock that a test moves."""

import pytest

from lamina.base.clock import ManualClock
from lamina.base.errors import SnapshotError
from lamina.devices.aclint import MTIME, MTIMECMP, Aclint
from lamina.testing.devices import RecordingLine

U64 = 2**64 - 1


@pytest.fixture
def clock():
    return ManualClock(ticks=1000)


@pytest.fixture
def clint(clock):
    return Aclint([RecordingLine(), RecordingLine()], [RecordingLine(), RecordingLine()], clock)


def mtip(clint):
    return [line.level for line in clint._timer]


def test_msip_drives_the_hart_it_names(clint):
    clint.write(4, 4, 0xFFFF_FFFF)
    assert [line.level for line in clint._software] == [False, True]
    assert (clint.read(0, 4), clint.read(4, 4), clint.read(0, 8)) == (0, 1, 1 << 32)
    clint.write(0, 8, 1)
    assert [line.level for line in clint._software] == [True, False]


def test_no_timer_interrupt_before_mtimecmp_is_written(clint, clock):
    clock.advance(U64 // 2)
    assert mtip(clint) == [False, False]
    assert clint.read(MTIMECMP, 8) == U64


def test_timer_fires_at_its_tick_and_not_before(clint, clock):
    clint.write(MTIMECMP + 8, 8, 1500)
    clock.advance(499)
    assert mtip(clint) == [False, False]
    clock.advance(1)
    assert mtip(clint) == [False, True]
    clint.write(MTIMECMP + 8, 8, 2000)
    assert mtip(clint) == [False, False]


def test_timer_in_the_past_fires_at_once(clint):
    clint.write(MTIMECMP, 8, 0)
    assert mtip(clint) == [True, False]


def test_mtimecmp_by_halves(clint, clock):
    clint.write(MTIMECMP + 4, 4, 0)
    clint.write(MTIMECMP, 4, 1200)
    assert clint.read(MTIMECMP, 8) == 1200
    assert clint.read(MTIMECMP + 4, 4) == 0
    clock.advance(200)
    assert mtip(clint) == [True, False]


def test_mtime_reads_the_clock_whole_and_by_halves(clint, clock):
    clock.set_ticks(0x1_0000_0005)
    assert clint.read(MTIME, 8) == 0x1_0000_0005
    assert (clint.read(MTIME, 4), clint.read(MTIME + 4, 4)) == (5, 1)


def test_mtime_written_forwards_fires_and_backwards_withdraws(clint, clock):
    clint.write(MTIMECMP, 8, 5000)
    clint.write(MTIME, 8, 6000)
    assert mtip(clint) == [True, False]
    clint.write(MTIME, 8, 10)
    assert mtip(clint) == [False, False]
    clock.advance(4990)
    assert mtip(clint) == [True, False]
    clint.write(MTIME + 4, 4, 7)
    assert clock.ticks() == 7 << 32 | 5000


def test_the_clock_at_its_end_does_not_disturb(clint, clock):
    clint.write(MTIME, 8, U64)
    clint.write(MTIMECMP, 8, U64 - 1)
    assert mtip(clint) == [True, True]
    clock.advance(10)
    assert clint.read(MTIME, 8) == U64


def test_harts_that_do_not_exist_read_zero(clint):
    for offset in (8, MTIMECMP + 16, MTIMECMP - 4, MTIME - 8, 0xC000):
        clint.write(offset, 4, 1)
        assert clint.read(offset, 4) == 0
    assert clint.save() == {"msip": [0, 0], "mtimecmp": [U64, U64]}


def test_reset_withdraws_everything(clint, clock):
    clint.write(0, 4, 1)
    clint.write(MTIMECMP, 8, 0)
    clint.write(MTIMECMP + 8, 8, 9999)
    clint.reset()
    assert mtip(clint) == [False, False]
    assert not clint._software[0].level
    assert clock.armed() == {}


def test_loaded_timers_run_on(clint, clock):
    clint.write(4, 4, 1)
    clint.write(MTIMECMP, 8, 1500)
    other = Aclint([RecordingLine(), RecordingLine()], [RecordingLine(), RecordingLine()], clock)
    other.load(clint.save())
    assert other._software[1].level
    clock.advance(500)
    assert mtip(other) == [True, False]


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"msip": [0, 0]},
        {"msip": [0, 2], "mtimecmp": [0, 0]},
        {"msip": [0], "mtimecmp": [0]},
        {"msip": [0, 0], "mtimecmp": [0, 2**64]},
        {"msip": [0, 0], "mtimecmp": [0, -1]},
        {"msip": [0, True], "mtimecmp": [0, 0]},
    ],
)
def test_bad_state_is_refused_and_changes_nothing(clint, state):
    clint.write(MTIMECMP, 8, 1500)
    before = clint.save()
    with pytest.raises(SnapshotError):
        clint.load(state)
    assert clint.save() == before
