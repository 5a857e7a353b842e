"""The entropy and console devices behind real rings."""

import pytest

from lamina.base.clock import ManualClock
from lamina.bus.space import AddressSpace
from lamina.devices.virtio.console import BACKLOG, MAX_OUTPUT, VirtioConsole
from lamina.devices.virtio.mmio import VirtioMmio
from lamina.devices.virtio.rng import CHUNK, VirtioRng
from lamina.testing.devices import ByteSink, RecordingLine
from lamina.testing.virtio import VERSION_1, WRITE, FakeDriver

RAM, SIZE, SLOT = 0x8000_0000, 0x80_0000, 0x1000_1000
DATA = RAM + 0x10_0000


@pytest.fixture
def space():
    space = AddressSpace()
    space.add_ram(RAM, SIZE, "ram")
    yield space
    space.close()


def start(space, device):
    slot = VirtioMmio("virtio0", RecordingLine(), space.dma, ManualClock())
    slot.plug(device)
    space.add_device(SLOT, slot)
    driver = FakeDriver(space, SLOT, RAM)
    assert driver.accept(VERSION_1)
    queues = [driver.queue(index, 16) for index in range(len(device.queue_sizes))]
    driver.start()
    return driver, queues


@pytest.fixture
def asked():
    return []


@pytest.fixture
def rng(space, asked):
    def source(count):
        asked.append(count)
        return bytes([0xA5]) * count

    driver, (queue,) = start(space, VirtioRng(source))
    return driver, queue


def test_rng_fills_the_whole_of_a_small_buffer_and_no_more(space, rng):
    _, queue = rng
    queue.add((DATA, 5, WRITE), (DATA + 16, 3, WRITE))
    queue.kick()
    assert queue.collect() == [(0, 8)]
    assert space.read(DATA, 20) == b"\xa5" * 5 + bytes(11) + b"\xa5" * 3 + bytes(1)


def test_rng_caps_what_one_notification_can_cost(space, rng, asked):
    _, queue = rng
    for _ in range(16):
        queue.add((DATA, SIZE - 0x10_0000, WRITE))
    queue.kick()
    assert queue.collect() == [(head, CHUNK) for head in range(16)]
    assert sum(asked) == 16 * CHUNK


def test_rng_refuses_buffers_to_read(rng):
    driver, queue = rng
    queue.add((DATA, 4, 0), (DATA, 4, WRITE))
    queue.kick()
    assert driver.broken


def test_rng_survives_a_million_empty_notifications_without_asking(rng, asked):
    driver, queue = rng
    for _ in range(20_000):
        queue.kick()
    assert not driver.broken and asked == []


@pytest.fixture
def console(space):
    sink = ByteSink()
    device = VirtioConsole(sink)
    driver, (receive, transmit) = start(space, device)
    return device, sink, driver, receive, transmit


def test_console_output_in_order_over_several_buffers(space, console):
    _, sink, _, _, transmit = console
    space.write(DATA, b"hello, world")
    transmit.add((DATA, 7, 0), (DATA + 7, 5, 0))
    transmit.kick()
    assert sink.data == b"hello, world"
    assert transmit.collect() == [(0, 0)]


def test_console_output_beyond_reason_is_refused(console):
    _, sink, driver, _, transmit = console
    transmit.add((RAM, MAX_OUTPUT // 2, 0), (RAM, MAX_OUTPUT // 2, 0), (RAM, 1, 0))
    transmit.kick()
    assert driver.broken and sink.data == b""


def test_console_input_waits_for_buffers_and_fills_them(space, console):
    device, _, _, receive, _ = console
    assert device.receive(b"abcdef") == 6
    assert receive.collect() == []
    receive.add((DATA, 4, WRITE))
    receive.kick()
    assert receive.collect() == [(0, 4)]
    receive.add((DATA + 8, 100, WRITE))
    receive.kick()
    assert receive.collect() == [(1, 2)]
    assert space.read(DATA, 10) == b"abcd\0\0\0\0ef"
    receive.add((DATA + 16, 100, WRITE))
    receive.kick()
    assert receive.collect() == []
    assert device.receive(b"now") == 3
    assert receive.collect() == [(2, 3)]


def test_console_backlog_is_bounded(console):
    device = console[0]
    assert device.receive(bytes(BACKLOG + 5)) == BACKLOG
    assert device.room == 0
    assert device.receive(b"x") == 0


def test_console_receive_buffer_that_is_readable_is_refused(console):
    device, _, driver, receive, _ = console
    receive.add((DATA, 4, 0))
    device.receive(b"x")
    assert driver.broken
    assert device.save()["backlog"] == b"x"


def test_console_without_a_size_offers_none(console):
    _, _, driver, _, _ = console
    assert driver.offered() & 1 == 0
