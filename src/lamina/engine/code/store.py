"""Code images on disk, by key: a bounded cache that many processes share.

A store is a folder of segments. A segment is a data file, to which records are appended, and an
index file of rows that say where each record lies; thousands of small images are found by reading
a few index files. Segments are the unit of eviction: the oldest goes when the store has grown
over its limit, and what is used of the older half is copied into the newest before, so that what
goes is what was not used for long.

Files are not trusted: a record names its key and its image carries a checksum; what does not hold
is ignored, with one line of warning for each store, and crossed out. Appending is done under a
lock on the folder, and a row is written after its record: whatever a crash or a full disk leaves
behind is space that nothing refers to. A disk that cannot be written is no error.
"""

import fcntl
import logging
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage

log = logging.getLogger(__name__)

# What is kept, in folders of these names, and how much of it.
STORES = {"runtime": 8 << 20, "regions": 256 << 20}

SEGMENTS = 8  # that a full store has
PATIENCE = 1.0  # seconds to wait for other processes
LOOK_AGAIN = 0.5  # seconds after which a miss looks for what other processes have added

_ROW = struct.Struct("<32sQII")  # key, offset and length of the record, time of putting (seconds)
_KEY_BYTES = 32
_CROSSED_OUT = 0  # the length in a row that takes back the rows before it
_DIGITS = 20  # of a segment's number, which is the time of its making: none comes again
_INDEX, _DATA, _LOCK = ".index", ".data", "lock"


class Kept(NamedTuple):
    """What a store holds under a key."""

    key: str
    size: int
    put: int  # seconds since 1970


class _Where(NamedTuple):
    segment: int
    offset: int
    size: int
    put: int


