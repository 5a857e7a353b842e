"""Archives in the "newc" form of cpio, which Linux unpacks into its initial RAM file system.

Specification: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. A kernel takes
several archives one after the other, so a small one may follow a large one that never changes.
Called by `images/rootfs.py` (a whole userland) and `images/session.py` (one command); `files` reads
such archives again, for `lamina profile`. Owns nothing: entries come in, bytes go out, the same
bytes for the same entries.
"""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lamina.base.bits import U32, align_up
from lamina.base.errors import ImageError

MAGIC = "070701"
TRAILER = "TRAILER!!!"
ALIGNMENT = 4
ARCHIVE_ALIGNMENT = 512
MAX_NAME = 4095
HEADER_SIZE = 110  # the magic, and 13 numbers of 8 hexadecimal digits


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: `path` without a leading slash, `mode` with its type bits, `data` or link target.

    `device` is (major, minor) and only of use for character and block special files.
    """

    path: str
    mode: int
    data: bytes = b""
    mtime: int = 0
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


def directory(path: str, permissions: int = 0o755) -> Entry:
    """An entry for a directory."""
    return Entry(path, stat.S_IFDIR | permissions)


def regular(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    """An entry for a regular file."""
    return Entry(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> Entry:
    """An entry for a symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """An entry for a character device node."""
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def archive(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive's bytes in pieces, padded so that another archive may follow.

    Parents must come before their children: the kernel makes no missing directories.
    Raises ImageError for a name or a file that the form cannot hold.
    """
    length = 0
    inode = 0
    for inode, entry in enumerate(entries, start=1):
        for piece in _member(entry, inode):
            length += len(piece)
            yield piece
    for piece in _member(Entry(TRAILER, 0), inode + 1):
        length += len(piece)
        yield piece
    yield bytes(align_up(length, ARCHIVE_ALIGNMENT) - length)


def _member(entry: Entry, inode: int) -> Iterator[bytes]:
    name = entry.path.encode("utf-8", "surrogateescape") + b"\0"
    if len(name) > MAX_NAME or b"\0" in name[:-1]:
        raise ImageError(f"initrd: the name {entry.path[:60]!r} does not fit a cpio archive")
    if len(entry.data) > U32:
        raise ImageError(f"initrd: {entry.path} is {len(entry.data)} bytes; cpio ends at 4 GiB")
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode,
        entry.mode,
        entry.uid,
        entry.gid,
        links,
        entry.mtime & U32,
        len(entry.data),
        0,
        0,
        *entry.device,
        len(name),
        0,
    )
    head = (MAGIC + "".join(f"{value:08X}" for value in fields)).encode() + name
    yield head + bytes(align_up(len(head), ALIGNMENT) - len(head))
    if entry.data:
        yield entry.data
        yield bytes(align_up(len(entry.data), ALIGNMENT) - len(entry.data))


def files(archives: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and contents of the regular files in archives that follow one another; they end where
    something else begins (a compressed archive, damage). No path is to be trusted."""
    at = 0
    while archives[at : at + len(MAGIC)] == MAGIC.encode():
        try:
            fields = [int(archives[at + i : at + i + 8], 16) for i in range(6, HEADER_SIZE, 8)]
        except ValueError:
            return
        mode, size, name_size = fields[1], fields[6], fields[11]
        name_at = at + HEADER_SIZE
        data_at = align_up(name_at + name_size, ALIGNMENT)
        if data_at + size > len(archives):
            return
        name = archives[name_at : name_at + name_size].rstrip(b"\0")
        if stat.S_ISREG(mode):
            yield name.decode("utf-8", "replace"), archives[data_at : data_at + size]
        at = align_up(data_at + size, ALIGNMENT)
        if name == TRAILER.encode():
            while at < len(archives) and archives[at] == 0:
                at = align_up(at + 1, ALIGNMENT)
