"""The address space: mapping, faults, host access, DMA, and devices that fail."""

import logging
from typing import Any

import pytest

from lamina.base.errors import BusError, ConfigError
from lamina.bus.dma import DmaFault
from lamina.bus.irq import IrqLine
from lamina.bus.memory import MUCH
from lamina.bus.space import AddressSpace
from lamina.devices.device import Device, TreeNode

RAM = 0x8000_0000
SIZE = 0x10_0000


class Register(Device):
    """One that remembers its accesses, and fails on demand."""

    name = "register"
    size = 0x100

    def __init__(self) -> None:
        self.accesses: list[tuple[int, ...]] = []
        self.error: BaseException | None = None

    def read(self, offset: int, size: int) -> int:
        self.accesses.append((offset, size))
        if self.error:
            raise self.error
        return 0x1122_3344_5566_7788

    def write(self, offset: int, size: int, value: int) -> None:
        self.accesses.append((offset, size, value))
        if self.error:
            raise self.error

    def reset(self) -> None: ...

    def save(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None: ...

    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        return tree


@pytest.fixture
def space():
    space = AddressSpace()
    space.add_ram(RAM, SIZE, "ram")
    space.add_rom(0x1000, 0x1000, "rom")
    yield space
    space.close()


def test_ram_keeps_little_endian_values(space):
    space.write_u64(RAM, 0x0102_0304_0506_0708)
    assert space.read(RAM, 8) == bytes.fromhex("0807060504030201")
    assert (space.read_u8(RAM), space.read_u16(RAM), space.read_u32(RAM)) == (8, 0x708, 0x5060708)
    space.write_u8(RAM, 0x1FF)
    assert space.read_u64(RAM) == 0x0102_0304_0506_07FF


@pytest.mark.parametrize("length", [MUCH - 1, MUCH, MUCH + 4097])
def test_much_is_written_as_little_is(length):
    space = AddressSpace()
    ram = space.add_ram(RAM, 4 * MUCH, "ram")
    ram.view[:] = b"\xaa" * ram.size
    data = bytes(range(251)) * (length // 251 + 1)
    space.write(RAM + 4099, data[:length])
    assert ram.view[4098] == ram.view[4099 + length] == 0xAA
    assert ram.view[4099 : 4099 + length] == data[:length]
    space.close()


def test_host_address_and_view_show_the_same_memory(space):
    import ctypes

    region = space.find_ram(RAM, SIZE)
    space.write(RAM + 16, b"lamina")
    assert ctypes.string_at(region.host_address + 16, 6) == b"lamina"
    assert bytes(region.view[16:22]) == b"lamina"


@pytest.mark.parametrize(
    ("gpa", "length"),
    [
        (RAM - 1, 1),
        (RAM - 1, 2),
        (RAM + SIZE, 1),
        (RAM + SIZE - 4, 8),
        (RAM, SIZE + 1),
        (0, 1),
        (2**64 - 1, 2),
        (RAM, 2**64),
        (RAM, -1),
    ],
)
def test_host_access_outside_ram_is_a_bus_error(space, gpa, length):
    with pytest.raises(BusError):
        space.read(gpa, length)
    with pytest.raises(DmaFault):
        space.dma.read(gpa, length)
    with pytest.raises(DmaFault):
        space.dma.check(gpa, length)


def test_the_lock_is_held_in_every_device_call(space):
    class Locked(Register):
        def read(self, offset, size):
            return int(space.lock._is_owned())

        def write(self, offset, size, value):
            self.accesses.append((space.lock._is_owned(),))

    device = Locked()
    space.add_device(0x2000, device)
    assert space.mmio_read(0x2000, 4) == 1
    space.mmio_write(0x2000, 4, 0)
    assert device.accesses == [(True,)]
    assert not space.lock._is_owned()


def test_dma_never_reaches_rom_or_registers(space):
    register = Register()
    space.add_device(0x10_0000, register)
    for gpa in (0x1000, 0x10_0000):
        with pytest.raises(DmaFault):
            space.dma.write(gpa, b"\1")
        with pytest.raises(DmaFault):
            space.dma.read(gpa, 1)
    assert register.accesses == []
    assert space.read(0x1000, 4) == bytes(4)


def test_watchers_hear_of_stores_that_no_vcpu_made(space):
    heard = []
    space.write_watchers.append(lambda gpa, length: heard.append((gpa, length)))
    space.write(RAM, b"abc")
    space.dma.write(RAM + 8, b"defg")
    assert heard == [(RAM, 3), (RAM + 8, 4)]


@pytest.mark.parametrize("base", [RAM, RAM + SIZE - 1, RAM - 0xFF, 0x1F01, 0xF01])
def test_overlap_with_memory_is_refused(space, base):
    with pytest.raises(ConfigError, match="overlaps"):
        space.add_device(base, Register())


def test_overlap_with_a_device_is_refused_and_neighbours_are_not(space):
    space.add_device(0x2000, Register())
    space.add_device(0x2100, Register())
    with pytest.raises(ConfigError, match="register at 0x20ff-0x21fe overlaps register"):
        space.add_device(0x20FF, Register())
    with pytest.raises(ConfigError):
        space.add_ram(0x2000, 0x1000, "more")


@pytest.mark.parametrize(("base", "size"), [(2**64 - 0x1000, 0x2000), (-0x1000, 0x1000), (0, 0)])
def test_regions_outside_of_64_bits_are_refused(space, base, size):
    with pytest.raises(ConfigError):
        space.add_ram(base, size, "odd")


def test_regions_of_broken_pages_are_refused(space):
    with pytest.raises(ConfigError, match="4 KiB"):
        space.add_ram(0x9000_0000, 0x1001, "odd")


def test_accesses_arrive_at_their_device_cut_to_size(space):
    first, second = Register(), Register()
    space.add_device(0x3000, second)
    space.add_device(0x2000, first)
    assert space.mmio_read(0x2004, 4) == 0x5566_7788
    assert space.mmio_read(0x3008, 8) == 0x1122_3344_5566_7788
    assert space.mmio_write(0x30FF, 1, 0xABC)
    assert first.accesses == [(4, 4)]
    assert second.accesses == [(8, 8), (0xFF, 1, 0xBC)]


@pytest.mark.parametrize(
    ("gpa", "size"),
    [
        (8191, 1),
        (8448, 1),
        (8447, 2),
        (8444, 8),
        (8193, 2),
        (8196, 8),
        (8192, 3),
        (8192, 16),
        (8192, 0),
        (0, 4),
        (2**64 - 1, 1),
        (RAM, 4),
        (4096, 4),
    ],
)
def test_bad_accesses_are_bus_faults_that_no_device_sees(space, gpa, size):
    register = Register()
    space.add_device(0x2000, register)
    assert space.mmio_read(gpa, size) is None
    assert space.mmio_write(gpa, size, 1) is False
    assert register.accesses == []


def test_widths_that_a_device_lacks_are_bus_faults(space):
    register = Register()
    register.access_sizes = frozenset({4})
    space.add_device(0x2000, register)
    assert [space.mmio_read(0x2000, size) is not None for size in (1, 2, 4, 8)] == [0, 0, 1, 0]


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError(), MemoryError(), KeyError(1)])
def test_a_failing_device_reads_zero_and_is_logged_ever_more_rarely(space, caplog, error):
    register = Register()
    register.error = error
    space.add_device(0x2000, register)
    with caplog.at_level(logging.ERROR):
        assert all(space.mmio_read(0x2000, 4) == 0 for _ in range(500))
        assert all(space.mmio_write(0x2000, 4, 7) for _ in range(500))
    assert 5 <= len(caplog.records) <= 12
    assert caplog.records[0].exc_info and not caplog.records[1].exc_info


def test_a_closed_space_gives_its_descriptors_back():
    import os

    before = len(os.listdir("/proc/self/fd"))
    space = AddressSpace()
    region = space.add_ram(RAM, SIZE, "ram")
    held = region.view[0:4]
    space.close()
    space.close()
    assert len(os.listdir("/proc/self/fd")) == before + 1  # the map's own, until `held` goes
    held.release()


def test_lines_tell_edges_only():
    edges = []
    line = IrqLine(edges.append)
    for level in (False, True, True, False, False, True):
        line.set(level)
    assert edges == [True, False, True]
    unconnected = IrqLine.unconnected()
    unconnected.set(True)
    assert unconnected.level
