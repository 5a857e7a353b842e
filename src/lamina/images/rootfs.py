"""A userland in memory: the files of many packages laid over one another, ready for an archive.

Models what unpacking packages into an empty root does, without touching the host's file system and
without running a maintainer's script. Called by `images/debian.py`. Owns the tree: one entry a
path, and every path's parents. `/bin`, `/lib` and `/sbin` are links into `/usr` (Debian's merged
/usr), so a package that still ships files there gets them placed behind the links.
"""

import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Sequence

from lamina.base.errors import ImageError
from lamina.images import cpio
from lamina.images.deb import Member

MERGED = ("bin", "sbin", "lib", "lib64")


class RootFilesystem:
    """A tree of entries. Adding a path again replaces it, as a later package would."""

    def __init__(self, exclude: Sequence[str] = ()) -> None:
        """`exclude`: regular expressions; a path that one of them matches from its start is out."""
        self._entries: dict[str, cpio.Entry] = {}
        self._exclude = re.compile("|".join(f"(?:{item})" for item in exclude) or r"(?!)")

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def add(self, entry: cpio.Entry) -> None:
        """Put an entry in place; a directory keeps what is already below it."""
        old = self._entries.get(entry.path)
        if old is not None and stat.S_ISDIR(old.mode) != stat.S_ISDIR(entry.mode):
            if stat.S_ISDIR(entry.mode) and stat.S_ISLNK(old.mode):
                return
            raise ImageError(f"initrd: {entry.path} is a directory and also something else")
        self._entries[entry.path] = entry

    def add_package(self, members: Iterable[Member]) -> None:
        """Lay a package's files over the tree, leaving out what is excluded."""
        for member in members:
            path = _merged(member.path)
            if self._exclude.match(path):
                continue
            data = member.data
            if stat.S_ISLNK(member.mode):
                data = member.target.encode("utf-8", "surrogateescape")
            elif member.target:
                data = self.read(_merged(member.target))
            self.add(cpio.Entry(path, member.mode, data, member.mtime))

    def read(self, path: str) -> bytes:
        """The contents of a regular file; ImageError if there is none."""
        entry = self._entries.get(path)
        if entry is None or not stat.S_ISREG(entry.mode):
            raise ImageError(f"initrd: the packages hold no file {path}")
        return entry.data

    def entries(self) -> Iterator[cpio.Entry]:
        """All entries, parents first; directories that no package named are made up."""
        done: set[str] = set()
        for path in sorted(self._entries):
            for parent in _parents(path):
                if parent not in self._entries and parent not in done:
                    yield cpio.directory(parent)
                done.add(parent)
            yield self._entries[path]
            done.add(path)


def _merged(path: str) -> str:
    return f"usr/{path}" if path.split("/")[0] in MERGED and "/" in path else path


def _parents(path: str) -> list[str]:
    found = []
    while path := posixpath.dirname(path):
        found.append(path)
    return found[::-1]
