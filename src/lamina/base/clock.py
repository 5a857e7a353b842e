"""Guest time: the timebase counter, timers on it, and the wall clock behind the RTC.

Devices and vCPUs get a Clock as a constructor argument and never look at the host's time. The
Machine supplies the real and the deterministic one; ManualClock is for tests, which move it by
hand.

Contract of the timers: one timer a key, re-arming replaces it, and it fires at most once for each
`arm`. It fires when `ticks() >= deadline`, also when `set_ticks` moved the counter there. Whoever
runs a callback holds the address space's lock, as for an MMIO access. A callback checks by itself
whether it is still due, so that a late or spurious one does no harm.
"""

from collections.abc import Callable, Hashable
from typing import Protocol

from lamina.base.bits import U64

NS_PER_SECOND = 1_000_000_000
DEFAULT_TIMEBASE = 10_000_000  # Hz, what QEMU's virt board has


class Clock(Protocol):
    """What a device may know about time."""

    def ticks(self) -> int:
        """The timebase counter (RISC-V `mtime`), 64 bits."""

    def set_ticks(self, value: int) -> None:
        """The guest wrote the counter; deadlines already armed keep their tick values."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 as the guest's RTC should see them."""

    def arm(self, key: Hashable, deadline_ticks: int, callback: Callable[[], None]) -> None:
        """Call `callback` once `ticks()` has reached the deadline; replaces the key's timer."""

    def disarm(self, key: Hashable) -> None:
        """Forget the key's timer, if there is one."""


class ManualClock(Clock):
    """A clock that stands still until a test advances it; timers fire in order of deadline."""

    def __init__(self, ticks: int = 0, wall_ns: int = 0, timebase: int = DEFAULT_TIMEBASE) -> None:
        self._ticks = ticks & U64
        self._wall_ns = wall_ns
        self._timebase = timebase
        self._timers: dict[Hashable, tuple[int, Callable[[], None]]] = {}

    def ticks(self) -> int:
        return self._ticks

    def set_ticks(self, value: int) -> None:
        self._ticks = value & U64
        self._fire_due()

    def wall_ns(self) -> int:
        return self._wall_ns

    def arm(self, key: Hashable, deadline_ticks: int, callback: Callable[[], None]) -> None:
        self._timers[key] = (deadline_ticks, callback)

    def disarm(self, key: Hashable) -> None:
        self._timers.pop(key, None)

    def armed(self) -> dict[Hashable, int]:
        """The deadline of every timer that is waiting, by key."""
        return {key: deadline for key, (deadline, _) in self._timers.items()}

    def advance(self, ticks: int) -> None:
        """Let time pass, stopping at every deadline on the way."""
        end = min(self._ticks + ticks, U64)
        self._fire_due()
        while (due := self._next_deadline()) is not None and due <= end:
            self._step_to(due)
            self._fire_due()
        self._step_to(end)

    def _step_to(self, ticks: int) -> None:
        if ticks > self._ticks:
            self._wall_ns += (ticks - self._ticks) * NS_PER_SECOND // self._timebase
            self._ticks = ticks

    def _next_deadline(self) -> int | None:
        return min((deadline for deadline, _ in self._timers.values()), default=None)

    def _fire_due(self) -> None:
        due = [(deadline, key) for key, (deadline, _) in self._timers.items()]
        for deadline, key in sorted(due, key=lambda item: item[0]):
            if deadline > self._ticks or self._timers.get(key, (-1,))[0] != deadline:
                continue
            _, callback = self._timers.pop(key)
            callback()
