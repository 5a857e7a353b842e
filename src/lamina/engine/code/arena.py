"""The memory that compiled code runs in: one range of addresses for a process.

Everything in it reaches everything else by 32-bit distances. A chunk is whole pages: they are
writable while an image is copied and patched, then readable and executable, and never both; a freed
chunk is neither, and its memory is the host's again. Owned by the process (`process_arena`).
"""

import ctypes
import mmap
import os
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from lamina.base.bits import PAGE_SIZE, U64, align_up
from lamina.base.errors import CodeError, HostError
from lamina.base.units import format_size
from lamina.engine.code.image import ALIGNMENT, CodeImage

ARENA_BYTES = 1 << 30  # of addresses; memory is only used where code lies
REACH = (1 << 31) - (1 << 16)  # of a 32-bit distance, with room for addends

LIBRARY = frozenset({"memcpy", "memmove", "memset", "memcmp", "bcmp"})  # LLVM makes these calls

_PROT_NONE = 0
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
_FAILED = ctypes.c_void_p(-1).value
_STUB = b"\xff\x25\x00\x00\x00\x00"  # jmp *(%rip), to the address that follows
_STUB_BYTES = 16

Resolve = Callable[[str], int]


class CodeArenaFull(CodeError):
    """There is no room for an image; something must be freed first."""


@dataclass(slots=True)
class _Chunk:
    start: int
    size: int
    users: int


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """An image in memory; valid until it is freed."""

    address: int
    size: int
    symbols: dict[str, int]
    _chunk: _Chunk = field(repr=False)

    def address_of(self, symbol: str) -> int:
        """Where a function of the image lies; CodeError if it has none of that name."""
        if symbol not in self.symbols:
            raise CodeError(f"machine code: there is no function {symbol}")
        return self.address + self.symbols[symbol]


class CodeArena:
    """Places code images. Any thread may call it."""

    def __init__(self, size: int = ARENA_BYTES) -> None:
        if not 0 < size <= ARENA_BYTES:
            raise HostError(f"code arena: {size} bytes; at most {format_size(ARENA_BYTES)}")
        self.size = align_up(size, PAGE_SIZE)
        self._libc = _libc()
        start = self._libc.mmap(None, self.size, _PROT_NONE, _PRIVATE, -1, 0)
        if start in (None, _FAILED):
            raise HostError(f"code arena: cannot reserve {format_size(size)}")
        self.start = int(start)
        self.used = 0  # bytes in chunks
        self._free = [(self.start, self.size)]  # (start, size), by address, never adjacent
        self._lock = threading.Lock()  # guards used, the free list and the chunks' users

    def place(self, image: CodeImage, resolve: Resolve) -> Placed:
        """An image, ready to run. `resolve` gives the address of a function that it does not
        define, or raises. CodeArenaFull if there is no room."""
        return self.place_all([image], resolve)[0]

    def place_all(self, images: Sequence[CodeImage], resolve: Resolve) -> list[Placed]:
        """Images that share a chunk, which is freed when the last of them is: for many small ones
        at once. They do not see each other's symbols."""
        end = self.start + self.size
        texts = [_Text(image, resolve, self.start, end) for image in images]
        starts, size = [], 0
        for text in texts:
            starts.append(size)
            size = align_up(size + text.size, ALIGNMENT)
        chunk = self._take(align_up(size, PAGE_SIZE), len(images))
        try:
            blob = bytearray(chunk.size)
            for text, at in zip(texts, starts, strict=True):
                blob[at : at + text.size] = text.at(chunk.start + at)
            self._fill(chunk, blob)
        except BaseException:
            self._give_back(chunk)
            raise
        return [
            Placed(chunk.start + at, text.size, text.image.symbols, chunk)
            for text, at in zip(texts, starts, strict=True)
        ]

    def reserve(self, size: int) -> int:
        """Addresses of so many bytes, for an owner that protects the memory itself; it is neither
        readable nor writable yet. CodeArenaFull if there is no room."""
        return self._take(align_up(size, PAGE_SIZE), 1).start

    def release(self, start: int, size: int) -> None:
        """What `reserve` gave; nobody runs code there any more."""
        self._give_back(_Chunk(start, align_up(size, PAGE_SIZE), 0))

    def open(self, start: int, size: int) -> None:
        """Forget what lies in reserved memory, and make it executable."""
        chunk = _Chunk(start, align_up(size, PAGE_SIZE), 0)
        self._libc.madvise(chunk.start, chunk.size, mmap.MADV_DONTNEED)
        self._protect(chunk, mmap.PROT_READ | mmap.PROT_EXEC)

    def free(self, placed: Placed) -> None:
        """Nobody runs this code any more, nor jumps to it."""
        with self._lock:
            if placed._chunk.users <= 0:
                raise ValueError("this code is freed already")
            placed._chunk.users -= 1
            last = placed._chunk.users == 0
        if last:
            self._give_back(placed._chunk)

    def close(self) -> None:
        """Give the addresses back; no code of it may run or be called any more."""
        with self._lock:
            self._free = []
            self._libc.munmap(self.start, self.size)

    # -- chunks --------------------------------------------------------------------------------
    def _take(self, size: int, users: int) -> _Chunk:
        """The first free range that is long enough."""
        with self._lock:
            for i, (start, length) in enumerate(self._free):
                if length >= size > 0:
                    rest = [(start + size, length - size)] if length > size else []
                    self._free[i : i + 1] = rest
                    self.used += size
                    return _Chunk(start, size, users)
        raise CodeArenaFull(f"no room for {size} bytes of code; {self.used} are in use")

    def _give_back(self, chunk: _Chunk) -> None:
        self._protect(chunk, _PROT_NONE)
        self._libc.madvise(chunk.start, chunk.size, mmap.MADV_DONTNEED)
        with self._lock:
            self.used -= chunk.size
            ranges = sorted([*self._free, (chunk.start, chunk.size)])
            joined = ranges[:1]
            for start, length in ranges[1:]:
                before, there = joined[-1]
                if before + there == start:
                    joined[-1] = (before, there + length)
                else:
                    joined.append((start, length))
            self._free = joined

    def _fill(self, chunk: _Chunk, blob: bytearray) -> None:
        self._protect(chunk, mmap.PROT_READ | mmap.PROT_WRITE)
        source = (ctypes.c_char * len(blob)).from_buffer(blob)
        ctypes.memmove(chunk.start, source, len(blob))
        self._protect(chunk, mmap.PROT_READ | mmap.PROT_EXEC)

    def _protect(self, chunk: _Chunk, prot: int) -> None:
        if self._libc.mprotect(chunk.start, chunk.size, prot):
            reason = os.strerror(ctypes.get_errno())
            raise HostError(f"code arena: memory for compiled code is refused: {reason}")


