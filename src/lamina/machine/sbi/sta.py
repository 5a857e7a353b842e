"""SBI extension STA: tells the guest how much time its harts were kept waiting.

Specification 2.0, chapter 16. Each hart may name 64 bytes of its memory; they then hold, little-
endian: sequence u32, flags u32, steal u64 (ns), preempted u8, 47 bytes of zero. While an update is
under way the sequence is odd. It counts here, and what the guest makes of the bytes is not read.

An entry is written only on its hart's own thread, or while that hart is stopped.
"""

from dataclasses import dataclass
from typing import Any

from lamina.base.bits import U32, U64
from lamina.base.errors import BusError
from lamina.devices.state import StateReader
from lamina.machine.sbi.abi import (
    ALL_ONES,
    INVALID_ADDRESS,
    INVALID_PARAM,
    NOT_SUPPORTED,
    SUCCESS,
    Call,
    Result,
)
from lamina.machine.sbi.host import SbiHost

SIZE = 64  # of the area, and its alignment
SEQUENCE, FLAGS, PREEMPTED = 0, 4, 16  # offsets; flags and steal are written in one piece


@dataclass
class Area:
    """What one hart named, and how far its account has got."""

    gpa: int
    last: int  # steal_ns when it was last looked at
    sequence: int = 0
    steal: int = 0


class StealTime:
    """STA."""

    eid = 0x53_5441

    def __init__(self, host: SbiHost) -> None:
        self._host = host
        self._areas: list[Area | None] = [None] * host.harts

    def call(self, call: Call) -> Result | None:
        low, high, flags = call.args[:3]
        if call.function != 0:  # steal_time_set_shmem
            return NOT_SUPPORTED
        if flags != 0:
            return INVALID_PARAM
        if low == high == ALL_ONES:
            self.forget(call.hart)
            return SUCCESS
        if low % SIZE:
            return INVALID_PARAM
        if high != 0:
            return INVALID_ADDRESS
        try:
            self._host.write(low, bytes(SIZE))
        except BusError:
            return INVALID_ADDRESS
        self._areas[call.hart] = Area(low, self._host.steal_ns(call.hart))
        return SUCCESS

    def forget(self, hart: int) -> None:
        """Write no more for a hart: it asked for that, or starts afresh."""
        self._areas[hart] = None

    def wanted(self, hart: int) -> bool:
        """Whether a hart has named an area."""
        return self._areas[hart] is not None

    def update(self, hart: int, preempted: bool) -> None:
        """Write a hart's account to where it wants it, if anywhere."""
        area = self._areas[hart]
        if area is None:
            return
        now = self._host.steal_ns(hart)
        area.steal = area.steal + max(now - area.last, 0) & U64
        area.last = now
        try:
            self._put(area.gpa + SEQUENCE, area.sequence + 1 & U32, 4)
            self._put(area.gpa + FLAGS, area.steal << 32, 12)
            self._put(area.gpa + PREEMPTED, int(preempted), 1)
            area.sequence = area.sequence + 2 & U32
            self._put(area.gpa + SEQUENCE, area.sequence, 4)
        except BusError:  # it was RAM once; if no more, there is no one to tell
            self.forget(hart)

    def _put(self, gpa: int, value: int, size: int) -> None:
        self._host.write(gpa, value.to_bytes(size, "little"))

    def reset(self) -> None:
        self._areas = [None] * self._host.harts

    def save(self) -> list[dict[str, int] | None]:
        """By hart: none, or the area; the account goes on from there on any host."""
        return [
            None if a is None else {"gpa": a.gpa, "sequence": a.sequence, "steal": a.steal}
            for a in self._areas
        ]

    def parse(self, state: list[Any]) -> list[Area | None]:
        """Saved areas, checked; SnapshotError. `set_all` then takes them over."""
        return [None if one is None else self._area(n, one) for n, one in enumerate(state)]

    def _area(self, hart: int, state: Any) -> Area:
        reader = StateReader(f"sbi steal time of hart {hart}", state, "gpa", "sequence", "steal")
        gpa = reader.integer("gpa")
        try:
            self._host.read(gpa, SIZE)
        except BusError:
            raise reader.refuse("gpa", "in RAM") from None
        sequence = reader.integer("sequence", U32)
        if gpa % SIZE or sequence % 2:
            raise reader.refuse("gpa or sequence", f"a multiple of {SIZE} and an even number")
        return Area(gpa, self._host.steal_ns(hart), sequence, reader.integer("steal"))

    def set_all(self, areas: list[Area | None]) -> None:
        """Take over areas from `parse`. No hart may be running."""
        self._areas = areas
