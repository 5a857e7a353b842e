"""The block device behind a real ring: what drivers rely on, and what hostile ones try."""

import errno
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.clock import ManualClock
from lamina.base.errors import SnapshotError
from lamina.bus.space import AddressSpace
from lamina.devices.virtio import blk
from lamina.devices.virtio.blk import SECTOR, Request, Status, VirtioBlock
from lamina.devices.virtio.mmio import VirtioMmio
from lamina.testing.devices import RecordingLine
from lamina.testing.virtio import VERSION_1, WRITE, FakeDriver

RAM, SIZE, SLOT = 0x8000_0000, 0x80_0000, 0x1000_1000
HEADER, STATUS, DATA = RAM + 0x10_0000, RAM + 0x10_1000, RAM + 0x20_0000
SECTORS = 64
UNTOUCHED = 0xEE


class MemoryDisk:
    """A backend that remembers what it was asked, and fails when told to."""

    def __init__(self, readonly=False, sectors=SECTORS):
        self.readonly = readonly
        self.size = sectors * SECTOR
        self.data = bytearray(b"".join(bytes([n & 0xFF]) * SECTOR for n in range(sectors)))
        self.calls = []
        self.failure = None

    def _note(self, *call):
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure

    def read_at(self, offset, length):
        self._note("read", offset, length)
        assert offset >= 0 and offset + length <= self.size
        return bytes(self.data[offset : offset + length])

    def write_at(self, offset, data):
        self._note("write", offset, len(data))
        assert offset >= 0 and offset + len(data) <= self.size
        self.data[offset : offset + len(data)] = data

    def discard(self, offset, length):
        self._note("discard", offset, length)
        assert offset >= 0 and offset + length <= self.size

    def flush(self):
        self._note("flush")


class Bench:
    def __init__(self, disk=None, features=None):
        self.space = AddressSpace()
        self.space.add_ram(RAM, SIZE, "ram")
        self.disk = disk or MemoryDisk()
        self.block = VirtioBlock(self.disk, serial="disk-7")
        self.clock = ManualClock()
        self.line = RecordingLine()
        self.slot = VirtioMmio("virtio0", self.line, self.space.dma, self.clock)
        self.slot.plug(self.block)
        self.space.add_device(SLOT, self.slot)
        self.driver = FakeDriver(self.space, SLOT, RAM)
        assert self.driver.accept(VERSION_1 | self.block.features if features is None else features)
        self.queue = self.driver.queue(0, 16)
        self.driver.start()

    def header(self, kind, sector=0):
        self.space.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
        self.space.write_u8(STATUS, UNTOUCHED)

    def request(self, kind, sector=0, *buffers):
        """One request with a buffer each for header and status; (status, written)."""
        self.header(kind, sector)
        self.queue.add((HEADER, 16, 0), *buffers, (STATUS, 1, WRITE))
        self.queue.kick()
        assert not self.driver.broken
        ((_, written),) = self.queue.collect()
        return self.space.read_u8(STATUS), written

    def ranges(self, kind, *ranges):
        payload = b"".join(struct.pack("<QII", *each) for each in ranges)
        self.space.write(DATA, payload)
        return self.request(kind, 0, (DATA, len(payload), 0))[0]


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.space.close()


@pytest.fixture
def readonly():
    bench = Bench(MemoryDisk(readonly=True))
    yield bench
    bench.space.close()


def test_a_read_fills_all_buffers_in_order(bench):
    answer = bench.request(Request.IN, 3, (DATA, 100, WRITE), (DATA + 0x1000, 924, WRITE))
    assert answer == (Status.OK, 1025)
    assert bench.space.read(DATA, 100) == b"\3" * 100
    assert bench.space.read(DATA + 0x1000, 924) == b"\3" * 412 + b"\4" * 512
    assert bench.line.edges == [True]


