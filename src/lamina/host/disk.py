"""Raw disk images: a file or a block device as a disk, and a private layer over one.

The format is never probed: a raw image stays raw whatever its guest writes into it. Called by
`machine/storage.py`; satisfies the Disk protocol of `devices/virtio/blk.py`. Owns the descriptor
and the lock: a disk that is written has one user, one that is only read may have many.
"""

import ctypes
import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from typing import Protocol

from lamina.base.bits import align_up
from lamina.base.errors import ConfigError, HostError
from lamina.base.units import KIB

SECTOR = 512
CLUSTER = 64 * KIB  # what a private layer copies at a time
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE = 1, 2  # Linux


class RawDisk:
    """An image file or a block device. Its size is that of the moment it was opened, rounded up to
    whole sectors (what is missing of the last one reads zero); a file that is cut short afterwards
    gives EIO where it ends."""

    def __init__(self, path: Path, readonly: bool = False) -> None:
        """ConfigError if it is no disk, HostError if it cannot be had."""
        self.readonly = readonly
        self._path = path
        self._fd = self._open()
        try:
            self._bytes = self._measure()
            self._lock()
        except BaseException:
            os.close(self._fd)
            raise
        self.size = align_up(self._bytes, SECTOR)

    def _open(self) -> int:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        mode = os.O_RDONLY if self.readonly else os.O_RDWR
        try:
            return os.open(self._path, mode | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            hint = ""
            if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
                hint = "; readonly or snapshot would do without writing to it"
            raise HostError(f"disk {self._path}: {reason}{hint}") from None

    def _measure(self) -> int:
        mode = os.fstat(self._fd).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise ConfigError(f"disk {self._path}: must be a regular file or a block device")
        try:
            size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise HostError(f"disk {self._path}: has no size: {error.strerror}") from None
        if size == 0:
            raise ConfigError(f"disk {self._path}: is empty; a disk has at least {SECTOR} bytes")
        return size

    def _lock(self) -> None:
        kind = fcntl.LOCK_SH if self.readonly else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(
                f"disk {self._path}: another machine has it; snapshots and readonly share a disk"
                " that nobody writes"
            ) from None
        except OSError as error:
            raise HostError(f"disk {self._path}: cannot be locked: {error.strerror}") from None

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; OSError if the file does not have them (any more)."""
        pieces, at, end = [], offset, offset + length
        while at < end:
            piece = os.pread(self._fd, end - at, at)
            if not piece:
                break
            pieces.append(piece)
            at += len(piece)
        if at < min(end, self._bytes) or end > self.size:
            raise OSError(errno.EIO, "the disk image has become shorter")
        return b"".join(pieces).ljust(length, b"\0")

    def write_at(self, offset: int, data: bytes) -> None:
        """Store all of it; OSError if the host cannot, or if the disk ends before."""
        if offset + len(data) > self.size:
            raise OSError(errno.EIO, "beyond the end of the disk image")
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._fd, rest, offset)
            offset, rest = offset + done, rest[done:]

    def discard(self, offset: int, length: int) -> None:
        """Give the room back to the host where it can take it."""
        flags = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE
        fallocate = getattr(ctypes.CDLL(None), "fallocate64", None)
        if fallocate is not None and length:
            wide = ctypes.c_int64
            fallocate(self._fd, flags, wide(offset), wide(length))

    def flush(self) -> None:
        """Data and size reach stable storage; OSError if they did not."""
        if not self.readonly:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the file and its lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Below(Protocol):
    """What a private layer needs below it."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""

    def close(self) -> None:
        """Give resources back."""


class PrivateLayer:
    """Keeps writes to itself, in a nameless temporary file that goes away with it; the disk below
    is only read. A cluster is copied when it is first written to."""

    readonly = False

    def __init__(self, below: Below) -> None:
        self.size = below.size
        self._below = below
        self._own: set[int] = set()
        try:
            self._file = tempfile.TemporaryFile(prefix="lamina-disk-", buffering=0)  # noqa: SIM115
        except OSError as error:
            below.close()
            raise HostError(f"snapshot: no temporary file: {error.strerror}") from None

    def read_at(self, offset: int, length: int) -> bytes:
        pieces, end = [], offset + length
        while offset < end:
            cluster = offset // CLUSTER
            here = min(end, (cluster + 1) * CLUSTER) - offset
            if cluster in self._own:
                pieces.append(self._read_own(offset, here))
            else:
                pieces.append(self._below.read_at(offset, here))
            offset += here
        return b"".join(pieces)

    def _read_own(self, offset: int, length: int) -> bytes:
        data = os.pread(self._file.fileno(), length, offset)
        if len(data) != length:
            raise OSError(errno.EIO, "the private layer of a disk is damaged")
        return data

    def write_at(self, offset: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            at = offset + done
            piece = data[done : done + CLUSTER - at % CLUSTER]
            self._write_cluster(at, piece)
            done += len(piece)

    def _write_cluster(self, offset: int, data: bytes) -> None:
        cluster = offset // CLUSTER
        if cluster not in self._own:
            start = cluster * CLUSTER
            whole = bytearray(self._below.read_at(start, min(CLUSTER, self.size - start)))
            whole[offset - start : offset - start + len(data)] = data
            offset, data = start, bytes(whole)
        rest = memoryview(data)
        at = offset
        while rest:
            done = os.pwrite(self._file.fileno(), rest, at)
            at, rest = at + done, rest[done:]
        self._own.add(cluster)

    def discard(self, offset: int, length: int) -> None:
        """Nothing to give back: the layer is small and does not last."""

    def flush(self) -> None:
        """Nothing that must survive."""

    def close(self) -> None:
        self._file.close()
        self._below.close()
