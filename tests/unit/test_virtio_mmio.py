"""The MMIO transport: registers, negotiation, the status machine, snapshots."""

import pytest

from lamina.base.clock import ManualClock
from lamina.base.errors import SnapshotError
from lamina.bus.space import AddressSpace
from lamina.devices.virtio.console import VirtioConsole
from lamina.devices.virtio.mmio import (
    F_EVENT_IDX,
    F_INDIRECT_DESC,
    F_RING_RESET,
    F_VERSION_1,
    VirtioMmio,
)
from lamina.testing.devices import ByteSink, RecordingLine
from lamina.testing.virtio import DRIVER_OK, FEATURES_OK, NEEDS_RESET, WRITE, FakeDriver

RAM, SLOT = 0x8000_0000, 0x1000_1000


class Bench:
    def __init__(self, plug=True):
        self.space = AddressSpace()
        self.space.add_ram(RAM, 0x10_0000, "ram")
        self.clock = ManualClock()
        self.line = RecordingLine()
        self.sink = ByteSink()
        self.console = VirtioConsole(self.sink, size=(80, 25))
        self.slot = VirtioMmio("virtio0", self.line, self.space.dma, self.clock)
        if plug:
            self.slot.plug(self.console)
        self.space.add_device(SLOT, self.slot)
        self.driver = FakeDriver(self.space, SLOT, RAM)

    def start(self, features=F_VERSION_1):
        assert self.driver.accept(features)
        self.receive, self.transmit = self.driver.queue(0, 8), self.driver.queue(1, 8)
        self.driver.start()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.space.close()


def test_an_empty_slot_is_device_zero_whatever_is_written():
    bench = Bench(plug=False)
    for offset in range(0, 0x200, 4):
        bench.driver.write(offset, 0xFFFF_FFFF)
    values = {offset: bench.driver.read(offset) for offset in range(0, 0x1000, 4)}
    assert {offset for offset, value in values.items() if value} == {0x000, 0x004, 0x00C}
    assert (values[0x000], values[0x004], values[0x008]) == (0x7472_6976, 2, 0)


def test_identification_and_offered_features(bench):
    assert [bench.driver.read(offset) for offset in (0, 4, 8)] == [0x7472_6976, 2, 3]
    expected = F_VERSION_1 | F_EVENT_IDX | F_INDIRECT_DESC | F_RING_RESET | 1
    assert bench.driver.offered() == expected
    bench.driver.write(0x014, 2)
    assert bench.driver.read(0x010) == 0


def test_negotiation_takes_nothing_that_was_not_offered(bench):
    assert bench.driver.accept(F_VERSION_1)
    assert bench.driver.accept(bench.driver.offered())
    assert not bench.driver.accept(F_VERSION_1 | 1 << 1)
    assert not bench.driver.accept(F_VERSION_1 | 1 << 63)


def test_a_driver_that_never_looks_at_the_upper_features_is_served(bench):
    """As xv6's, which writes the lower half and no selector."""
    bench.start(features=F_INDIRECT_DESC)
    assert bench.slot.accepted == F_INDIRECT_DESC
    bench.space.write(RAM + 0x8_0000, b"hi")
    bench.transmit.add((RAM + 0x8_0000, 2, 0))
    bench.transmit.kick()
    assert bench.sink.data == b"hi" and not bench.driver.broken


def test_xv6_finds_the_vendor_that_it_insists_on(bench):
    assert bench.driver.read(0x00C) == 0x554D_4551


def test_no_feature_is_in_use_before_features_ok(bench):
    bench.driver.write(0x070, 3)
    bench.driver.write(0x020, F_INDIRECT_DESC)
    assert bench.slot.accepted == 0


def test_features_do_not_change_after_features_ok(bench):
    assert bench.driver.accept(F_VERSION_1)
    bench.driver.write(0x024, 0)
    bench.driver.write(0x020, 0xFFFF_FFFF)
    bench.driver.write(0x070, 15)
    assert bench.slot.save()["driver_features"] == F_VERSION_1


def test_driver_ok_without_features_ok_is_refused(bench):
    bench.driver.write(0x070, 7)
    assert bench.driver.broken
    assert not bench.driver.status & DRIVER_OK
    bench.driver.write(0x070, 0)
    assert bench.driver.status == 0


def test_status_bits_cannot_be_taken_back_or_invented(bench):
    bench.driver.accept(F_VERSION_1)
    bench.driver.write(0x070, 1)
    assert bench.driver.status == 11
    bench.driver.write(0x070, 0xFFFF_FF30 | NEEDS_RESET)
    assert bench.driver.status & ~(3 | FEATURES_OK | 128) == 0


def test_notifications_before_driver_ok_and_of_no_queue_are_ignored(bench):
    assert bench.driver.accept(F_VERSION_1)
    queue = bench.driver.queue(1, 8)
    bench.space.write(RAM + 0x8_0000, b"early")
    queue.add((RAM + 0x8_0000, 5, 0))
    for index in (0, 1, 2, 0xFFFF, 0xFFFF_FFFF):
        bench.driver.write(0x050, index)
    assert bench.sink.data == b""
    bench.driver.start()
    assert bench.sink.data == b"early"
    assert not bench.driver.broken