def test_a_write_takes_all_buffers_in_order(bench):
    bench.space.write(DATA, b"a" * 512 + b"b" * 512)
    answer = bench.request(Request.OUT, 62, (DATA, 700, 0), (DATA + 700, 324, 0))
    assert answer == (Status.OK, 1)
    assert bench.disk.data[62 * SECTOR :] == b"a" * 512 + b"b" * 512


def test_header_and_status_may_share_buffers_with_data(bench):
    bench.header(Request.IN, 5)
    bench.queue.add((HEADER, 7, 0), (HEADER + 7, 9, 0), (DATA, 513, WRITE))
    bench.queue.kick()
    assert bench.queue.collect() == [(0, 513)]
    assert bench.space.read(DATA, 513) == b"\5" * 512 + b"\0"


def test_header_and_data_may_be_one_buffer(bench):
    bench.header(Request.OUT, 1)
    bench.space.write(HEADER + 16, b"z" * 512)
    bench.queue.add((HEADER, 16 + 512, 0), (STATUS, 1, WRITE))
    bench.queue.kick()
    assert bench.queue.collect() == [(0, 1)]
    assert bench.space.read_u8(STATUS) == Status.OK
    assert bench.disk.data[512:1024] == b"z" * 512


def test_a_large_transfer_moves_in_pieces(monkeypatch, bench):
    monkeypatch.setattr(blk, "PIECE", 1024)
    assert bench.request(Request.IN, 0, (DATA, 4096, WRITE)) == (Status.OK, 4097)
    assert [call[2] for call in bench.disk.calls] == [1024] * 4
    assert bench.space.read(DATA, 4096) == bytes(bench.disk.data[:4096])


def test_the_configuration_says_what_the_disk_is(bench, readonly):
    config = bench.block.config()
    assert len(config) == 60
    assert struct.unpack_from("<QII", config) == (SECTORS, 0, 126)
    assert struct.unpack_from("<I", config, 20) == (SECTOR,)
    assert struct.unpack_from("<5IB", config, 36) == (0xFFFF_FFFF, 16, 1, 8192, 1, 0)
    assert struct.unpack_from("<5IB", readonly.block.config(), 36) == (0,) * 6


@pytest.mark.parametrize(
    ("sector", "length"),
    [
        (SECTORS, 512),
        (SECTORS - 1, 1024),
        (2**64 - 1, 512),
        (2**55, 512),
        (0, 511),
        (0, 513),
        (0, (SECTORS + 1) * SECTOR),
    ],
)
def test_what_is_not_whole_sectors_of_the_disk_is_an_error(bench, sector, length):
    assert bench.request(Request.IN, sector, (DATA, length, WRITE)) == (Status.IOERR, 0)
    assert bench.request(Request.OUT, sector, (DATA, length, 0)) == (Status.IOERR, 1)
    assert bench.disk.calls == []
    assert bench.space.read(DATA, 512) == bytes(512)


def test_a_transfer_of_nothing_succeeds(bench):
    assert bench.request(Request.IN, SECTORS) == (Status.OK, 1)
    assert bench.request(Request.OUT, SECTORS) == (Status.OK, 1)


def test_a_readonly_disk_offers_it_and_refuses_every_change(readonly):
    assert readonly.driver.offered() & blk.F_RO
    assert not readonly.driver.offered() & (blk.F_DISCARD | blk.F_WRITE_ZEROES)
    assert readonly.request(Request.OUT, 0, (DATA, 512, 0)) == (Status.IOERR, 1)
    assert readonly.ranges(Request.DISCARD, (0, 1, 0)) == Status.UNSUPP
    assert readonly.ranges(Request.WRITE_ZEROES, (0, 1, 0)) == Status.UNSUPP
    assert readonly.disk.calls == []
    assert readonly.request(Request.IN, 1, (DATA, 512, WRITE)) == (Status.OK, 513)


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "broken"), OSError(errno.ENOSPC, "full")])
def test_a_failing_backend_is_an_io_error_and_the_device_lives_on(bench, failure):
    bench.disk.failure = failure
    assert bench.request(Request.IN, 0, (DATA, 512, WRITE)) == (Status.IOERR, 0)
    assert bench.request(Request.OUT, 0, (DATA, 512, 0)) == (Status.IOERR, 1)
    assert bench.request(Request.FLUSH) == (Status.IOERR, 1)
    bench.disk.failure = None
    assert bench.request(Request.IN, 0, (DATA, 512, WRITE)) == (Status.OK, 513)


