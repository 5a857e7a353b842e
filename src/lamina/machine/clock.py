"""The two clocks of a machine: real time, and time derived from retired instructions.

Devices see them as `base.clock.Clock`. Compiled code reads the time by itself, from the offset
that `on_offset` announces. Guest time stands still while the machine does not run.
"""

import heapq
import threading
import time
from collections.abc import Callable, Hashable
from itertools import count

from lamina.base.bits import U64
from lamina.base.clock import DEFAULT_TIMEBASE, NS_PER_SECOND, Clock

NS_PER_TICK = NS_PER_SECOND // DEFAULT_TIMEBASE
INSTRUCTIONS_PER_TICK = 50  # deterministic time: the guest sees a CPU of 500 MIPS
DETERMINISTIC_EPOCH = 1_750_000_000 * NS_PER_SECOND  # what the RTC says at its start

Callback = Callable[[], None]


class _Timers:
    """Timers by key, earliest first. Not locked: the clocks do that."""

    def __init__(self) -> None:
        self._armed: dict[Hashable, tuple[int, int, Callback]] = {}
        self._heap: list[tuple[int, int, Hashable]] = []
        self._serial = count()

    def arm(self, key: Hashable, deadline: int, callback: Callback) -> None:
        serial = next(self._serial)
        self._armed[key] = (deadline, serial, callback)
        heapq.heappush(self._heap, (deadline, serial, key))
        if len(self._heap) > 2 * len(self._armed) + 64:  # what was armed anew is not kept for ever
            self._heap = [(d, s, k) for k, (d, s, _) in self._armed.items()]
            heapq.heapify(self._heap)

    def disarm(self, key: Hashable) -> None:
        self._armed.pop(key, None)

    def next_deadline(self) -> int | None:
        while self._heap:
            deadline, serial, key = self._heap[0]
            if self._armed.get(key, (0, -1))[1] == serial:
                return deadline
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: int) -> Callback | None:
        """Take the earliest timer that is due."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        key = heapq.heappop(self._heap)[2]
        return self._armed.pop(key)[2]


class RealClock(Clock):
    """Ticks follow the host's monotonic clock while the machine runs; a thread fires the timers,
    holding `lock` (the address space's) around each."""

    def __init__(self, lock: threading.RLock, on_offset: Callable[[int], None]) -> None:
        self._lock = lock
        self._on_offset = on_offset
        self._changed = threading.Condition(threading.Lock())  # guards _timers and _closed
        self._timers = _Timers()
        self._offset = 0
        self._stopped_at: int | None = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def ticks(self) -> int:
        if self._stopped_at is not None:
            return self._stopped_at
        return (time.monotonic_ns() // NS_PER_TICK + self._offset) & U64

    def set_ticks(self, value: int) -> None:
        if self._stopped_at is not None:
            self._stopped_at = value & U64
        else:
            self._offset = value - time.monotonic_ns() // NS_PER_TICK
            self._on_offset(self._offset)
        self._wake()

    def wall_ns(self) -> int:
        return time.time_ns()

    def go(self) -> None:
        """Guest time goes on from where it stood."""
        if self._stopped_at is not None:
            stood, self._stopped_at = self._stopped_at, None
            self._offset = stood - time.monotonic_ns() // NS_PER_TICK
            self._on_offset(self._offset)
            self._wake()

    def halt(self) -> None:
        """Guest time stands still."""
        if self._stopped_at is None:
            self._stopped_at = self.ticks()

    def arm(self, key: Hashable, deadline_ticks: int, callback: Callback) -> None:
        with self._changed:
            before = self._timers.next_deadline()
            self._timers.arm(key, deadline_ticks, callback)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._fire, name="lamina-timer", daemon=True)
                self._thread.start()
            elif before is None or deadline_ticks < before:
                self._changed.notify()

    def disarm(self, key: Hashable) -> None:
        with self._changed:
            self._timers.disarm(key)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _fire(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                callback = None
                if self._stopped_at is None:
                    callback = self._timers.pop_due(self.ticks())
                if callback is None:
                    self._changed.wait(self._patience())
                    continue
            with self._lock:
                callback()

    def _patience(self) -> float | None:
        """Seconds until the next deadline; None to wait for a change."""
        deadline = self._timers.next_deadline()
        if deadline is None or self._stopped_at is not None:
            return None
        left = (deadline - self.ticks()) * NS_PER_TICK / NS_PER_SECOND
        return min(max(left, 0.0), 3600.0)


class InstructionClock(Clock):
    """Ticks are retired instructions / INSTRUCTIONS_PER_TICK, plus what the guest slept through.

    The one vCPU's thread does all the work: it asks `budget` how far it may run and calls `fire`
    when it has come there.
    """

    def __init__(self, icount: Callable[[], int], on_offset: Callable[[int], None]) -> None:
        self._icount = icount
        self._on_offset = on_offset
        self._timers = _Timers()
        self._offset = 0
        self.on_earlier: Callback = lambda: None  # a timer was armed that the run must not miss

    def ticks(self) -> int:
        return (self._icount() // INSTRUCTIONS_PER_TICK + self._offset) & U64

    def set_ticks(self, value: int) -> None:
        self._offset = value - self._icount() // INSTRUCTIONS_PER_TICK
        self._on_offset(self._offset)

    def wall_ns(self) -> int:
        return DETERMINISTIC_EPOCH + self.ticks() * NS_PER_TICK

    def go(self) -> None:
        self._on_offset(self._offset)

    def halt(self) -> None:
        pass

    def close(self) -> None:
        pass

    def arm(self, key: Hashable, deadline_ticks: int, callback: Callback) -> None:
        self._timers.arm(key, deadline_ticks, callback)
        self.on_earlier()

    def disarm(self, key: Hashable) -> None:
        self._timers.disarm(key)

    def budget(self) -> int | None:
        """Instructions until the next timer is due (at least 0); None without a timer."""
        deadline = self._timers.next_deadline()
        if deadline is None:
            return None
        due = (deadline - self._offset) * INSTRUCTIONS_PER_TICK
        return max(due - self._icount(), 0)

    def fire(self) -> None:
        """Call what is due."""
        while (callback := self._timers.pop_due(self.ticks())) is not None:
            callback()

    def sleep(self) -> bool:
        """Move time to the next deadline; False if nothing would ever end the sleep."""
        deadline = self._timers.next_deadline()
        if deadline is None or deadline >= U64:
            return False
        if deadline > self.ticks():
            self.set_ticks(deadline)
        self.fire()
        return True
