"""A booted emulator that runs one command after the other, and what each cost its host.

The pair of `workloads/agent.c`, which says what goes over the console. Called by the suites; owns
the emulator's process. The cost of a command is the CPU time of all threads and children from the
state of rest before it to the state of rest after it, so what a compiler in the background does
for a workload after its end is charged to that workload, too.
"""

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from bench.accounts import cpu_seconds, runnable, settled
from bench.process import TAIL, BenchError

READY = re.compile(rb"@ready\r?\n")
END = re.compile(rb"@end ([0-9]+)\r?\n")
MOST_COMPLAINTS = 1 << 16  # bytes shown at once
BOOT_PATIENCE = 300.0
END_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, its exit status, and the CPU and wall seconds that it took."""

    text: str
    status: int
    cpu: float
    wall: float


class Guest:
    """One boot. Use it in a `with`; the emulator is ended with it."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._argv = argv
        self._errors = os.memfd_create("errors")
        self._errors_read = 0
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(env or {})},
        )
        self._seen = b""
        try:
            self._read_to(READY, BOOT_PATIENCE)
        except BaseException:
            self.close()
            raise
        self.boot_cpu = self._rest()

    def __enter__(self) -> "Guest":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def command(self, line: str, timeout: float) -> Answer:
        """Send one line, wait for its end; BenchError if the emulator ends or does not answer."""
        before, begin = self._rest(), time.perf_counter()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise BenchError(f"{self._argv[0]}: it has ended") from error
        text, status = self._read_to(END, timeout)
        wall = time.perf_counter() - begin
        return Answer(text, status, self._rest() - before, wall)

    def complaints(self) -> str:
        """What the emulator has written to its standard error since the last call."""
        text = os.pread(self._errors, MOST_COMPLAINTS, self._errors_read)
        self._errors_read += len(text)
        return text.decode("utf-8", "replace").strip()

    def _rest(self) -> float:
        pid = self._process.pid
        return settled(lambda: cpu_seconds(pid), lambda: runnable(pid))

    def _read_to(self, pattern: re.Pattern[bytes], timeout: float) -> tuple[str, int]:
        """Everything before the pattern, and its number if it has one."""
        assert self._process.stdout is not None
        pipe, deadline = self._process.stdout.fileno(), time.monotonic() + timeout
        while (found := pattern.search(self._seen)) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise BenchError(f"no answer within {timeout:.0f} s; last output:\n{self._tail()}")
            piece = os.read(pipe, 65536)
            if not piece:
                status = self._process.wait()
                raise BenchError(f"ended with status {status}; last output:\n{self._tail()}")
            self._seen += piece
        text = self._seen[: found.start()].decode("utf-8", "replace")
        self._seen = self._seen[found.end() :]
        return text.replace("\r\n", "\n"), int(found[1]) if found.groups() else 0

    def _tail(self) -> str:
        errors = self.complaints()[-TAIL:]
        return self._seen[-TAIL:].decode("utf-8", "replace") + (f"\n{errors}" if errors else "")

    def close(self) -> None:
        """End the emulator."""
        self._process.terminate()
        try:
            self._process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not written goes with the process
                    pipe.close()
        os.close(self._errors)
