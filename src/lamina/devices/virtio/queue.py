"""The device side of a split virtqueue (VirtIO 1.2, section 2.7), for a driver that is hostile.

What the driver shares may change under our hands at any time, so everything is read once, copied,
and checked as the copy: avail.idx, each ring entry, each descriptor (an indirect table as a whole).
A driver that breaks a rule gets a RingError; the transport answers it with DEVICE_NEEDS_RESET.
Buffers are RAM only; a chain has at most `size` descriptors, so that loops end.
"""

import struct
import threading
from dataclasses import dataclass, field
from typing import Any

from lamina.base.bits import U16, U32, is_power_of_two
from lamina.bus.dma import Dma, DmaFault
from lamina.devices.state import StateReader

NEXT, WRITE, INDIRECT = 1, 2, 4  # descriptor flags
NO_INTERRUPT = 1  # flag of the avail ring
DESCRIPTOR = struct.Struct("<QIHH")
USED_ELEMENT = struct.Struct("<II")
MAX_CHAIN_BYTES = 1 << 32


class RingError(Exception):
    """The driver broke the rules of a ring. It stays inside of the device model."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of guest RAM, checked."""

    gpa: int
    length: int


def span(segments: list[Segment], start: int, length: int) -> list[Segment]:
    """The `length` bytes from `start` on of what the segments hold together; fewer if they end."""
    found = []
    for segment in segments:
        if length <= 0:
            break
        take = min(segment.length - start, length)
        if take > 0:
            found.append(Segment(segment.gpa + start, take))
            length -= take
        start = max(start - segment.length, 0)
    return found


@dataclass(slots=True)
class Chain:
    """One request: what the device may read, then what it may write."""

    head: int
    generation: int
    dma: Dma
    readable: list[Segment] = field(default_factory=list)
    writable: list[Segment] = field(default_factory=list)

    @property
    def readable_bytes(self) -> int:
        return sum(segment.length for segment in self.readable)

    @property
    def writable_bytes(self) -> int:
        return sum(segment.length for segment in self.writable)

    def read(self, maximum: int) -> bytes:
        """The readable bytes, from the first, `maximum` at most."""
        pieces = []
        for segment in self.readable:
            piece = self.dma.read(segment.gpa, min(segment.length, maximum))
            maximum -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def write(self, data: bytes) -> int:
        """Store from the first writable byte on; returns how many bytes there was room for."""
        done = 0
        for segment in self.writable:
            piece = data[done : done + segment.length]
            if not piece:
                break
            self.dma.write(segment.gpa, piece)
            done += len(piece)
        return done