def test_flush_reaches_the_backend(bench):
    assert bench.request(Request.FLUSH) == (Status.OK, 1)
    assert bench.disk.calls == [("flush",)]


def test_a_driver_that_cannot_flush_gets_a_disk_that_writes_through():
    bench = Bench(features=VERSION_1)
    assert bench.request(Request.OUT, 0, (DATA, 512, 0)) == (Status.OK, 1)
    assert bench.disk.calls == [("write", 0, 512), ("flush",)]
    bench.space.close()


@pytest.mark.parametrize("room", [0, 1, 6, 20, 100])
def test_get_id_fits_into_any_buffer(bench, room):
    bench.space.write(DATA, b"\xee" * 128)
    buffers = [(DATA, room, WRITE)] if room else []
    status, written = bench.request(Request.GET_ID, 0, *buffers)
    assert status == Status.OK
    assert written == (room + 1 if room <= 20 else 20)
    expected = b"disk-7".ljust(20, b"\0")[:room]
    assert bench.space.read(DATA, 128) == expected.ljust(128, b"\xee")


@pytest.mark.parametrize("kind", [2, 3, 5, 9, 14, 2**31, 2**32 - 1])
def test_unknown_requests_are_unsupported(bench, kind):
    assert bench.request(kind, 0, (DATA, 512, WRITE))[0] == Status.UNSUPP
    assert bench.disk.calls == []


def test_discard_and_write_zeroes_change_their_ranges(bench):
    assert bench.ranges(Request.DISCARD, (1, 2, 0), (10, 3, 0)) == Status.OK
    assert bench.disk.calls == [("discard", 512, 1024), ("discard", 5120, 1536)]
    for flags in (0, 1):
        assert bench.ranges(Request.WRITE_ZEROES, (3 + flags, 1, flags)) == Status.OK
    assert bench.disk.data[3 * 512 : 5 * 512] == bytes(1024)
    assert bench.disk.data[2 * 512] == 2 and bench.disk.data[5 * 512] == 5


@pytest.mark.parametrize("kind", [Request.DISCARD, Request.WRITE_ZEROES])
def test_ranges_that_make_no_sense_change_nothing(bench, kind):
    assert bench.ranges(kind, (2**64 - 1, 2**32 - 1, 0)) == Status.IOERR
    assert bench.ranges(kind, (SECTORS - 1, 2, 0)) == Status.IOERR
    assert bench.ranges(kind, (0, 1, 2)) == Status.UNSUPP
    assert bench.ranges(kind, (0, 1, 2**31)) == Status.UNSUPP
    assert bench.ranges(kind, *[(0, 1, 0)] * 17) == Status.IOERR
    assert bench.request(kind, 0, (DATA, 15, 0))[0] == Status.IOERR
    assert bench.request(kind, 0, (DATA, 17, 0))[0] == Status.IOERR
    assert bench.request(kind)[0] == Status.IOERR
    assert bench.disk.calls == []


def test_one_bad_range_spoils_the_whole_discard(bench):
    assert bench.ranges(Request.DISCARD, (0, 1, 0), (SECTORS, 1, 0)) == Status.IOERR
    assert bench.ranges(Request.DISCARD, (0, 1, 1)) == Status.UNSUPP
    assert bench.disk.calls == []


def test_zeroing_is_bounded_on_a_disk_of_any_size():
    bench = Bench(MemoryDisk(sectors=3 * blk.MAX_ZERO_SECTORS))
    assert bench.ranges(Request.WRITE_ZEROES, (0, blk.MAX_ZERO_SECTORS + 1, 0)) == Status.IOERR
    assert bench.ranges(Request.WRITE_ZEROES, (0, 1, 0), (1, 1, 0)) == Status.IOERR
    assert bench.ranges(Request.WRITE_ZEROES, (1, blk.MAX_ZERO_SECTORS, 0)) == Status.OK
    assert max(call[2] for call in bench.disk.calls if call[0] == "write") == blk.PIECE
    bench.space.close()


