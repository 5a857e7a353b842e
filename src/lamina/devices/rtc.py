"""The goldfish real-time clock: nanoseconds since 1970, and one alarm (QEMU, Android emulator).

    0x00 TIME_LOW (reading it latches TIME_HIGH; writing it sets the time)   0x04 TIME_HIGH
    0x08 ALARM_LOW (writing it arms the alarm)   0x0c ALARM_HIGH
    0x10 IRQ_ENABLED   0x14 CLEAR_ALARM   0x18 ALARM_STATUS   0x1c CLEAR_INTERRUPT

A guest that sets the time changes an offset of its own, never the host's clock.
"""

from typing import Any

from lamina.base.bits import U32, U64, field, signed
from lamina.base.clock import NS_PER_SECOND, Clock
from lamina.bus.irq import IrqLine
from lamina.devices.device import Device, TreeNode
from lamina.devices.state import StateReader

TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH = 0x00, 0x04, 0x08, 0x0C
IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT = 0x10, 0x14, 0x18, 0x1C
MINIMUM_WAIT_NS = 1_000_000  # between looks at a wall clock that lags behind the timebase


class GoldfishRtc(Device):
    """The RTC of QEMU's virt board."""

    name = "rtc"
    size = 0x1000
    access_sizes = frozenset({4})

    def __init__(self, irq: IrqLine, clock: Clock, timebase: int) -> None:
        """`timebase` is the frequency of `clock.ticks()` in Hz."""
        self._irq = irq
        self._clock = clock
        self._timebase = timebase
        self._offset = 0
        self._clear()

    def _clear(self) -> None:
        self._time_high = 0
        self._write_high = 0
        self._alarm = 0
        self._alarm_high = 0
        self._armed = False
        self._pending = False
        self._enabled = False

    def _now(self) -> int:
        return (self._clock.wall_ns() + self._offset) & U64

    def read(self, offset: int, size: int) -> int:
        match offset:
            case 0x00:
                now = self._now()
                self._time_high = field(now, 63, 32)
                return field(now, 31, 0)
            case 0x04:
                return self._time_high
            case 0x08:
                return field(self._alarm, 31, 0)
            case 0x0C:
                return field(self._alarm, 63, 32)
            case 0x10:
                return int(self._enabled)
            case 0x18:
                return int(self._armed)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        value &= U32
        if offset == TIME_LOW:
            self._offset = ((self._write_high << 32 | value) - self._clock.wall_ns()) & U64
        elif offset == TIME_HIGH:
            self._write_high = value
        elif offset == ALARM_LOW:
            self._alarm = self._alarm_high << 32 | value
            self._armed = True
        elif offset == ALARM_HIGH:
            self._alarm_high = value
        elif offset == IRQ_ENABLED:
            self._enabled = bool(value & 1)
        elif offset == CLEAR_ALARM:
            self._armed = False
        elif offset == CLEAR_INTERRUPT:
            self._pending = False
        self._update()

    def _update(self) -> None:
        """Ring a due alarm or wait for a coming one; drive the line."""
        self._clock.disarm(self.name)
        if self._armed:
            wait = signed(self._alarm - self._now(), 64)
            if wait <= 0:
                self._armed = False
                self._pending = True
            else:
                ticks = max(wait, MINIMUM_WAIT_NS) * self._timebase // NS_PER_SECOND
                self._clock.arm(self.name, min(self._clock.ticks() + ticks, U64), self._update)
        self._irq.set(self._pending and self._enabled)

    def reset(self) -> None:
        """The time goes on, as on a clock with a battery."""
        self._clear()
        self._update()

    def save(self) -> dict[str, Any]:
        return {
            "offset": self._offset,
            "time_high": self._time_high,
            "write_high": self._write_high,
            "alarm": self._alarm,
            "alarm_high": self._alarm_high,
            "armed": self._armed,
            "pending": self._pending,
            "enabled": self._enabled,
        }

    def load(self, state: dict[str, Any]) -> None:
        reader = StateReader(self.name, state, *self.save())
        offset, alarm = reader.integer("offset"), reader.integer("alarm")
        time_high = reader.integer("time_high", U32)
        write_high, alarm_high = (
            reader.integer("write_high", U32),
            reader.integer("alarm_high", U32),
        )
        armed, pending = reader.boolean("armed"), reader.boolean("pending")
        self._enabled = reader.boolean("enabled")
        self._offset, self._alarm, self._time_high = offset, alarm, time_high
        self._write_high, self._alarm_high = write_high, alarm_high
        self._armed, self._pending = armed, pending
        self._update()

    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        node = tree.node(f"rtc@{base:x}")
        node.text("compatible", "google,goldfish-rtc")
        node.reg(base, self.size)
        return node
