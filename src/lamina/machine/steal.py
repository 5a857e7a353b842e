"""Steal time: how long a vCPU's host thread was ready to run while the host ran something else.

Linux keeps the account of each thread: the second number of /proc/thread-self/schedstat ("run
delay", ns; Documentation/scheduler/sched-stats). The Machine's firmware has a meter for each hart,
tells the guest through the SBI extension STA, and samples on the hart's own thread only. On a host
without such an account nothing is ever stolen.
"""

import threading
import time
from collections.abc import Callable

SAMPLE_NS = 10_000_000  # a sample is a system call or three; more often tells a guest no more
SCHEDSTAT = "/proc/thread-self/schedstat"


def read_run_delay() -> int | None:
    """The calling thread's run delay in ns; None where the host does not tell."""
    try:
        with open(SCHEDSTAT, "rb") as file:
            return int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None


class StealMeter:
    """Adds up the run delay of one hart over all the threads that run it, one after another."""

    def __init__(
        self,
        read: Callable[[], int | None] = read_run_delay,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._read = read
        self._now = now
        self._next = 0
        self._thread = 0
        self._seen = 0  # of this thread's delay
        self.ns = 0

    def sample(self) -> bool:
        """Look again, on the hart's thread; False if the last look was less than 10 ms ago."""
        now = self._now()
        if now < self._next:
            return False
        self._next = now + SAMPLE_NS
        delay = self._read()
        if delay is None:
            return False
        thread = threading.get_native_id()  # Python's own numbers are used again at once
        if thread != self._thread or delay < self._seen:
            self._thread, self._seen = thread, 0
        self.ns += delay - self._seen
        self._seen = delay
        return True
