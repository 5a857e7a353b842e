"""The guest-physical address space: RAM and ROM regions, and the windows of the devices.

Boards fill it; engines map its RAM and call `mmio_read` / `mmio_write` for everything else;
loaders, debuggers and devices (through `dma`) read and write RAM. It owns the regions, and the one
lock that guards the state of all devices: it is held around every device call, and by whoever else
calls into a device (timers, backends' input).
"""

import logging
import threading
from bisect import bisect_right
from collections.abc import Callable

from lamina.base.bits import U64, is_power_of_two, mask
from lamina.base.errors import BusError, ConfigError
from lamina.bus.dma import Dma, DmaFault
from lamina.bus.memory import RamRegion
from lamina.bus.port import MmioDevice

log = logging.getLogger(__name__)

ACCESS_SIZES = frozenset({1, 2, 4, 8})


class AddressSpace:
    """What lies at which GPA."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.ram_regions: list[RamRegion] = []
        self.devices: list[tuple[int, MmioDevice]] = []
        self.dma: Dma = RamDma(self)
        self.write_watchers: list[Callable[[int, int], None]] = []
        """Called with (gpa, length) after a store to RAM that no vCPU made: DMA, loader, debugger.
        """
        self._device_bases: list[int] = []
        self._faults: dict[int, int] = {}

    # Building

    def add_ram(self, base: int, size: int, name: str) -> RamRegion:
        """RAM of `size` zero bytes at `base`."""
        return self._add_region(base, size, name, readonly=False)

    def add_rom(self, base: int, size: int, name: str) -> RamRegion:
        """Memory that the guest can read and execute, and only the host can write."""
        return self._add_region(base, size, name, readonly=True)

    def add_device(self, base: int, device: MmioDevice) -> None:
        """Let `device` answer accesses to base .. base+device.size-1."""
        self._claim(base, device.size, device.name)
        at = bisect_right(self._device_bases, base)
        self._device_bases.insert(at, base)
        self.devices.insert(at, (base, device))

    def _add_region(self, base: int, size: int, name: str, readonly: bool) -> RamRegion:
        self._claim(base, size, name)
        region = RamRegion(base, size, name, readonly)
        self.ram_regions.append(region)
        self.ram_regions.sort(key=lambda known: known.base)
        return region

    def _claim(self, base: int, size: int, name: str) -> None:
        if base < 0 or size <= 0 or base + size - 1 > U64:
            raise ConfigError(f"{name}: {base:#x} + {size:#x} is outside a 64-bit address space")
        taken = [(region.base, region.size, region.name) for region in self.ram_regions]
        taken += [(at, device.size, device.name) for at, device in self.devices]
        for other_base, other_size, other in taken:
            if base < other_base + other_size and other_base < base + size:
                raise ConfigError(
                    f"{name} at {base:#x}-{base + size - 1:#x} overlaps "
                    f"{other} at {other_base:#x}-{other_base + other_size - 1:#x}"
                )

    def close(self) -> None:
        """Release all guest memory."""
        for region in self.ram_regions:
            region.close()

    # The guest's side

    def mmio_read(self, gpa: int, size: int) -> int | None:
        """A device register's value; None if the access is a bus fault. Never raises."""
        found = self._find_device(gpa, size)
        if found is None:
            return None
        offset, device = found
        with self.lock:
            try:
                return device.read(offset, size) & mask(8 * size)
            except Exception:
                self._report(device, f"read of {size} bytes at offset {offset:#x}")
                return 0

    def mmio_write(self, gpa: int, size: int, value: int) -> bool:
        """Write a device register; False if the access is a bus fault. Never raises."""
        found = self._find_device(gpa, size)
        if found is None:
            return False
        offset, device = found
        with self.lock:
            try:
                device.write(offset, size, value & mask(8 * size))
            except Exception:
                self._report(device, f"write of {value:#x} ({size} bytes) at offset {offset:#x}")
        return True

    def _find_device(self, gpa: int, size: int) -> tuple[int, MmioDevice] | None:
        """The device and offset of an access that is aligned, inside, and of a width it takes."""
        at = bisect_right(self._device_bases, gpa) - 1
        if at < 0 or size not in ACCESS_SIZES or gpa & (size - 1):
            return None
        base, device = self.devices[at]
        offset = gpa - base
        if offset + size > device.size or size not in device.access_sizes:
            return None
        return offset, device

    def _report(self, device: MmioDevice, access: str) -> None:
        """Log a device's own failure: the first with its traceback, then at each doubling."""
        count = self._faults[id(device)] = self._faults.get(id(device), 0) + 1
        if is_power_of_two(count):
            log.error(
                "%s failed in a %s (failure %d)", device.name, access, count, exc_info=count == 1
            )

    # The host's side

    def find_ram(self, gpa: int, length: int) -> RamRegion | None:
        """The RAM or ROM region that holds all of gpa .. gpa+length-1."""
        if length < 0:
            return None
        for region in self.ram_regions:
            if region.base <= gpa and gpa + length <= region.end:
                return region
        return None

    def read(self, gpa: int, length: int) -> bytes:
        """A copy of RAM or ROM; BusError unless all of it lies in one region."""
        region = self._require(gpa, length)
        return bytes(region.view[gpa - region.base : gpa - region.base + length])

    def write(self, gpa: int, data: bytes) -> None:
        """Store to RAM or ROM as the host; BusError unless all of it lies in one region."""
        self.store(self._require(gpa, len(data)), gpa, data)

    def store(self, region: RamRegion, gpa: int, data: bytes) -> None:
        """Store into a region that is known to hold it, and tell the watchers."""
        region.write(gpa - region.base, data)
        for watcher in self.write_watchers:
            watcher(gpa, len(data))

    def _require(self, gpa: int, length: int) -> RamRegion:
        region = self.find_ram(gpa, length)
        if region is None:
            raise BusError(f"no RAM at {gpa:#x}-{gpa + max(length, 1) - 1:#x}")
        return region

    def read_u8(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 1), "little")

    def read_u16(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 2), "little")

    def read_u32(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 4), "little")

    def read_u64(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 8), "little")

    def write_u8(self, gpa: int, value: int) -> None:
        self.write(gpa, (value & mask(8)).to_bytes(1, "little"))

    def write_u16(self, gpa: int, value: int) -> None:
        self.write(gpa, (value & mask(16)).to_bytes(2, "little"))

    def write_u32(self, gpa: int, value: int) -> None:
        self.write(gpa, (value & mask(32)).to_bytes(4, "little"))

    def write_u64(self, gpa: int, value: int) -> None:
        self.write(gpa, (value & mask(64)).to_bytes(8, "little"))


class RamDma(Dma):
    """The Dma door of an address space: writable RAM, and nothing else."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space

    def read(self, gpa: int, length: int) -> bytes:
        region = self._require(gpa, length)
        return bytes(region.view[gpa - region.base : gpa - region.base + length])

    def write(self, gpa: int, data: bytes) -> None:
        self._space.store(self._require(gpa, len(data)), gpa, data)

    def check(self, gpa: int, length: int) -> None:
        self._require(gpa, length)

    def _require(self, gpa: int, length: int) -> RamRegion:
        region = self._space.find_ram(gpa, length)
        if region is None or region.readonly:
            raise DmaFault(f"DMA to {gpa:#x} + {length:#x}, which is not RAM")
        return region
