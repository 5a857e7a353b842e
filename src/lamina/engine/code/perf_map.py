"""Names of compiled code for Linux perf: the file /tmp/perf-PID.map, a line for each function.

Specification: Linux `tools/perf/Documentation/jit-interface.txt`: start and size in hexadecimal,
then the name. perf reads the file when it reports, after the process has ended, so it stays. Where
code was given up, what lies there later has a later line. Called by the command line (`open`) and
by whoever places code; nothing is written until it is opened. Owned by the process (`perf_map`).
"""

import os
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import BinaryIO

from lamina.base.errors import HostError
from lamina.engine.code.arena import Placed


class PerfMap:
    """Writes the file as code is placed. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the file
        self._file: BinaryIO | None = None

    def open(self, folder: Path = Path("/tmp")) -> Path:
        """Begin: code that is placed from now on is named. HostError if the file cannot be made."""
        path = folder / f"perf-{os.getpid()}.map"
        with self._lock:
            if self._file is None:
                try:
                    path.unlink(missing_ok=True)  # of a process that had the number before
                    # Anyone may write to the folder: what is there is not followed.
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                    self._file = os.fdopen(os.open(path, flags, 0o644), "wb", buffering=0)
                except OSError as error:
                    raise HostError(f"{path}: cannot be written: {error.strerror}") from error
        return path

    def add(self, address: int, size: int, name: str) -> None:
        """Name a function."""
        self._write([f"{address:x} {size:x} {name}"])

    def add_functions(self, placed: Placed, prefix: str) -> None:
        """Name all functions of an image; each goes to where the next begins."""
        if self._file is None:
            return
        starts = sorted((offset, name) for name, offset in placed.symbols.items())
        ends = [offset for offset, _ in starts[1:]] + [placed.size]
        self._write(
            f"{placed.address + start:x} {end - start:x} {prefix}{name}"
            for (start, name), end in zip(starts, ends, strict=True)
            if end > start
        )

    def close(self) -> None:
        """No more lines; the file stays."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self, lines: Iterable[str]) -> None:
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.write("".join(f"{line}\n" for line in lines).encode())
            except OSError:  # a full disk: the guest runs on, perf knows less
                self._file.close()
                self._file = None


@cache
def perf_map() -> PerfMap:
    """The process's."""
    return PerfMap()