def test_features_that_were_not_taken_are_not_served():
    bench = Bench(features=VERSION_1 | blk.F_FLUSH)
    assert bench.ranges(Request.DISCARD, (0, 1, 0)) == Status.UNSUPP
    assert bench.ranges(Request.WRITE_ZEROES, (0, 1, 0)) == Status.UNSUPP
    bench.space.close()


@pytest.mark.parametrize(
    "buffers",
    [
        [(HEADER, 16, 0)],
        [(HEADER, 16, 0), (DATA, 512, 0)],
        [(HEADER, 15, 0), (STATUS, 1, WRITE)],
        [(STATUS, 1, WRITE)],
        [(HEADER, 16, WRITE), (STATUS, 1, WRITE)],
    ],
)
def test_a_chain_without_header_or_status_needs_a_reset(bench, buffers):
    bench.header(Request.IN)
    bench.queue.add(*buffers)
    bench.queue.kick()
    assert bench.driver.broken
    assert bench.space.read_u8(STATUS) == UNTOUCHED
    assert bench.disk.calls == []


def test_large_requests_are_served_a_batch_at_a_time(bench):
    bench.block.batch_bytes = 8 * SECTOR
    bench.header(Request.IN)
    for _ in range(4):
        bench.queue.add((HEADER, 16, 0), (DATA, 8 * SECTOR, WRITE), (STATUS, 1, WRITE))
    bench.queue.kick()
    assert len(bench.queue.collect()) == 1
    for _ in range(3):
        bench.clock.advance(1000)
        assert len(bench.queue.collect()) == 1
    assert bench.space.read_u8(STATUS) == Status.OK


def test_state_fits_only_the_same_disk(bench):
    state = bench.block.save()
    bench.block.load(state)
    for wrong in ({"size": SECTOR}, {"readonly": True}, {"readonly": 0}, {"more": 1}):
        with pytest.raises(SnapshotError):
            bench.block.load({**state, **wrong})


EDGES = [0, 1, SECTORS - 1, SECTORS, SECTORS + 1, 2**32, 2**55, 2**63, 2**64 - 1]
GPAS = [0, 0x1000, SLOT, RAM - 1, RAM, HEADER, DATA, RAM + SIZE - 1, RAM + SIZE, 2**64 - 1]
LENGTHS = [0, 1, 15, 16, 17, 511, 512, 513, 4096, SIZE, 2**31, 2**32 - 1]


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from([*Request, 2, 2**32 - 1]),
    sector=st.sampled_from(EDGES),
    payload=st.binary(max_size=64),
    extra=st.lists(
        st.tuples(st.sampled_from(GPAS), st.sampled_from(LENGTHS), st.sampled_from([0, WRITE])),
        max_size=4,
    ),
    tidy=st.booleans(),
    readonly=st.booleans(),
)
def test_any_request_is_answered_or_refused_within_the_disk(
    kind, sector, payload, extra, tidy, readonly
):
    bench = Bench(MemoryDisk(readonly=readonly))
    try:
        before = bytes(bench.disk.data)
        bench.header(kind, sector)
        bench.space.write(DATA, payload)
        if tidy:
            extra = [(HEADER, 16, 0), *sorted(extra, key=lambda each: each[2]), (STATUS, 1, WRITE)]
        bench.queue.add(*(extra or [(HEADER, 16, 0)]))
        bench.queue.kick()
        back = bench.queue.collect()
        assert bench.driver.broken == (back == [])
        assert all(written <= SIZE * 4 for _, written in back)
        assert not readonly or bench.disk.data == before
        assert not bench.space._faults, "an exception left the device"
    finally:
        bench.space.close()
