"""The RISC-V `virt` board: the memory map, interrupts and compatible strings of QEMU's.

What boots there boots here: OpenSBI, U-Boot, Linux, xv6. The Machine calls `build_virt`; this file
wires, `virt_tree.py` describes the result to the guest. Not here: PCI, flash, fw-cfg.
"""

from collections.abc import Callable

from lamina.base.clock import DEFAULT_TIMEBASE, Clock
from lamina.base.errors import ConfigError
from lamina.base.units import GIB, MIB, format_size
from lamina.bus.irq import HartLines, IrqLine
from lamina.bus.space import AddressSpace
from lamina.devices.aclint import Aclint
from lamina.devices.finisher import ShutdownRequest, TestFinisher
from lamina.devices.plic import Plic
from lamina.devices.rtc import GoldfishRtc
from lamina.devices.uart import Uart
from lamina.devices.virtio.device import VirtioDevice
from lamina.devices.virtio.mmio import VirtioMmio
from lamina.machine.boards.board import Board
from lamina.machine.boards.virt_tree import MEI, MSI, MTI, SEI, VirtTree

# The memory map.
MROM = 0x0000_1000
MROM_SIZE = 0xF000
FINISHER = 0x0010_0000
RTC = 0x0010_1000
CLINT = 0x0200_0000
PLIC = 0x0C00_0000
UART = 0x1000_0000
VIRTIO = 0x1000_1000
VIRTIO_STRIDE = 0x1000
DRAM = 0x8000_0000

# PLIC sources.
PLIC_SOURCES = 96
VIRTIO_IRQ = 1
VIRTIO_SLOTS = 8
UART_IRQ = 10
RTC_IRQ = 11

MIN_RAM = 32 * MIB
MAX_RAM = 64 * GIB
MAX_HARTS = 16


def build_virt(
    space: AddressSpace,
    harts: int,
    ram_size: int,
    lines: HartLines,
    clock: Clock,
    sink: Callable[[bytes], None],
    on_exit: Callable[[ShutdownRequest], None],
    isa: str,
    mmu: str,
    timebase: int = DEFAULT_TIMEBASE,
) -> Board:
    """Fill `space` with the board. `sink` gets the console's output; `isa` is as `rv64imac_zicsr`,
    `mmu` as `sv48`. ConfigError if there is no such board."""
    _check(harts, ram_size)
    tree = VirtTree(isa, mmu, timebase)
    ram = space.add_ram(DRAM, ram_size, "ram")
    mrom = space.add_rom(MROM, MROM_SIZE, "mrom")
    board = Board("virt", space, ram, mrom, harts, tree.build)

    plic = Plic(
        PLIC_SOURCES, [lines.line(hart, bit) for hart in range(harts) for bit in (MEI, SEI)]
    )
    msi = [lines.line(hart, MSI) for hart in range(harts)]
    mti = [lines.line(hart, MTI) for hart in range(harts)]

    def irq(name: str, number: int) -> IrqLine:
        board.irq[name] = number
        return plic.source(number)

    board.add(FINISHER, TestFinisher(on_exit))
    board.add(RTC, GoldfishRtc(irq("rtc", RTC_IRQ), clock, timebase))
    board.add(CLINT, Aclint(msi, mti, clock))
    board.add(PLIC, plic)
    board.add(UART, Uart(irq("uart0", UART_IRQ), sink))
    for slot in range(VIRTIO_SLOTS):
        name = f"virtio{slot}"
        line = irq(name, VIRTIO_IRQ + slot)
        board.add(VIRTIO + slot * VIRTIO_STRIDE, VirtioMmio(name, line, space.dma, clock))
    return board


def plug_virtio(board: Board, device: VirtioDevice, slot: int | None = None) -> VirtioMmio:
    """Put a virtio device into a slot (the first empty one); ConfigError if there is none."""
    for number in range(VIRTIO_SLOTS) if slot is None else (slot,):
        transport = board.devices.get(f"virtio{number}")
        if isinstance(transport, VirtioMmio) and transport.device is None:
            transport.plug(device)
            return transport
    where = "all slots are" if slot is None else f"slot {slot} does not exist or is"
    raise ConfigError(f"virt: no place for {device.name}: {where} taken")


def _check(harts: int, ram_size: int) -> None:
    if not 1 <= harts <= MAX_HARTS:
        raise ConfigError(f"virt: {harts} CPUs; it takes 1 to {MAX_HARTS}")
    if not MIN_RAM <= ram_size <= MAX_RAM or ram_size % MIB:
        limits = f"whole MiB from {format_size(MIN_RAM)} to {format_size(MAX_RAM)}"
        raise ConfigError(f"virt: memory of {format_size(ram_size)}; it takes {limits}")
