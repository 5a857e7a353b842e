"""One measured process: started, watched for a text, ended, accounted for.

CPU time is that of all threads and children, so a compiler in the background is charged too: at
the marker of the living ones as well, at a process's own end of those that it waited for (`wait4`).
Memory is taken when the marker is seen, touched guest RAM included: what is resident then, of the
process and its children, and the process's peak. `wait4` would count the parent's memory in, from
before the child's exec. Called by every benchmark; owns nothing beyond a call.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.accounts import cpu_seconds, resident_bytes

TAIL = 2000  # bytes of output quoted when a process fails


class BenchError(Exception):
    """A measured process did not do what it was started for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One process: seconds on the wall, CPU seconds of all threads and children; peak resident
    bytes of it, and resident bytes of it and its children (None for one that ran to its end)."""

    wall: float
    cpu: float
    peak: int | None
    resident: int | None = None


def measure(
    argv: Sequence[str],
    marker: bytes | None = None,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 300.0,
    status: int = 0,
) -> Sample:
    """Run a process until it prints `marker` (then kill it), or without one to its end, which
    must have this exit status. Its standard input stays open and silent."""
    begin = time.perf_counter()
    child = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    assert child.stdout is not None and child.stdin is not None
    try:
        seen, found = _watch(child.stdout.fileno(), marker, begin + timeout)
        wall = time.perf_counter() - begin
        cpu = cpu_seconds(child.pid)
        peak = _peak(child.pid) if marker is not None else None
        resident = resident_bytes(child.pid) if marker is not None else None
    finally:
        if marker is not None or time.perf_counter() - begin > timeout:
            os.kill(child.pid, signal.SIGKILL)  # child.kill() would reap it, and its usage be lost
        _, code, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(code)
        child.stdin.close()
        child.stdout.close()
    if not found or (marker is None and child.returncode != status):
        text = seen[-TAIL:].decode("utf-8", "replace")
        raise BenchError(f"{' '.join(argv)}: status {child.returncode}, last output:\n{text}")
    if marker is None:
        wall, cpu = time.perf_counter() - begin, usage.ru_utime + usage.ru_stime
    return Sample(wall, cpu, peak, resident)


def _watch(pipe: int, marker: bytes | None, deadline: float) -> tuple[bytes, bool]:
    """Read until the marker or the end: (output, whether that was what was waited for)."""
    seen = b""
    while (left := deadline - time.perf_counter()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            return seen, False
        piece = os.read(pipe, 65536)
        if not piece:
            return seen, marker is None
        seen = seen[-TAIL - len(marker or b"") :] + piece
        if marker is not None and marker in seen:
            return seen, True
    return seen, False


def _peak(pid: int) -> int | None:
    """The peak resident set of a live process, in bytes; None if it is gone already."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
