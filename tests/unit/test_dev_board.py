"""The whole virt board: wiring, hostile accesses everywhere, saved and restored."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.clock import ManualClock
from lamina.base.errors import ConfigError, SnapshotError
from lamina.base.units import GIB, MIB
from lamina.bus.space import AddressSpace
from lamina.devices.finisher import ShutdownKind
from lamina.devices.virtio.console import VirtioConsole
from lamina.devices.virtio.rng import VirtioRng
from lamina.machine.boards import virt
from lamina.machine.boards.reset_vector import RESET_PC, reset_vector
from lamina.machine.boards.virt import build_virt, plug_virtio
from lamina.testing.devices import ByteSink, FakeHartLines

SIZES = {
    "finisher": 0x1000,
    "rtc": 0x1000,
    "clint": 0x1_0000,
    "plic": 0x60_0000,
    "uart0": 0x100,
} | {f"virtio{slot}": 0x1000 for slot in range(8)}


class Bench:
    """A board of two harts with two virtio devices, and all that it drives."""

    def __init__(self, harts=2, ram_size=32 * MIB):
        self.space = AddressSpace()
        self.lines, self.clock, self.sink = FakeHartLines(), ManualClock(), ByteSink()
        self.exits = []
        self.board = build_virt(
            self.space,
            harts,
            ram_size,
            self.lines,
            self.clock,
            self.sink,
            self.exits.append,
            "rv64imac_zicsr",
            "sv39",
        )
        plug_virtio(self.board, VirtioRng(bytes))
        plug_virtio(self.board, VirtioConsole(self.sink, (80, 25)), slot=7)
        self.bases = {device.name: base for base, device in self.space.devices}


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.space.close()


def test_the_memory_map_is_that_of_qemus_virt(bench):
    assert {name: device.size for name, device in bench.board.devices.items()} == SIZES
    assert bench.bases["finisher"] == 0x10_0000
    assert bench.bases["rtc"] == 0x10_1000
    assert bench.bases["clint"] == 0x200_0000
    assert bench.bases["plic"] == 0xC00_0000
    assert bench.bases["uart0"] == 0x1000_0000
    assert [bench.bases[f"virtio{n}"] for n in (0, 7)] == [0x1000_1000, 0x1000_8000]
    regions = [(region.base, region.size, region.readonly) for region in bench.space.ram_regions]
    assert regions == [(0x1000, 0xF000, True), (0x8000_0000, 32 * MIB, False)]
    irq = {"rtc": 11, "uart0": 10} | {f"virtio{n}": n + 1 for n in range(8)}
    assert bench.board.irq == irq


def test_console_input_travels_from_uart_over_plic_to_the_supervisor_pin(bench):
    space = bench.space
    space.mmio_write(virt.PLIC + 4 * 10, 4, 1)
    space.mmio_write(virt.PLIC + 0x2000 + 0x80 * 3, 4, 1 << 10)  # context 3: hart 1, supervisor
    space.mmio_write(virt.UART + 1, 1, 1)
    bench.board.devices["uart0"].receive(b"x")
    assert bench.lines.level(1, 9)
    assert not bench.lines.level(0, 9) and not bench.lines.level(1, 11)
    assert space.mmio_read(virt.PLIC + 0x20_0004 + 0x1000 * 3, 4) == 10
    assert not bench.lines.level(1, 9)
    assert space.mmio_read(virt.UART, 1) == ord("x")


def test_clint_drives_the_machine_pins(bench):
    bench.space.mmio_write(virt.CLINT + 4, 4, 1)
    assert bench.lines.level(1, 3) and not bench.lines.level(0, 3)
    bench.space.mmio_write(virt.CLINT + 0x4000, 8, 100)
    bench.clock.advance(100)
    assert bench.lines.level(0, 7) and not bench.lines.level(1, 7)


def test_finisher_reaches_the_machine(bench):
    bench.space.mmio_write(virt.FINISHER, 4, 0x7777)
    assert [request.kind for request in bench.exits] == [ShutdownKind.REBOOT]


def test_boot_rom_is_read_only_to_the_guest_and_holds_the_reset_vector(bench):
    rom = reset_vector(0x8000_0000, 0x8700_0000, 0x8020_0000)
    bench.space.write(RESET_PC, rom)
    assert not bench.space.mmio_write(RESET_PC, 4, 0)
    assert bench.space.read(RESET_PC, len(rom)) == rom


def test_reset_vector_is_the_golden_one():
    words = ["00000297", "02828613", "f1402573", "0202b583", "0182b283", "00028067"]
    code = b"".join(bytes.fromhex(word)[::-1] for word in words)
    data = (0x8000_0000, 0x8700_0000, 0x4942_534F, 2, 0x8020_0000, 1, 0, 3)
    expected = code + b"".join(value.to_bytes(8, "little") for value in data)
    assert reset_vector(0x8000_0000, 0x8700_0000, 0x8020_0000, 3) == expected


@pytest.mark.parametrize(
    ("harts", "ram_size"),
    [
        (0, GIB),
        (-1, GIB),
        (17, GIB),
        (1000, GIB),
        (1, 0),
        (1, 1),
        (1, 32 * MIB - 4096),
        (1, 64 * GIB + MIB),
        (1, 64 * MIB + 1),
        (1, -GIB),
        (1, 2**70),
    ],
)
def test_impossible_boards_are_refused(harts, ram_size):
    with pytest.raises(ConfigError, match="virt: "):
        Bench(harts, ram_size)


def test_largest_board_can_be_built():
    bench = Bench(16, 64 * GIB)
    bench.space.write_u8(0x8000_0000 + 64 * GIB - 1, 7)
    bench.space.close()


def test_virtio_slots_fill_up_and_then_refuse(bench):
    slots = [plug_virtio(bench.board, VirtioRng(bytes)).name for _ in range(6)]
    assert slots == [f"virtio{n}" for n in range(1, 7)]
    for slot in (None, 0, 8, -1):
        with pytest.raises(ConfigError, match="no place for virtio-rng"):
            plug_virtio(bench.board, VirtioRng(bytes), slot)


@pytest.mark.parametrize("name", SIZES)
def test_every_width_at_every_offset_is_harmless(bench, name):
    """Straight to the device, so that misaligned and unsupported accesses arrive, too."""
    device = bench.board.devices[name]
    step = 1 if device.size <= 0x1000 else 251  # large windows: all remainders, not all offsets
    offsets = [*range(0, min(device.size, 0x1000)), *range(0, device.size, step)]
    for size in (1, 2, 4, 8):
        for offset in offsets:
            if offset + size <= device.size:
                assert 0 <= device.read(offset, size) < 2**64
                device.write(offset, size, (1 << 8 * size) - 1)
                device.write(offset, size, 0)
    bench.clock.advance(10_000)
    state = device.save()
    device.load(state)
    assert device.save() == state


NAMES = st.sampled_from(sorted(SIZES))
OFFSETS = st.one_of(
    st.integers(0, 0x5F_FFFF),
    st.integers(0, 0x200),
    st.sampled_from([0xBFF8, 0x4000, 0x1000, 0x2000, 0x2080, 0x20_0000, 0x20_0004, 0x20_3004]),
)
VALUES = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 15, 0x8000_0000, 2**32 - 1]))
ACCESSES = st.lists(st.tuples(NAMES, OFFSETS, st.sampled_from([1, 2, 4, 8]), VALUES), max_size=80)


@settings(max_examples=60, deadline=None)
@given(ACCESSES, ACCESSES)
def test_a_board_restored_in_the_middle_of_random_accesses_behaves_the_same(before, after):
    def perform(bench, accesses):
        seen = []
        for name, offset, size, value in accesses:
            device = bench.board.devices[name]
            if offset + size <= device.size:
                device.write(offset, size, value & ((1 << 8 * size) - 1))
                seen.append(device.read(offset, size))
        bench.clock.advance(5000)
        return [*seen, {pin: line.level for pin, line in bench.lines.lines.items()}]

    saved, restored = Bench(), Bench()
    try:
        perform(saved, before)
        restored.clock.set_ticks(saved.clock.ticks())
        restored.clock._wall_ns = saved.clock._wall_ns
        restored.board.load(saved.board.save())
        assert restored.board.save() == saved.board.save()
        assert perform(restored, after) == perform(saved, after)
        assert restored.board.save() == saved.board.save()
    finally:
        saved.space.close()
        restored.space.close()


def test_reset_brings_every_device_back(bench):
    fresh = bench.board.save()
    for name, device in bench.board.devices.items():
        for offset in range(0, min(device.size, 0x200), 4):
            if (name, offset) not in {("rtc", 0), ("finisher", 0)}:
                device.write(offset, 4, 1)
    assert bench.board.save() != fresh
    bench.board.reset()
    assert bench.board.save() == fresh
    assert not any(line.level for line in bench.lines.lines.values())


@pytest.mark.parametrize("state", [None, {}, [], {"uart0": {}}])
def test_saved_state_of_another_board_is_refused(bench, state):
    with pytest.raises(SnapshotError, match="virt"):
        bench.board.load(state)
