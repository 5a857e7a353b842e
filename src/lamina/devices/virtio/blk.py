"""The virtio block device (VirtIO 1.2, section 5.2): one request queue over an injected backend.

A request is a header to read, data either way, and one status byte to write, in whatever pieces the
driver likes. Nothing that a driver asks for is trusted: ranges are checked against the capacity,
data moves in bounded pieces, and a backend's failure becomes VIRTIO_BLK_S_IOERR. Only a chain that
has no header or no status byte is a broken ring. Requests are done at once, in order.
"""

import logging
import struct
from enum import IntEnum
from typing import Any, Protocol

from lamina.base.bits import U32, is_power_of_two
from lamina.base.units import MIB
from lamina.devices.state import StateReader
from lamina.devices.virtio.device import VirtioDevice
from lamina.devices.virtio.queue import Chain, RingError, Segment, span

log = logging.getLogger(__name__)

SECTOR = 512
F_SEG_MAX, F_RO, F_BLK_SIZE, F_FLUSH = 1 << 2, 1 << 5, 1 << 6, 1 << 9
F_DISCARD, F_WRITE_ZEROES = 1 << 13, 1 << 14

QUEUE_SIZE = 128
SEG_MAX = QUEUE_SIZE - 2  # buffers of data in a request: the header and the status take one each
PIECE = 1 * MIB  # data held in our memory at a time
ID_BYTES = 20

HEADER = struct.Struct("<IIQ")  # type, reserved, sector
RANGE = struct.Struct("<QII")  # sector, number of sectors, flags
MAX_RANGES = 16  # in a discard
MAX_ZERO_SECTORS = 4 * MIB // SECTOR  # in a request to write zeroes, which takes one range
MAX_DISCARD_SECTORS = U32
UNMAP = 1

# Section 5.2.4; what belongs to features that are not offered reads zero.
CONFIG = struct.Struct("<QIIHBBIBBHIBBHIIIIIB3x")


class Request(IntEnum):
    """Request types."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13


class Status(IntEnum):
    """The status byte."""

    OK = 0
    IOERR = 1
    UNSUPP = 2


class Disk(Protocol):
    """A backend. Ranges lie inside of `size` (bytes, whole sectors). Failures are OSErrors."""

    size: int
    readonly: bool

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Store all of `data`."""

    def discard(self, offset: int, length: int) -> None:
        """The contents are not needed any more; reads may give anything that was there, or 0."""

    def flush(self) -> None:
        """What has been written survives a failure of the host from now on."""


