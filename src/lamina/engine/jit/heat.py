"""Where guests were hot, remembered from run to run.

What runs too little in one run to be worth compiling may be worth it over many: a boot is short,
and happens again. The samples of code that is not compiled are kept in a file of the code cache, by
the digest of the page and the offset in it; the next run counts on from there. The file is not
trusted: what does not read as such a row is ignored, and all that it can do is to have code
compiled. What was not worth compiling owes samples: it has to be as much hotter to be looked at.
"""

import logging
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

from lamina.base.bits import PAGE_SIZE
from lamina.engine.code.store import write_whole

log = logging.getLogger(__name__)
MAX_ROWS = 20_000
MAX_HEAT = 1_000_000
SAVE_SECONDS = 1.0  # before the file is written first, then after twice as long each time, at
LONGEST_PAUSE = 5.0  # most: a machine may be killed at any time. Writing takes some 10 ms
LEAST = 2  # samples that are worth a row
_DIGITS = 32  # of a page's digest
_NUMBER = re.compile("-?[0-9]{1,9}")

Place = tuple[str, int]  # a page's digest (its first digits), an offset


class Heat:
    """Samples by place, in a file if there is a path. Any thread may call it."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards all below
        self._rows = self._read()
        self._changed = False
        self._due = time.monotonic() + SAVE_SECONDS
        self._pause = SAVE_SECONDS

    def before(self, digest: str, offset: int) -> int:
        """The samples of a place in earlier runs, and so far in this one."""
        return self._rows.get((digest[:_DIGITS], offset), 0)

    def add(self, digest: str, offset: int, samples: int) -> None:
        """A place was seen again."""
        place = (digest[:_DIGITS], offset)
        with self._lock:
            self._rows[place] = min(self._rows.get(place, 0) + samples, MAX_HEAT)
            self._changed = True
            if len(self._rows) >= 2 * MAX_ROWS:
                self._rows = dict(self._hottest())
            due = time.monotonic() >= self._due
            if due:
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._due += self._pause
        if due:
            self.save()

    def owe(self, digest: str, offset: int, samples: int) -> None:
        """A place is not worth compiling before it was seen so often again."""
        with self._lock:
            self._rows[digest[:_DIGITS], offset] = -min(samples, MAX_HEAT)
            self._changed = True

    def drop(self, digest: str, offset: int) -> None:
        """A place is compiled: from now on it is found in the store."""
        with self._lock:
            self._changed |= self._rows.pop((digest[:_DIGITS], offset), None) is not None

    def save(self) -> None:
        """Write the file, if something changed; a disk that cannot be written is no error."""
        with self._lock:
            if not self._changed or self._path is None:
                return
            path = self._path
            self._changed = False
            rows = self._hottest()
        worth = [row for row in rows if abs(row[1]) >= LEAST]
        text = "".join(f"{digest} {offset} {heat}\n" for (digest, offset), heat in worth)
        with suppress(OSError):
            write_whole(path, text.encode())

    def _hottest(self) -> list[tuple[Place, int]]:
        return sorted(self._rows.items(), key=lambda row: -abs(row[1]))[:MAX_ROWS]

    def _read(self) -> dict[Place, int]:
        rows: dict[Place, int] = {}
        if self._path is None:
            return rows
        try:
            lines = self._path.read_text("ascii").splitlines()[:MAX_ROWS]
        except (OSError, ValueError):
            return rows
        odd = 0
        for line in lines:
            words = line.split()
            numbers = [int(w) for w in words[1:] if _NUMBER.fullmatch(w)]
            whole = len(words) == 3 == len(numbers) + 1 and len(words[0]) == _DIGITS
            if whole and 0 <= numbers[0] < PAGE_SIZE:
                rows[words[0], numbers[0]] = max(-MAX_HEAT, min(numbers[1], MAX_HEAT))
            else:
                odd += 1
        if odd:
            log.warning("code cache %s: %d lines are not read", self._path, odd)
        return rows