class _Text:
    """An image with its external functions' addresses. Functions that are out of the arena's
    reach (the C library's) get a stub each behind the text, which calls go through."""

    def __init__(self, image: CodeImage, resolve: Resolve, low: int, high: int) -> None:
        self.image = image
        wanted = sorted({r.symbol for r in image.relocations if r.symbol})
        self._addresses = {name: resolve(name) for name in wanted}
        far = (n for n, a in self._addresses.items() if not high - REACH <= a <= low + REACH)
        stubs_at = align_up(len(image.text), _STUB_BYTES)
        self._stubs = {name: stubs_at + i * _STUB_BYTES for i, name in enumerate(far)}
        self.size = stubs_at + _STUB_BYTES * len(self._stubs)

    def at(self, base: int) -> bytes:
        """The text as it is at an address."""
        text = bytearray(self.size)
        text[: len(self.image.text)] = self.image.text
        for name, at in self._stubs.items():
            text[at : at + len(_STUB)] = _STUB
            struct.pack_into("<Q", text, at + len(_STUB), self._addresses[name])
        for r in self.image.relocations:
            target = self._addresses[r.symbol] if r.symbol else base
            if r.kind == "abs64":
                struct.pack_into("<Q", text, r.offset, (target + r.addend) & U64)
                continue
            if r.kind != "pc32":
                raise CodeError(f"machine code: a relocation {r.kind} outside of stencils")
            if r.symbol in self._stubs:
                target = base + self._stubs[r.symbol]
            struct.pack_into("<i", text, r.offset, target + r.addend - base - r.offset)
        return bytes(text)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [address, size, number, number, number, ctypes.c_long]
    libc.mmap.restype = address
    libc.mprotect.argtypes = [address, size, number]
    libc.madvise.argtypes = [address, size, number]
    libc.munmap.argtypes = [address, size]
    return libc


def library_address(name: str) -> int:
    """The address of a function of the C library that compiled code may call; CodeError if it is
    none of these."""
    if name not in LIBRARY:
        raise CodeError(f"machine code: it calls {name}, which is not there")
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0


@cache
def process_arena() -> CodeArena:
    """The process's arena: compiled code of all machines lies in it."""
    return CodeArena()
