"""Goldfish RTC: reading and setting the time, and its alarm."""

import pytest

from lamina.base.clock import ManualClock
from lamina.base.errors import SnapshotError
from lamina.devices import rtc
from lamina.devices.rtc import GoldfishRtc
from lamina.testing.devices import RecordingLine

NOW = 1_700_000_000_123_456_789
SECOND = 10_000_000  # ticks


@pytest.fixture
def clock():
    return ManualClock(wall_ns=NOW)


@pytest.fixture
def device(clock):
    return GoldfishRtc(RecordingLine(), clock, SECOND)


def now(device):
    low = device.read(rtc.TIME_LOW, 4)
    return device.read(rtc.TIME_HIGH, 4) << 32 | low


def set_alarm(device, at):
    device.write(rtc.ALARM_HIGH, 4, at >> 32)
    device.write(rtc.ALARM_LOW, 4, at & 0xFFFF_FFFF)


def test_the_time_is_the_wall_clock_and_goes_on(device, clock):
    assert now(device) == NOW
    clock.advance(3 * SECOND)
    assert now(device) == NOW + 3_000_000_000


def test_the_high_half_is_latched_by_the_low_half(device, clock):
    device.read(rtc.TIME_LOW, 4)
    clock.advance(1 << 40)
    assert device.read(rtc.TIME_HIGH, 4) == NOW >> 32


def test_setting_the_time_moves_an_offset_of_the_device(device, clock):
    device.write(rtc.TIME_HIGH, 4, 0)
    device.write(rtc.TIME_LOW, 4, 5)
    assert now(device) == 5
    clock.advance(SECOND)
    assert now(device) == 1_000_000_005
    assert clock.wall_ns() == NOW + 1_000_000_000


def test_the_alarm_rings_when_it_is_due(device, clock):
    device.write(rtc.IRQ_ENABLED, 4, 1)
    set_alarm(device, NOW + 2_000_000_000)
    assert device.read(rtc.ALARM_STATUS, 4) == 1
    clock.advance(2 * SECOND - 1)
    assert not device._irq.level
    clock.advance(10_001)
    assert device._irq.level
    assert device.read(rtc.ALARM_STATUS, 4) == 0
    device.write(rtc.CLEAR_INTERRUPT, 4, 1)
    assert not device._irq.level


def test_an_alarm_in_the_past_rings_at_once_and_a_cleared_one_never(device, clock):
    set_alarm(device, NOW - 1)
    assert not device._irq.level
    device.write(rtc.IRQ_ENABLED, 4, 1)
    assert device._irq.level
    device.write(rtc.CLEAR_INTERRUPT, 4, 0)
    set_alarm(device, NOW + SECOND)
    device.write(rtc.CLEAR_ALARM, 4, 1)
    clock.advance(100 * SECOND)
    assert not device._irq.level


def test_alarms_are_signed_as_in_qemu_so_that_all_ones_is_the_past(device):
    set_alarm(device, 2**64 - 1)
    assert device.read(rtc.ALARM_STATUS, 4) == 0
    device.write(rtc.IRQ_ENABLED, 4, 1)
    assert device._irq.level


@pytest.mark.parametrize("alarm", [0, 2**63, 2**64 - 1, NOW + 2**63 - 1])
def test_extreme_alarms_do_no_harm(device, clock, alarm):
    set_alarm(device, alarm)
    clock.advance(1 << 40)
    assert len(clock.armed()) <= 1


def test_a_saved_alarm_rings_in_the_restored_device(device, clock):
    device.write(rtc.IRQ_ENABLED, 4, 1)
    set_alarm(device, NOW + 1_000_000_000)
    other = GoldfishRtc(RecordingLine(), clock, SECOND)
    other.load(device.save())
    clock.advance(SECOND + 10_000)
    assert other._irq.level


@pytest.mark.parametrize(("key", "value"), [("alarm", -1), ("armed", 1), ("time_high", 2**32)])
def test_bad_state_is_refused(device, key, value):
    with pytest.raises(SnapshotError, match=f"rtc: saved {key}"):
        device.load({**device.save(), key: value})