class Virtqueue:
    """One ring. The transport sets its addresses and enables it; the device pops and pushes."""

    def __init__(self, dma: Dma, max_size: int) -> None:
        self._dma = dma
        self.max_size = max_size
        self.generation = 0
        self.indirect = False
        self.event_idx = False
        self.size = max_size
        self.desc = 0
        self.avail = 0
        self.used = 0
        self.ready = False
        self._barrier = threading.Lock()
        self._restart()

    def _restart(self) -> None:
        self.generation += 1
        self._next_avail = 0
        self._known_avail = 0
        self._next_used = 0
        self._signalled = 0
        self._in_flight: set[int] = set()

    # The transport's side

    def reset(self) -> None:
        """As after power-on; chains still out belong to the past and are dropped."""
        self.size = self.max_size
        self.desc = self.avail = self.used = 0
        self.disable()

    def disable(self) -> None:
        """Stop using the ring, and forget how far it had been used."""
        self.ready = False
        self._restart()

    def enable(self) -> None:
        """Start using the ring; RingError if its size or its addresses cannot be."""
        if not is_power_of_two(self.size) or self.size > self.max_size:
            raise RingError(f"queue size {self.size}")
        if self.desc % 16 or self.avail % 2 or self.used % 4:
            raise RingError("misaligned ring")
        event = 2 if self.event_idx else 0
        parts = (
            (self.desc, 16 * self.size),
            (self.avail, 4 + 2 * self.size + event),
            (self.used, 4 + 8 * self.size + event),
        )
        for gpa, length in parts:
            try:
                self._dma.check(gpa, length)
            except DmaFault as error:
                raise RingError(str(error)) from None
        self.ready = True

    # The device's side

    def pop(self) -> Chain | None:
        """The next request, or None; RingError or DmaFault if the driver is broken."""
        if not self.ready:
            return None
        if self._known_avail == self._next_avail and not self._look():
            return None
        slot = self.avail + 4 + 2 * (self._next_avail % self.size)
        head = self._read_u16(slot)
        if head >= self.size or head in self._in_flight:
            raise RingError(f"head {head} in a queue of {self.size}, or it is in flight")
        chain = self._walk(head)
        self._next_avail = (self._next_avail + 1) & U16
        self._in_flight.add(head)
        return chain

    def _look(self) -> bool:
        """Take a snapshot of avail.idx; True if there is something new."""
        known = self._read_u16(self.avail + 2)
        if (known - self._next_avail) & U16 > self.size:
            raise RingError(f"avail.idx {known} is too far from {self._next_avail}")
        self._known_avail = known
        return known != self._next_avail

    def _walk(self, head: int) -> Chain:
        chain = Chain(head, self.generation, self._dma)
        table: bytes | None = None
        index, count, seen, total = head, self.size, 0, 0
        while True:
            if index >= count:
                raise RingError(f"descriptor {index} of {count}")
            gpa, length, flags, following = self._descriptor(table, index)
            if flags & INDIRECT:
                table = self._indirect(table, gpa, length, flags)
                index, count = 0, length // DESCRIPTOR.size
                continue
            seen, total = seen + 1, total + length
            if seen > self.size or total > MAX_CHAIN_BYTES:
                raise RingError("a chain that is too long, or a loop")
            self._append(chain, gpa, length, flags)
            if not flags & NEXT:
                return chain
            index = following

    def _descriptor(self, table: bytes | None, index: int) -> tuple[int, int, int, int]:
        if table is not None:
            return DESCRIPTOR.unpack_from(table, index * DESCRIPTOR.size)
        gpa = self.desc + index * DESCRIPTOR.size
        return DESCRIPTOR.unpack(self._dma.read(gpa, DESCRIPTOR.size))

    def _indirect(self, table: bytes | None, gpa: int, length: int, flags: int) -> bytes:
        """A copy of an indirect table; it may only end a chain, and not be in another one."""
        if not self.indirect or table is not None or flags & NEXT:
            raise RingError("an indirect descriptor where none may be")
        if not length or length % DESCRIPTOR.size or length > self.size * DESCRIPTOR.size:
            raise RingError(f"an indirect table of {length} bytes")
        return self._dma.read(gpa, length)

    def _append(self, chain: Chain, gpa: int, length: int, flags: int) -> None:
        if not length:
            raise RingError("a buffer without length")
        self._dma.check(gpa, length)
        if flags & WRITE:
            chain.writable.append(Segment(gpa, length))
        elif chain.writable:
            raise RingError("a readable buffer after a writable one")
        else:
            chain.readable.append(Segment(gpa, length))

    def push(self, chain: Chain, written: int) -> None:
        """Give a request back, with how many bytes the device wrote; late ones are dropped."""
        if chain.generation != self.generation or chain.head not in self._in_flight:
            return
        self._in_flight.discard(chain.head)
        slot = self.used + 4 + USED_ELEMENT.size * (self._next_used % self.size)
        self._dma.write(slot, USED_ELEMENT.pack(chain.head, written & U32))
        self._next_used = (self._next_used + 1) & U16
        self._dma.write(self.used + 2, self._next_used.to_bytes(2, "little"))

    def listen(self) -> bool:
        """Ask to be notified of the next request; True if one slipped in meanwhile."""
        if not self.ready:
            return False
        if self.event_idx:
            event = self.used + 4 + USED_ELEMENT.size * self.size
            self._dma.write(event, self._next_avail.to_bytes(2, "little"))
        self._order()
        return self._look()

    def should_interrupt(self) -> bool:
        """Whether the driver wants to hear of what has been pushed since the last time."""
        old, new = self._signalled, self._next_used
        if not self.ready or old == new:
            return False
        self._signalled = new
        self._order()
        if not self.event_idx:
            return not self._read_u16(self.avail) & NO_INTERRUPT
        event = self._read_u16(self.avail + 4 + 2 * self.size)
        return (new - event - 1) & U16 < (new - old) & U16

    def _order(self) -> None:
        """Our stores before our loads, as the driver does it the other way round: taking a lock is
        an atomic read-modify-write, which on x86 is a full barrier."""
        with self._barrier:
            pass

    def _read_u16(self, gpa: int) -> int:
        return int.from_bytes(self._dma.read(gpa, 2), "little")

    # Snapshots: taken between requests, so that no chain is in flight

    def save(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "desc": self.desc,
            "avail": self.avail,
            "used": self.used,
            "ready": self.ready,
            "next_avail": self._next_avail,
            "next_used": self._next_used,
            "signalled": self._signalled,
        }

    def load(self, name: str, state: Any) -> None:
        """Into a new queue: SnapshotError for bad fields, RingError for a ring that cannot be."""
        reader = StateReader(name, state, *self.save())
        self.size = reader.integer("size", U32)
        self.desc, self.avail = reader.integer("desc"), reader.integer("avail")
        self.used = reader.integer("used")
        if reader.boolean("ready"):
            self.enable()
        self._next_avail = self._known_avail = reader.integer("next_avail", U16)
        self._next_used = reader.integer("next_used", U16)
        self._signalled = reader.integer("signalled", U16)
