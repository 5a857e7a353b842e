"""CPU time and memory of a running process with all its threads and descendants, from outside.

Specification: proc_pid_stat(5), proc_pid_smaps(5), proc_pid_task(5), clock_getcpuclockid(3). Called
by `guest.py` and `process.py`. A compiler in a thread or in a child process of an emulator is
counted like the emulator itself.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

SCHEDULER_CLOCK = 2  # of the three CPU clocks of a process the one in nanoseconds
CHILDREN_USER, CHILDREN_SYSTEM = 13, 14  # fields of /proc/PID/stat after the command's name

WINDOW = 0.03
QUIET = 0.25  # of a CPU: below this nothing is being worked on any more


def cpu_seconds(pid: int) -> float:
    """Of a process, those children that it has waited for, and its living descendants."""
    try:
        own = time.clock_gettime(~pid << 3 | SCHEDULER_CLOCK)
        stat = Path(f"/proc/{pid}/stat").read_text()
        living = children(pid)
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    waited_for = int(fields[CHILDREN_USER]) + int(fields[CHILDREN_SYSTEM])
    ticks = os.sysconf("SC_CLK_TCK")
    return own + waited_for / ticks + sum(cpu_seconds(child) for child in living)


def children(pid: int) -> list[int]:
    """The living children of all threads of a process."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def resident_bytes(pid: int) -> int:
    """The memory of a process and its living descendants; a page that several share counts once
    among those that share it (PSS)."""
    total = sum(resident_bytes(child) for child in _living(pid))
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return total
    return total + 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _living(pid: int) -> list[int]:
    try:
        return children(pid)
    except OSError:
        return []


def runnable(pid: int) -> bool:
    """True if a thread of a process or of its descendants runs or waits for a CPU."""
    try:
        states = [
            path.read_text().rpartition(")")[2].split()[0]
            for path in Path(f"/proc/{pid}/task").glob("*/stat")
        ]
        return "R" in states or any(runnable(child) for child in children(pid))
    except OSError:
        return False


def settled(
    read: Callable[[], float],
    busy: Callable[[], bool],
    patience: float = 20.0,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """The CPU time when the process has come to rest, or after `patience` seconds. On a busy host
    little CPU time alone is no rest: `busy` tells whether more is asked for."""
    last, left = read(), patience
    while left > 0:
        sleep(WINDOW)
        left -= WINDOW
        now = read()
        if now - last < QUIET * WINDOW and not busy():
            return now
        last = now
    return last
