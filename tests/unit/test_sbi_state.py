"""SBI: steal time (STA), and saved state that may come from anywhere."""

import struct

import pytest
from sbi_bench import ALL, RAM, RAM_END, Bench

from lamina.base.errors import SnapshotError

STA, HSM = 0x535441, 0x48534D
INVALID_PARAM, INVALID_ADDRESS = -3, -5
AREA = RAM + 0x1000


@pytest.fixture
def bench():
    return Bench()


def area(bench, gpa=AREA):
    """(sequence, flags, steal, preempted), and that the rest is zero."""
    *fields, pad = struct.unpack("<IIQB47s", bench.host.read(gpa, 64))
    assert pad == bytes(47)
    return tuple(fields)


def test_the_area_is_cleared_and_time_counts_from_then_on(bench):
    bench.host.write(AREA, b"\xff" * 64)
    bench.host.steal = 1000
    assert bench.call(STA, 0, AREA, 0, 0) == (0, 0)
    assert area(bench) == (0, 0, 0, 0)
    bench.host.steal = 1000 + (5 << 40)
    bench.sbi.update_steal(0, preempted=True)
    assert area(bench) == (2, 0, 5 << 40, 1)
    bench.sbi.update_steal(0)
    assert area(bench) == (4, 0, 5 << 40, 0)


def test_the_sequence_is_odd_exactly_while_an_update_is_under_way(bench):
    bench.call(STA, 0, AREA, 0, 0)
    write, seen = bench.host.write, []

    def watched(gpa, data):
        write(gpa, data)
        seen.append(area(bench)[0])

    bench.host.write = watched
    bench.host.steal = 9
    bench.sbi.update_steal(0)
    assert seen == [1, 1, 1, 2]


def test_what_the_guest_writes_there_does_not_count(bench):
    bench.call(STA, 0, AREA, 0, 0)
    bench.host.write(AREA, struct.pack("<IIQB", 0xFFFF_FFFF, 7, ALL, 3))
    bench.host.steal = 4
    bench.sbi.update_steal(0)
    assert area(bench) == (2, 0, 4, 0)


def test_each_hart_has_its_own_area(bench):
    bench.start(1)
    bench.call(STA, 0, AREA, 0, 0, hart=0)
    bench.call(STA, 0, AREA + 64, 0, 0, hart=1)
    bench.host.steal = 3
    bench.sbi.update_steal(1)
    assert area(bench) == (0, 0, 0, 0) and area(bench, AREA + 64) == (2, 0, 3, 0)


@pytest.mark.parametrize(
    ("low", "high", "flags", "error"),
    [
        (AREA, 0, 1, INVALID_PARAM),
        (ALL, ALL, 1, INVALID_PARAM),
        (AREA + 32, 0, 0, INVALID_PARAM),
        (ALL, 0, 0, INVALID_PARAM),
        (AREA, 1, 0, INVALID_ADDRESS),
        (AREA, ALL, 0, INVALID_ADDRESS),
        (RAM_END, 0, 0, INVALID_ADDRESS),
        (ALL - 63, 0, 0, INVALID_ADDRESS),
    ],
)
def test_bad_areas_are_refused_and_the_old_one_stays(bench, low, high, flags, error):
    bench.call(STA, 0, AREA, 0, 0)
    before = bench.sbi.save()
    assert bench.call(STA, 0, low, high, flags) == (error, 0)
    assert bench.sbi.save() == before


def stop_by_disabling(bench):
    assert bench.call(STA, 0, ALL, ALL, 0, hart=1) == (0, 0)


def stop_by_restarting(bench):
    bench.request(1, HSM, 1)
    bench.start(1)


def stop_by_reset(bench):
    bench.sbi.reset()


@pytest.mark.parametrize("stop", [stop_by_disabling, stop_by_restarting, stop_by_reset])
def test_an_area_given_up_is_not_written(bench, stop):
    bench.start(1)
    bench.call(STA, 0, AREA, 0, 0, hart=1)
    stop(bench)
    bench.host.steal = 1
    bench.sbi.update_steal(1)
    assert area(bench) == (0, 0, 0, 0)


def restored(bench):
    """Another machine that takes over this one's memory and SBI."""
    other = Bench()
    other.host.ram[:] = bench.host.ram
    other.sbi.load(bench.sbi.save())
    return other


def test_restored_harts_are_as_they_were(bench):
    bench.start(1)
    bench.start(2)
    bench.request(1, HSM, 3, 0)
    other = restored(bench)
    assert [other.sbi.runnable(hart) for hart in range(4)] == [True, False, True, False]
    assert other.sbi.wake(1) and not other.sbi.wake(3)


def test_a_restored_account_goes_on_where_it_was_though_the_host_counts_anew(bench):
    bench.host.steal = 100
    bench.call(STA, 0, AREA, 0, 0)
    bench.host.steal = 150
    bench.sbi.update_steal(0)
    other = restored(bench)
    other.host.steal = 7
    other.sbi.update_steal(0)
    assert area(other) == (4, 0, 57, 0)


GOOD = {"gpa": AREA, "sequence": 2, "steal": 0}


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"harts": [0, 1, 1, 1]},
        {"harts": [0, 1, 1], "steal": [None] * 4},
        {"harts": [0, 1, 1, 2], "steal": [None] * 4},
        {"harts": [0, 1, 1, 3], "steal": [None] * 4},
        {"harts": [0, 1, 1, -1], "steal": [None] * 4},
        {"harts": [0, 1, 1, True], "steal": [None] * 4},
        {"harts": "0111", "steal": [None] * 4},
        {"harts": [0, 1, 1, 1], "steal": [None] * 5},
        {"harts": [0, 1, 1, 1], "steal": [7, None, None, None]},
        {"harts": [0, 1, 1, 1], "steal": [{**GOOD, "gpa": AREA + 8}, None, None, None]},
        {"harts": [0, 1, 1, 1], "steal": [{**GOOD, "gpa": RAM_END}, None, None, None]},
        {"harts": [0, 1, 1, 1], "steal": [{**GOOD, "gpa": -64}, None, None, None]},
        {"harts": [0, 1, 1, 1], "steal": [{**GOOD, "sequence": 3}, None, None, None]},
        {"harts": [0, 1, 1, 1], "steal": [{**GOOD, "sequence": 1 << 32}, None, None, None]},
        {"harts": [0, 1, 1, 1], "steal": [{**GOOD, "steal": 1 << 64}, None, None, None]},
    ],
)
def test_saved_state_that_does_not_hold_together_is_refused_and_changes_nothing(bench, state):
    bench.start(1)
    bench.call(STA, 0, AREA, 0, 0)
    before = bench.sbi.save()
    with pytest.raises(SnapshotError):
        bench.sbi.load(state)
    assert bench.sbi.save() == before
