"""Hostile rings: each rule that a driver can break ends in DEVICE_NEEDS_RESET, and nothing else."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.clock import ManualClock
from lamina.bus.space import AddressSpace
from lamina.devices.virtio.device import VirtioDevice
from lamina.devices.virtio.mmio import F_EVENT_IDX, F_INDIRECT_DESC, VirtioMmio
from lamina.devices.virtio.queue import RingError
from lamina.testing.devices import RecordingLine
from lamina.testing.virtio import INDIRECT, NEXT, VERSION_1, WRITE, FakeDriver

RAM, RAM_SIZE = 0x8000_0000, 0x10_0000
ROM, SLOT = 0x1000, 0x1000_1000
RINGS, DATA, TABLE = RAM, RAM + 0x4_0000, RAM + 0x8_0000
ALL = VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX


class Echo(VirtioDevice):
    """Copies what it may read to where it may write."""

    name = "echo"
    device_id = 42
    queue_sizes = (16,)

    def handle(self, index, chain):
        return chain.write(chain.read(0x1_0000))


class Bench:
    """An echo device in a slot, and its driver."""

    def __init__(self, features=VERSION_1, size=8, ram_size=RAM_SIZE):
        self.space = AddressSpace()
        self.space.add_ram(RAM, ram_size, "ram")
        self.space.add_rom(ROM, 0x1000, "rom")
        self.clock = ManualClock()
        self.line = RecordingLine()
        self.slot = VirtioMmio("virtio0", self.line, self.space.dma, self.clock)
        self.slot.plug(Echo())
        self.space.add_device(SLOT, self.slot)
        self.driver = FakeDriver(self.space, SLOT, RINGS)
        assert self.driver.accept(features)
        self.queue = self.driver.queue(0, size)
        self.driver.start()
        assert not self.driver.broken

    def refused(self):
        """Kick; whether the device gave up, having used nothing."""
        self.queue.kick()
        return self.driver.broken and self.queue.used_idx() == 0


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.space.close()


def test_a_chain_is_read_written_and_given_back(bench):
    bench.space.write(DATA, b"ab")
    bench.space.write(DATA + 0x100, b"cde")
    head = bench.queue.add(
        (DATA, 2, 0), (DATA + 0x100, 3, 0), (DATA + 0x200, 4, WRITE), (DATA + 0x300, 9, WRITE)
    )
    bench.queue.kick()
    assert bench.queue.collect() == [(head, 5)]
    assert bench.space.read(DATA + 0x200, 4) == b"abcd"
    assert bench.space.read(DATA + 0x300, 2) == b"e\0"
    assert bench.line.level
    bench.driver.write(0x064, 1)
    assert not bench.line.level


def test_the_ring_wraps_for_ever(bench):
    for _ in range(70_000 // 8):
        heads = [bench.queue.add((DATA, 1, 0)) for _ in range(8)]
        bench.queue.kick()
        assert [head for head, _ in bench.queue.collect()] == heads
    assert bench.queue.avail_idx < 70_000 % 65536 + 8


@pytest.mark.parametrize("jump", [9, 100, 0x8000, 0xFFFF])
def test_avail_idx_too_far_ahead_or_backwards(bench, jump):
    bench.space.write_u16(bench.queue.avail + 2, jump)
    assert bench.refused()


def test_avail_idx_backwards_after_use(bench):
    bench.queue.add((DATA, 1, 0))
    bench.queue.kick()
    bench.space.write_u16(bench.queue.avail + 2, 0)
    bench.queue.kick()
    assert bench.driver.broken


@pytest.mark.parametrize("head", [8, 0xFFFF])
def test_head_out_of_range(bench, head):
    bench.queue.offer(head)
    assert bench.refused()


@pytest.mark.parametrize("length", [1, 2, 8])
def test_loops_of_any_length(bench, length):
    for at in range(length):
        bench.queue.describe(at, DATA, 1, NEXT, (at + 1) % length)
    bench.queue.offer(0)
    assert bench.refused()


@pytest.mark.parametrize("following", [8, 0xFFFF])
def test_next_out_of_range(bench, following):
    bench.queue.describe(0, DATA, 1, NEXT, following)
    bench.queue.offer(0)
    assert bench.refused()


BAD_BUFFERS = [
    (2**64 - 1, 2),
    (2**64 - 1, 0xFFFF_FFFF),
    (0, 1),
    (ROM, 1),
    (SLOT, 4),
    (RAM - 1, 2),
    (RAM + RAM_SIZE - 1, 2),
    (RAM + RAM_SIZE, 1),
    (RAM, RAM_SIZE + 1),
    (RAM, 0xFFFF_FFFF),
    (DATA, 0),
]


@pytest.mark.parametrize("flags", [0, WRITE])
@pytest.mark.parametrize(("gpa", "length"), BAD_BUFFERS)
def test_buffers_that_are_not_ram(bench, gpa, length, flags):
    bench.queue.add((DATA, 1, flags), (gpa, length, flags))
    assert bench.refused()


def test_readable_after_writable(bench):
    bench.queue.add((DATA, 1, WRITE), (DATA, 1, 0))
    assert bench.refused()


def test_one_head_twice_while_in_flight(bench):
    ring = bench.slot.queues[0]
    bench.queue.describe(0, DATA, 1, 0)
    bench.queue.offer(0)
    bench.queue.offer(0)
    chain = ring.pop()
    bench.queue.kick()
    assert bench.driver.broken
    ring.push(chain, 0)


def table(bench, *descriptors):
    import struct

    raw = b"".join(struct.pack("<QIHH", *descriptor) for descriptor in descriptors)
    bench.space.write(TABLE, raw)
    return len(raw)


def test_indirect_tables_work_alone_and_after_direct_descriptors():
    bench = Bench(ALL)
    bench.space.write(DATA, b"xyz")
    size = table(bench, (DATA, 3, NEXT, 1), (DATA + 64, 8, WRITE, 0))
    bench.queue.describe(3, TABLE, size, INDIRECT)
    bench.queue.offer(3)
    bench.queue.describe(4, DATA, 2, NEXT, 3)
    bench.queue.kick()
    bench.queue.offer(4)
    bench.queue.kick()
    assert bench.queue.collect() == [(3, 3), (4, 5)]
    assert bench.space.read(DATA + 64, 5) == b"xyxyz"


@pytest.mark.parametrize(
    ("descriptors", "size", "flags"),
    [
        ([(DATA, 1, 0, 0)], 0, INDIRECT),
        ([(DATA, 1, 0, 0)], 15, INDIRECT),
        ([(DATA, 1, 0, 0)], 17, INDIRECT),
        ([(DATA, 1, 0, 0)], 16 * 9, INDIRECT),
        ([(DATA, 1, 0, 0)], 0xFFFF_FFF0, INDIRECT),
        ([(DATA, 1, 0, 0)], 16, INDIRECT | NEXT),
        ([(TABLE, 16, INDIRECT, 0)], 16, INDIRECT),
        ([(DATA, 1, NEXT, 1)], 16, INDIRECT),
        ([(DATA, 1, NEXT, 0)], 16, INDIRECT),
    ],
)
def test_indirect_tables_that_break_a_rule(descriptors, size, flags):
    bench = Bench(ALL)
    table(bench, *descriptors)
    bench.queue.describe(0, TABLE, size, flags)
    bench.queue.offer(0)
    assert bench.refused()


@pytest.mark.parametrize("gpa", [SLOT, ROM, RAM + RAM_SIZE - 8, 2**64 - 16, 0])
def test_indirect_tables_outside_of_ram(gpa):
    bench = Bench(ALL)
    bench.queue.describe(0, gpa, 16, INDIRECT)
    bench.queue.offer(0)
    assert bench.refused()


def test_indirect_that_was_not_negotiated(bench):
    size = table(bench, (DATA, 1, 0, 0))
    bench.queue.describe(0, TABLE, size, INDIRECT)
    bench.queue.offer(0)
    assert bench.refused()


def test_chain_of_exactly_the_queue_size_is_taken(bench):
    head = bench.queue.add(*[(DATA, 1, 0)] * 8)
    bench.queue.kick()
    assert bench.queue.collect() == [(head, 0)]


def test_direct_and_indirect_together_longer_than_the_queue():
    bench = Bench(ALL)
    size = table(bench, *[(DATA, 1, NEXT, n + 1) for n in range(7)], (DATA, 1, 0, 0))
    bench.queue.describe(0, DATA, 1, NEXT, 1)
    bench.queue.describe(1, TABLE, size, INDIRECT)
    bench.queue.offer(0)
    assert bench.refused()


@pytest.mark.parametrize("size", [0, 3, 5, 17, 32, 0x8000, 0xFFFF, 0x1_0000, 0xFFFF_FFFF])
def test_queue_sizes_that_cannot_be(bench, size):
    bench.driver.accept(VERSION_1)
    bench.driver.queue(0, size)
    assert bench.driver.broken


@pytest.mark.parametrize("register", [0x080, 0x090, 0x0A0])
@pytest.mark.parametrize("gpa", [RAM + 1, RAM + RAM_SIZE - 16, ROM, SLOT, 2**64 - 16, 0])
def test_rings_outside_of_ram_or_misaligned(bench, register, gpa):
    driver = bench.driver
    driver.accept(VERSION_1)
    for at in (0x080, 0x090, 0x0A0):
        value = gpa if at == register else RINGS
        driver.write(at, value & 0xFFFF_FFFF)
        driver.write(at + 4, value >> 32)
    driver.write(0x044, 1)
    assert driver.broken
    assert driver.read(0x044) == 0


def test_rings_on_top_of_each_other_hurt_the_guest_alone(bench):
    driver = bench.driver
    driver.accept(VERSION_1)
    for at in (0x080, 0x090, 0x0A0):
        driver.write(at, RAM)
        driver.write(at + 4, 0)
    driver.write(0x044, 1)
    driver.start()
    bench.space.write(RAM, bytes(range(256)) * 4)
    for _ in range(50):
        driver.write(0x050, 0)
    assert driver.read(0x000) == 0x7472_6976


def test_interrupt_suppression_by_flag_and_by_event_idx():
    plain = Bench(VERSION_1)
    plain.space.write_u16(plain.queue.avail, 1)
    plain.queue.add((DATA, 1, 0))
    plain.queue.kick()
    assert not plain.line.level
    event = Bench(ALL)
    event.space.write_u16(event.queue.avail + 4 + 2 * 8, 1)
    event.queue.add((DATA, 1, 0))
    event.queue.kick()
    assert not event.line.level
    event.queue.add((DATA, 1, 0))
    event.queue.kick()
    assert event.line.level
    assert event.space.read_u16(event.queue.used + 4 + 8 * 8) == 2


def test_a_late_completion_after_reset_is_dropped(bench):
    bench.queue.add((DATA, 1, 0))
    ring = bench.slot.queues[0]
    chain = ring.pop()
    assert bench.driver.accept(VERSION_1)
    bench.driver.queue(0, 8)
    before = bench.space.read(RINGS, 0x8000)
    ring.push(chain, 7)
    assert bench.space.read(RINGS, 0x8000) == before


def test_a_late_completion_cannot_take_the_place_of_a_new_request(bench):
    ring = bench.slot.queues[0]
    bench.queue.add((DATA, 1, 0))
    late = ring.pop()
    bench.driver.accept(VERSION_1)
    bench.space.write(RINGS, bytes(0x8000))
    bench.queue = bench.driver.queue(0, 8)
    bench.queue.add((DATA, 1, 0))
    fresh = ring.pop()
    assert late.head == fresh.head
    ring.push(late, 7)
    assert bench.queue.collect() == []
    ring.push(fresh, 9)
    assert bench.queue.collect() == [(0, 9)]


def test_a_chain_of_more_than_4_gib_is_refused():
    bench = Bench(ram_size=0x8000_0000)
    bench.queue.add(*[(RAM, 0x8000_0000, WRITE)] * 2)
    bench.queue.add(*[(RAM, 0x8000_0000, WRITE)] * 2, (RAM, 1, WRITE))
    ring = bench.slot.queues[0]
    assert ring.pop().writable_bytes == 1 << 32
    with pytest.raises(RingError):
        ring.pop()
    bench.space.close()


def test_a_queue_that_fills_while_it_is_served_is_taken_up_again(bench):
    """The device gives way after a batch, and comes back by its timer."""
    bench.slot.device.batch = 2
    for _ in range(7):
        bench.queue.add((DATA, 1, 0))
    bench.queue.kick()
    assert bench.queue.used_idx() == 2
    bench.clock.advance(10_000)
    assert bench.queue.used_idx() == 7
    assert bench.clock.armed() == {}


def test_descriptors_rewritten_by_another_vcpu_are_harmless():
    bench = Bench(ALL, size=16)
    stop = threading.Event()

    def rewrite():
        view = bench.space.find_ram(RAM, 1).view
        step = 0
        while not stop.is_set():
            step += 1
            view[(step * 37) % 256] = (step * 13) & 0xFF

    attacker = threading.Thread(target=rewrite)
    attacker.start()
    try:
        for _ in range(300):
            bench.queue.add((DATA, 64, 0), (DATA + 64, 64, WRITE))
            bench.queue.kick()
            if bench.driver.broken:
                bench.space.write(RINGS, bytes(0x8000))
                assert bench.driver.accept(ALL)
                bench.queue = bench.driver.queue(0, 16)
                bench.driver.start()
    finally:
        stop.set()
        attacker.join()
    assert bench.driver.read(0x008) == 42


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=128, max_size=128), st.binary(max_size=40), st.booleans())
def test_random_rings_never_raise_and_never_reach_past_ram(descriptors, avail, indirect):
    bench = Bench(ALL if indirect else VERSION_1)
    guard = bench.space.read(ROM, 0x1000)
    bench.space.write(bench.queue.desc, descriptors)
    bench.space.write(bench.queue.avail, avail)
    for _ in range(3):
        bench.slot.run(0)
        bench.clock.advance(5000)
    assert bench.space.read(ROM, 0x1000) == guard
    bench.space.close()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.sampled_from([DATA, DATA + 7, RAM + RAM_SIZE - 4, TABLE, RINGS, ROM, 2**64 - 2]),
            st.sampled_from([0, 1, 4, 16, 48, 0xFFFF_FFFF]),
            st.integers(0, 7),
            st.integers(0, 9),
        ),
        max_size=16,
    ),
    st.lists(st.integers(0, 9), max_size=8),
)
def test_plausible_but_wrong_rings_never_raise(descriptors, heads):
    bench = Bench(ALL)
    for at, gpa, length, flags, following in descriptors:
        bench.queue.describe(at, gpa, length, flags, following)
    for head in heads:
        bench.queue.offer(head)
    bench.slot.run(0)
    used = bench.queue.used_idx()
    assert used <= len(heads) or bench.driver.broken or any(d[1] == RINGS for d in descriptors)
    bench.space.close()