class CodeStore:
    """Images under hex digests of 64 digits, in `folder`, some `limit_bytes` at most. Any thread
    may call it."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self._limit = limit_bytes
        self._lock = threading.RLock()  # guards all below; taken before the lock on the folder
        self._where: dict[bytes, _Where] = {}
        self._rows: dict[int, int] = {}  # bytes of each segment's index that are in `_where`
        self._files: dict[int, int] = {}  # descriptors of data files
        self._looked = -LOOK_AGAIN
        self._warned = False

    def get(self, key: str) -> CodeImage | None:
        """The image of a key, if the store has one that is whole."""
        raw = bytes.fromhex(key)
        with self._lock:
            where = self._find(raw)
            if where is None:
                return None
            try:
                blob = self._read(raw, where)
                image = CodeImage.decode(blob)
            except (OSError, CodeError) as error:
                self._doubt(f"{error}")
                self._where.pop(raw, None)
                self._append({raw: b""})
                return None
            if where.segment in self._older_half():
                self._append({raw: blob}, again=True)
            return image

    def put(self, key: str, image: CodeImage) -> None:
        """Keep an image, if that is possible."""
        self.put_all({key: image})

    def put_all(self, images: Mapping[str, CodeImage]) -> None:
        """Keep several images at once."""
        with self._lock:
            self._append({bytes.fromhex(key): image.encode() for key, image in images.items()})

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return self._find(bytes.fromhex(key)) is not None

    def scan(self) -> list[Kept]:
        """All that is kept, as the index files say; nothing is read or checked."""
        with self._lock:
            self._look()
            return [Kept(raw.hex(), w.size, w.put) for raw, w in self._where.items()]

    def size(self) -> int:
        """Bytes on disk."""
        return sum(_size(path) for path in self._paths())

    def clear(self) -> None:
        """Remove everything; OSError if that is not allowed."""
        with self._lock, self._folder_lock():
            for path in self._paths():
                path.unlink(missing_ok=True)
            self._forget()

    def close(self) -> None:
        """Close the files; the store may be used again."""
        with self._lock:
            self._forget()

    # -- finding -------------------------------------------------------------------------------
    def _find(self, raw: bytes) -> _Where | None:
        if raw not in self._where and time.monotonic() - self._looked >= LOOK_AGAIN:
            self._look()
        return self._where.get(raw)

    def _look(self) -> None:
        """Take in the rows that were added since the last time, and drop segments that went."""
        self._looked = time.monotonic()
        there = self._segments()
        gone = self._rows.keys() - set(there)
        if gone:
            self._where = {k: w for k, w in self._where.items() if w.segment not in gone}
            for number in gone:
                self._close(number)
        for number in there:
            with suppress(OSError):
                self._take_rows(number)

    def _take_rows(self, number: int) -> None:
        known = self._rows.get(number, 0)
        with open(self._path(number, _INDEX), "rb") as file:
            file.seek(known)
            rows = file.read()
        whole = len(rows) - len(rows) % _ROW.size
        limit = _size(self._path(number, _DATA))
        for raw, offset, size, put in _ROW.iter_unpack(rows[:whole]):
            if size == _CROSSED_OUT:
                self._where.pop(raw, None)
            elif offset + size <= limit and size > _KEY_BYTES:
                self._where[raw] = _Where(number, offset, size, put)
            else:
                self._doubt(f"{self._path(number, _INDEX).name} does not fit its data")
        self._rows[number] = known + whole

    def _read(self, raw: bytes, where: _Where) -> bytes:
        if where.segment not in self._files:
            path = self._path(where.segment, _DATA)
            self._files[where.segment] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        record = os.pread(self._files[where.segment], where.size, where.offset)
        if record[:_KEY_BYTES] != raw:
            raise CodeError("a record is not the one that the index names")
        return record[_KEY_BYTES:]

    # -- adding --------------------------------------------------------------------------------
    def _append(self, blobs: Mapping[bytes, bytes], again: bool = False) -> None:
        """Add records; an empty one crosses its key out. `again`: also of keys that are there."""
        with suppress(OSError), self._folder_lock():
            self._look()
            number = self._newest()
            for raw, blob in blobs.items():
                if again or not blob or raw not in self._where:
                    number = self._add(number, raw, blob)
            self._evict()
            self._look()

    def _add(self, number: int, raw: bytes, blob: bytes) -> int:
        """One record into segment `number`, or into a new one if that is full."""
        data = self._path(number, _DATA)
        if _size(data) + len(blob) > self._limit // SEGMENTS and _size(data) > 0:
            number = _new_number(number)
            data = self._path(number, _DATA)
        record = raw + blob if blob else b""
        with open(data, "ab") as file:
            offset = file.tell()
            file.write(record)
        index = self._path(number, _INDEX)
        row = _ROW.pack(raw, offset, len(record), int(time.time()))
        with open(index, "ab") as file:
            broken = file.tell() % _ROW.size  # half a row, of a crash or a full disk
            if broken:
                file.truncate(file.tell() - broken)
            file.write(row)
        return number

    def _newest(self) -> int:
        numbers = self._segments()
        return numbers[-1] if numbers else _new_number(0)

    def _older_half(self) -> set[int]:
        return set(sorted(self._rows)[: -SEGMENTS // 2])

    def _evict(self) -> None:
        numbers = self._segments()
        sizes = {n: _size(self._path(n, _DATA)) + _size(self._path(n, _INDEX)) for n in numbers}
        for number in numbers[:-1]:
            if sum(sizes.values()) <= self._limit:
                return
            sizes.pop(number)
            self._path(number, _INDEX).unlink(missing_ok=True)
            self._path(number, _DATA).unlink(missing_ok=True)

    # -- files ---------------------------------------------------------------------------------
    def _segments(self) -> list[int]:
        """Numbers of the segments, oldest first."""
        with suppress(OSError):
            names = os.listdir(self.folder)
            stems = [n.removesuffix(_INDEX) for n in names if n.endswith(_INDEX)]
            return sorted(int(s) for s in stems if s.isdecimal() and len(s) == _DIGITS)
        return []

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:0{_DIGITS}}{suffix}"

    def _paths(self) -> Iterator[Path]:
        with suppress(OSError):
            for name in os.listdir(self.folder):
                if name.endswith((_INDEX, _DATA)):
                    yield self.folder / name

    @contextmanager
    def _folder_lock(self) -> Iterator[None]:
        """Alone among all processes; OSError where nothing can be written."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock_soon(handle)
            yield
        finally:
            os.close(handle)

    def _doubt(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("code cache %s: %s; ignored", self.folder, what)

    def _close(self, number: int) -> None:
        self._rows.pop(number, None)
        if number in self._files:
            os.close(self._files.pop(number))

    def _forget(self) -> None:
        for number in list(self._rows.keys() | self._files.keys()):
            self._close(number)
        self._where.clear()
        self._looked = -LOOK_AGAIN


def _lock_soon(handle: int) -> None:
    """Take the lock, or OSError if somebody keeps it (a process that was stopped)."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def _new_number(after: int) -> int:
    return max(after + 1, time.time_ns())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def code_folder() -> Path:
    """Where compiled code is kept: $XDG_CACHE_HOME/lamina/code, or ~/.cache/lamina/code."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "lamina" / "code"


def write_whole(path: Path, contents: bytes) -> None:
    """Replace a small file at once; OSError if that is impossible."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(contents)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


@cache
def code_store(kind: str) -> CodeStore:
    """The process's store of one of `STORES`."""
    return CodeStore(code_folder() / kind, STORES[kind])
