"""A fake virtio driver: the guest's side of the MMIO transport and of split rings, for tests.

It does exactly what a test says, the forbidden included. Everything goes through an AddressSpace,
as a real guest's accesses do. Layout: each queue has a page of its own from `rings` on.
"""

import struct

from lamina.bus.space import AddressSpace

NEXT, WRITE, INDIRECT = 1, 2, 4
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64
VERSION_1 = 1 << 32
Buffer = tuple[int, int, int]
"""A buffer for a request: GPA, length, flags (0 or WRITE)."""


class DriverQueue:
    """One ring, as the driver sees it."""

    def __init__(self, driver: "FakeDriver", index: int, size: int, rings: int) -> None:
        self.driver = driver
        self.index = index
        self.size = size
        self.desc, self.avail, self.used = rings, rings + 0x4000, rings + 0x6000
        self.avail_idx = 0
        self.next_desc = 0
        self.seen = 0

    def describe(self, at: int, gpa: int, length: int, flags: int, following: int = 0) -> None:
        """Write a descriptor."""
        raw = struct.pack("<QIHH", gpa, length, flags, following)
        self.driver.space.write(self.desc + 16 * at, raw)

    def offer(self, head: int) -> None:
        """Put a chain's head into the avail ring and move avail.idx."""
        space = self.driver.space
        space.write_u16(self.avail + 4 + 2 * (self.avail_idx % self.size), head)
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        space.write_u16(self.avail + 2, self.avail_idx)

    def add(self, *buffers: Buffer) -> int:
        """Describe a chain of buffers and offer it; returns its head."""
        slots = [(self.next_desc + step) % self.size for step in range(len(buffers))]
        self.next_desc = (self.next_desc + len(buffers)) % self.size
        for step, (slot, (gpa, length, flags)) in enumerate(zip(slots, buffers, strict=True)):
            last = step == len(buffers) - 1
            following = 0 if last else slots[step + 1]
            self.describe(slot, gpa, length, flags | (0 if last else NEXT), following)
        self.offer(slots[0])
        return slots[0]

    def kick(self) -> None:
        """Notify the device."""
        self.driver.write(0x050, self.index)

    def used_idx(self) -> int:
        return self.driver.space.read_u16(self.used + 2)

    def collect(self) -> list[tuple[int, int]]:
        """The (head, written) pairs that came back since the last time."""
        space, back = self.driver.space, []
        while self.seen != self.used_idx():
            slot = self.used + 4 + 8 * (self.seen % self.size)
            back.append((space.read_u32(slot), space.read_u32(slot + 4)))
            self.seen = (self.seen + 1) & 0xFFFF
        return back


class FakeDriver:
    """The driver of one virtio-mmio slot at GPA `base`."""

    def __init__(self, space: AddressSpace, base: int, rings: int) -> None:
        self.space = space
        self.base = base
        self.rings = rings

    def read(self, offset: int, size: int = 4) -> int:
        value = self.space.mmio_read(self.base + offset, size)
        if value is None:
            raise AssertionError(f"bus fault at register {offset:#x}")
        return value

    def write(self, offset: int, value: int) -> None:
        if not self.space.mmio_write(self.base + offset, 4, value):
            raise AssertionError(f"bus fault at register {offset:#x}")

    @property
    def status(self) -> int:
        return self.read(0x070)

    @property
    def broken(self) -> bool:
        """Whether the device has given up on this driver."""
        return bool(self.status & NEEDS_RESET)

    def offered(self) -> int:
        """The device's feature bits."""
        halves = []
        for half in (0, 1):
            self.write(0x014, half)
            halves.append(self.read(0x010))
        return halves[1] << 32 | halves[0]

    def accept(self, features: int) -> bool:
        """Reset the device and negotiate; returns whether it took the features."""
        self.write(0x070, 0)
        self.write(0x070, ACKNOWLEDGE | DRIVER)
        for half in (0, 1):
            self.write(0x024, half)
            self.write(0x020, features >> 32 * half & 0xFFFF_FFFF)
        self.write(0x070, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        return bool(self.status & FEATURES_OK)

    def queue(self, index: int, size: int) -> DriverQueue:
        """Set up a ring of `size` entries and enable it."""
        queue = DriverQueue(self, index, size, self.rings + 0x8000 * index)
        self.write(0x030, index)
        self.write(0x038, size)
        for register, gpa in ((0x080, queue.desc), (0x090, queue.avail), (0x0A0, queue.used)):
            self.write(register, gpa & 0xFFFF_FFFF)
            self.write(register + 4, gpa >> 32)
        self.write(0x044, 1)
        return queue

    def start(self) -> None:
        """DRIVER_OK."""
        self.write(0x070, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
