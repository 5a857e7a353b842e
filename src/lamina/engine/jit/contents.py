"""Numbers for the contents of guest pages: equal bytes, equal number, in the whole process.

Compiled regions compare these numbers where control moves into another page. A number is given for
a cryptographic digest, so that no guest can make two different pages equal.
"""

import hashlib
import threading


class Contents:
    """The numbers given so far; the first is 1."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._lock = threading.Lock()  # guards the dictionary's growth

    def number(self, source: bytes) -> int:
        """The number of a page with these bytes."""
        digest = hashlib.blake2b(source, digest_size=32).digest()
        with self._lock:
            return self._numbers.setdefault(digest, len(self._numbers) + 1)