def test_a_running_queue_cannot_be_moved_or_resized(bench):
    bench.start()
    before = bench.slot.queues[1].save()
    bench.driver.write(0x030, 1)
    for register in (0x038, 0x080, 0x084, 0x090, 0x094, 0x0A0, 0x0A4):
        bench.driver.write(register, 4)
    assert bench.slot.queues[1].save() == before


def test_queue_registers_of_a_queue_that_is_not_there(bench):
    bench.driver.write(0x030, 2)
    for register in (0x038, 0x044, 0x080, 0x0C0):
        bench.driver.write(register, 1)
    assert bench.driver.read(0x034) == 0
    assert bench.driver.read(0x044) == 0


def test_queue_reset_works_when_negotiated_only(bench):
    for features, ready in ((F_VERSION_1, 1), (F_VERSION_1 | F_RING_RESET, 0)):
        bench.start(features)
        bench.driver.write(0x030, 1)
        bench.driver.write(0x0C0, 1)
        assert bench.driver.read(0x044) == ready
        assert bench.driver.read(0x0C0) == 0
    queue = bench.driver.queue(1, 4)
    bench.space.write(RAM + 0x8_0000, b"again")
    queue.add((RAM + 0x8_0000, 5, 0))
    queue.kick()
    assert bench.sink.data == b"again"


def test_shared_memory_is_absent_and_reads_all_ones(bench):
    assert [bench.driver.read(offset) for offset in (0x0B0, 0x0B4)] == [0xFFFF_FFFF] * 2


def test_a_broken_driver_is_told_by_interrupt_and_stays_stopped_until_reset(bench):
    bench.start()
    bench.transmit.offer(77)
    bench.transmit.kick()
    assert bench.driver.broken
    assert bench.line.level and bench.driver.read(0x060) & 2
    bench.space.write(RAM + 0x8_0000, b"x")
    bench.receive.add((RAM + 0x8_0000, 1, WRITE))
    bench.console.receive(b"x")
    assert bench.receive.used_idx() == 0
    bench.driver.write(0x070, 0)
    assert not bench.line.level
    bench.space.write(RAM, bytes(0x1_0000))
    bench.start()
    bench.receive.add((RAM + 0x8_0000, 1, WRITE))
    bench.receive.kick()
    assert bench.receive.collect() == [(0, 1)]


@pytest.mark.parametrize("size", [1, 2, 8])
def test_registers_ignore_other_widths_than_32_bits(bench, size):
    for offset in range(0, 0x100, size):
        assert bench.space.mmio_read(SLOT + offset, size) == 0
        bench.space.mmio_write(SLOT + offset, size, 2**64 - 1)
    assert bench.driver.status == 0


def test_configuration_space_reads_with_any_width_and_zero_beyond(bench):
    assert bench.driver.read(0x100, 1) == 80
    assert bench.driver.read(0x102, 2) == 25
    assert bench.driver.read(0x100, 8) == 80 | 25 << 16
    assert bench.driver.read(0x10C, 4) == bench.driver.read(0xFF8, 8) == 0


def test_config_change_bumps_the_generation_and_interrupts(bench):
    bench.console.resize(100, 30)
    assert not bench.line.level
    bench.start(F_VERSION_1 | 1)
    generation = bench.driver.read(0x0FC)
    bench.console.resize(120, 1_000_000)
    assert bench.driver.read(0x0FC) == generation + 1
    assert bench.driver.read(0x060) == 2
    assert bench.driver.read(0x102, 2) == 0xFFFF


def test_a_restored_device_goes_on_where_the_saved_one_stopped(bench):
    bench.start(F_VERSION_1 | F_EVENT_IDX)
    bench.space.write(RAM + 0x8_0000, b"onetwo")
    bench.transmit.add((RAM + 0x8_0000, 3, 0))
    bench.transmit.kick()
    bench.transmit.add((RAM + 0x8_0003, 3, 0))
    other = Bench()
    other.space.write(RAM, bench.space.read(RAM, 0x10_0000))
    other.slot.load(bench.slot.save())
    assert other.slot.save() == bench.slot.save()
    assert other.line.level == bench.line.level
    other.clock.advance(5000)
    assert bench.sink.data + other.sink.data == b"onetwo"
    assert other.space.read_u16(bench.transmit.used + 2) == 2


def queue_with(state, **changes):
    return [{**state["queues"][0], **changes}, state["queues"][1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"device_id": 4},
        lambda s: {"status": DRIVER_OK},
        lambda s: {"status": 0x3F},
        lambda s: {"status": 256},
        lambda s: {"driver_features": 2**64 - 1},
        lambda s: {"interrupts": 4},
        lambda s: {"queue_sel": 2**32},
        lambda s: {"queues": []},
        lambda s: {"queues": [None, None]},
        lambda s: {"queues": queue_with(s, size=3)},
        lambda s: {"queues": queue_with(s, desc=0)},
        lambda s: {"queues": queue_with(s, used=2**64 - 4)},
        lambda s: {"queues": queue_with(s, next_avail=2**16)},
        lambda s: {"queues": queue_with(s, ready=1)},
        lambda s: {"device": {}},
        lambda s: {"device": {"backlog": "text", "size": [0, 0]}},
        lambda s: {"device": {"backlog": b"", "size": [0, 2**16]}},
    ],
)
def test_bad_state_is_refused_and_changes_nothing(bench, change):
    bench.start()
    before = bench.slot.save()
    with pytest.raises(SnapshotError):
        bench.slot.load({**before, **change(before)})
    assert bench.slot.save() == before