class _Refused(Exception):
    """A request that ends with a status other than OK."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class VirtioBlock(VirtioDevice):
    """A disk. `serial` is what GET_ID answers: printable ASCII, 20 bytes at most."""

    name = "virtio-blk"
    device_id = 2
    queue_sizes = (QUEUE_SIZE,)

    def __init__(self, disk: Disk, serial: str = "") -> None:
        self._disk = disk
        self._serial = serial.encode("ascii")[:ID_BYTES]
        self._failures = 0
        self.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH
        self.features |= F_RO if disk.readonly else F_DISCARD | F_WRITE_ZEROES

    def config(self) -> bytes:
        discards = 0 if self._disk.readonly else 1
        return CONFIG.pack(
            *(self._disk.size // SECTOR, 0, SEG_MAX),  # capacity, size_max, seg_max
            *(0, 0, 0, SECTOR),  # geometry, blk_size
            *(0, 0, 0, 0),  # topology
            *(0, 0, 0),  # writeback, num_queues
            *(discards * MAX_DISCARD_SECTORS, discards * MAX_RANGES, discards),
            *(discards * MAX_ZERO_SECTORS, discards, 0),  # the last: no unmapping
        )

    def handle(self, index: int, chain: Chain) -> int:
        """Returns how many bytes were written without a gap from the first on."""
        room = chain.writable_bytes - 1
        if room < 0:
            raise RingError("a block request without a status byte")
        header = chain.read(HEADER.size)
        if len(header) < HEADER.size:
            raise RingError("a block request without a header")
        kind, _, sector = HEADER.unpack(header)
        written, status = 0, Status.OK
        try:
            written = self._serve(kind, sector, chain, room)
        except _Refused as refusal:
            status = refusal.status
        except OSError as error:
            self._report(error)
            status = Status.IOERR
        (last,) = span(chain.writable, room, 1)
        chain.dma.write(last.gpa, bytes([status]))
        return room + 1 if written == room else written

    def _serve(self, kind: int, sector: int, chain: Chain, room: int) -> int:
        """Do it; returns how many bytes of the data were written to guest memory."""
        match kind:
            case Request.IN:
                return self._read(sector, chain, room)
            case Request.OUT:
                self._write(sector, chain)
            case Request.FLUSH:
                self._disk.flush()
            case Request.GET_ID:
                answer = self._serial.ljust(ID_BYTES, b"\0")[:room]
                return chain.write(answer) if answer else 0
            case Request.DISCARD if self._negotiated(F_DISCARD):
                for offset, length in self._ranges(chain, MAX_RANGES, MAX_DISCARD_SECTORS, 0):
                    self._disk.discard(offset, length)
            case Request.WRITE_ZEROES if self._negotiated(F_WRITE_ZEROES):
                for offset, length in self._ranges(chain, 1, MAX_ZERO_SECTORS, UNMAP):
                    self._write_zeroes(offset, length)
            case _:
                raise _Refused(Status.UNSUPP)
        return 0

    def _negotiated(self, feature: int) -> bool:
        return self.transport is not None and bool(self.transport.accepted & feature)

    def _locate(self, sector: int, length: int, *, change: bool) -> int:
        """The byte offset of a range of the disk that may be used so."""
        offset = sector * SECTOR
        if length % SECTOR or offset + length > self._disk.size:
            raise _Refused(Status.IOERR)
        if change and self._disk.readonly:
            raise _Refused(Status.IOERR)
        return offset

    def _read(self, sector: int, chain: Chain, room: int) -> int:
        offset = self._locate(sector, room, change=False)
        for piece in _pieces(span(chain.writable, 0, room)):
            chain.dma.write(piece.gpa, self._disk.read_at(offset, piece.length))
            offset += piece.length
        return room

    def _write(self, sector: int, chain: Chain) -> None:
        length = chain.readable_bytes - HEADER.size
        offset = self._locate(sector, length, change=True)
        for piece in _pieces(span(chain.readable, HEADER.size, length)):
            self._disk.write_at(offset, chain.dma.read(piece.gpa, piece.length))
            offset += piece.length
        self._settle()

    def _settle(self) -> None:
        """A driver that cannot flush gets a disk that writes through (section 5.2.6.2)."""
        if not self._negotiated(F_FLUSH):
            self._disk.flush()

    def _ranges(self, chain: Chain, most: int, sectors: int, allowed: int) -> list[tuple[int, int]]:
        """What to discard or to fill with zeroes, (offset, length), checked as a whole: `most`
        ranges of at most so many `sectors`. Zeroes are stored even where a driver allows that the
        range be unmapped."""
        length = chain.readable_bytes - HEADER.size
        if not 0 < length <= most * RANGE.size or length % RANGE.size:
            raise _Refused(Status.IOERR)
        payload = chain.read(HEADER.size + length)[HEADER.size :]
        ranges = []
        for sector, count, flags in RANGE.iter_unpack(payload):
            if flags & ~allowed:
                raise _Refused(Status.UNSUPP)
            if count > sectors:
                raise _Refused(Status.IOERR)
            ranges.append((self._locate(sector, count * SECTOR, change=True), count * SECTOR))
        return ranges

    def _write_zeroes(self, offset: int, length: int) -> None:
        zeroes = bytes(min(length, PIECE))
        for at in range(offset, offset + length, PIECE):
            self._disk.write_at(at, zeroes[: offset + length - at])
        self._settle()

    def _report(self, error: OSError) -> None:
        """Log a backend's failure: the first, then at each doubling."""
        self._failures += 1
        if is_power_of_two(self._failures):
            log.warning("disk %s: %s (failure %d)", self._serial.decode(), error, self._failures)

    def save(self) -> dict[str, Any]:
        return {"size": self._disk.size, "readonly": self._disk.readonly}

    def load(self, state: Any) -> None:
        reader = StateReader(self.name, state, "size", "readonly")
        if reader.integer("size") != self._disk.size:
            raise reader.refuse("size", "that of the disk in this slot")
        if reader.boolean("readonly") != self._disk.readonly:
            raise reader.refuse("readonly", "as the disk in this slot")


def _pieces(segments: list[Segment]) -> list[Segment]:
    """The same bytes, in segments of PIECE at most."""
    return [
        Segment(segment.gpa + at, min(PIECE, segment.length - at))
        for segment in segments
        for at in range(0, segment.length, PIECE)
    ]
