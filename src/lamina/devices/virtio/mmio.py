"""The virtio MMIO transport, version 2 (VirtIO 1.2, section 4.2), and the status machine (2.1,
3.1).

One window is one slot of the board; without a device type it reads as DeviceID 0, an empty slot.
A driver that breaks a rule gets DEVICE_NEEDS_RESET: its queues rest until it resets the device.
Registers take 32-bit accesses; others read 0 and write nothing. The configuration space takes any.
"""

from typing import Any

from lamina.base.bits import U32, U64, field
from lamina.base.clock import Clock
from lamina.base.errors import SnapshotError
from lamina.bus.dma import Dma, DmaFault
from lamina.bus.irq import IrqLine
from lamina.devices.device import Device, TreeNode
from lamina.devices.state import StateReader
from lamina.devices.virtio.device import Transport, VirtioDevice
from lamina.devices.virtio.queue import RingError, Virtqueue

MAGIC, VERSION, DEVICE_ID, VENDOR_ID = 0x000, 0x004, 0x008, 0x00C
DEVICE_FEATURES, DEVICE_FEATURES_SEL = 0x010, 0x014
DRIVER_FEATURES, DRIVER_FEATURES_SEL = 0x020, 0x024
QUEUE_SEL, QUEUE_NUM_MAX, QUEUE_NUM = 0x030, 0x034, 0x038
QUEUE_READY, QUEUE_NOTIFY = 0x044, 0x050
INTERRUPT_STATUS, INTERRUPT_ACK, STATUS = 0x060, 0x064, 0x070
QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 0x080, 0x090, 0x0A0
SHM_FIRST, SHM_LAST, QUEUE_RESET, CONFIG_GENERATION, CONFIG = 0x0B0, 0x0BC, 0x0C0, 0x0FC, 0x100

MAGIC_VALUE = 0x7472_6976  # "virt"
VENDOR_VALUE = 0x554D_4551  # "QEMU": xv6 looks for a disk of that vendor and for no other

DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 4, 8, 64, 128
DRIVER_BITS = 1 | 2 | DRIVER_OK | FEATURES_OK | FAILED
USED_BUFFER, CONFIG_CHANGE = 1, 2

F_INDIRECT_DESC, F_EVENT_IDX, F_VERSION_1, F_RING_RESET = 1 << 28, 1 << 29, 1 << 32, 1 << 40
TRANSPORT_FEATURES = F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1 | F_RING_RESET

RESUME_TICKS = 1000  # until a queue that filled its batch is served again


class VirtioMmio(Device, Transport):
    """One slot."""

    size = 0x1000

    def __init__(self, name: str, irq: IrqLine, dma: Dma, clock: Clock) -> None:
        self.name = name
        self.device: VirtioDevice | None = None
        self.queues: list[Virtqueue] = []
        self._irq = irq
        self._dma = dma
        self._clock = clock
        self._config_generation = 0
        self._clear()

    def _clear(self) -> None:
        self._status = 0
        self._interrupts = 0
        self._driver_features = 0
        self._device_features_sel = 0
        self._driver_features_sel = 0
        self._queue_sel = 0

    def plug(self, device: VirtioDevice) -> None:
        """Put a device type into this empty slot, before the machine starts."""
        if self.device is not None:
            raise ValueError(f"{self.name} has a {self.device.name} already")
        self.device = device
        self.queues = [Virtqueue(self._dma, size) for size in device.queue_sizes]
        device.transport = self

    @property
    def offered(self) -> int:
        """All feature bits that the driver may take."""
        return TRANSPORT_FEATURES | self.device.features if self.device else 0

    # The device type's side

    def run(self, index: int) -> None:
        """Serve a queue; a broken driver is refused, a long queue is taken up again soon."""
        running = self._status & (DRIVER_OK | NEEDS_RESET | FAILED) == DRIVER_OK
        if self.device is None or not running or not self.queues[index].ready:
            return
        try:
            more = self.device.serve(index, self.queues[index])
        except (RingError, DmaFault):
            self._refuse()
            return
        if more:
            self._run_soon(index)

    def _run_soon(self, index: int) -> None:
        soon = min(self._clock.ticks() + RESUME_TICKS, U64)
        self._clock.arm((self.name, index), soon, lambda: self.run(index))

    def signal(self, queue: Virtqueue) -> None:
        if queue.should_interrupt():
            self._interrupt(USED_BUFFER)

    def config_changed(self) -> None:
        self._config_generation = (self._config_generation + 1) & U32
        if self._status & DRIVER_OK:
            self._interrupt(CONFIG_CHANGE)

    def _interrupt(self, cause: int) -> None:
        self._interrupts |= cause
        self._irq.set(True)

    def _refuse(self) -> None:
        """The driver is broken: stop until it resets us (section 2.1.2)."""
        self._status |= NEEDS_RESET
        if self._status & DRIVER_OK:
            self._interrupt(CONFIG_CHANGE)

    # Registers

    def read(self, offset: int, size: int) -> int:
        if offset >= CONFIG:
            return self._read_config(offset - CONFIG, size)
        if size != 4:
            return 0
        match offset:
            case 0x000:
                return MAGIC_VALUE
            case 0x004:
                return 2
            case 0x008:
                return self.device.device_id if self.device else 0
            case 0x00C:
                return VENDOR_VALUE
        return self._read_state(offset) if self.device else 0

    def _read_config(self, offset: int, size: int) -> int:
        config = self.device.config() if self.device else b""
        return int.from_bytes(config[offset : offset + size], "little")

    def _read_state(self, offset: int) -> int:
        queue = self._selected()
        if offset == DEVICE_FEATURES:
            return _half(self.offered, self._device_features_sel)
        if offset == QUEUE_NUM_MAX:
            return queue.max_size if queue else 0
        if offset == QUEUE_READY:
            return int(queue.ready) if queue else 0
        if offset == INTERRUPT_STATUS:
            return self._interrupts
        if offset == STATUS:
            return self._status
        if offset == CONFIG_GENERATION:
            return self._config_generation
        # There is no shared memory: its length and its base read as all ones.
        return U32 if SHM_FIRST <= offset <= SHM_LAST and offset % 4 == 0 else 0

    def _selected(self) -> Virtqueue | None:
        return self.queues[self._queue_sel] if self._queue_sel < len(self.queues) else None

    def write(self, offset: int, size: int, value: int) -> None:
        if self.device is None:
            return
        if offset >= CONFIG:
            self.device.write_config(offset - CONFIG, size, value)
        elif size == 4:
            self._write_register(offset, value & U32)

    def _write_register(self, offset: int, value: int) -> None:
        match offset:
            case 0x014:
                self._device_features_sel = value
            case 0x020:
                self._accept_features(value)
            case 0x024:
                self._driver_features_sel = value
            case 0x030:
                self._queue_sel = value
            case 0x050 if value < len(self.queues):
                self.run(value)
            case 0x064:
                self._interrupts &= ~value
                self._irq.set(self._interrupts != 0)
            case 0x070:
                self._write_status(value)
            case _:
                queue = self._selected()
                if queue is not None:
                    self._write_queue(queue, offset, value)

    def _accept_features(self, value: int) -> None:
        """Bits that were not offered are kept, so that FEATURES_OK can be refused for them."""
        if self._status & FEATURES_OK or self._driver_features_sel > 1:
            return
        other = _half(self._driver_features, 1 - self._driver_features_sel)
        low, high = (value, other) if self._driver_features_sel == 0 else (other, value)
        self._driver_features = high << 32 | low

    def _write_queue(self, queue: Virtqueue, offset: int, value: int) -> None:
        if offset == QUEUE_READY:
            self._set_ready(queue, bool(value & 1))
        elif offset == QUEUE_RESET:
            if value & 1 and self._driver_features & F_RING_RESET and self._status & FEATURES_OK:
                queue.reset()
        elif queue.ready:
            return  # the ring must not move while it is in use
        elif offset == QUEUE_NUM:
            queue.size = value
        elif offset in (QUEUE_DESC, QUEUE_DESC + 4):
            queue.desc = _merge(queue.desc, offset, value)
        elif offset in (QUEUE_DRIVER, QUEUE_DRIVER + 4):
            queue.avail = _merge(queue.avail, offset, value)
        elif offset in (QUEUE_DEVICE, QUEUE_DEVICE + 4):
            queue.used = _merge(queue.used, offset, value)

    def _set_ready(self, queue: Virtqueue, ready: bool) -> None:
        if not ready:
            queue.disable()
        elif not queue.ready:
            try:
                queue.enable()
            except RingError:
                self._refuse()

    def _write_status(self, value: int) -> None:
        """Bits are only ever added; zero resets; features are checked once, at FEATURES_OK."""
        if value == 0:
            self.reset()
            return
        new = value & DRIVER_BITS & ~self._status
        if new & FEATURES_OK and not self._settle_features():
            new &= ~FEATURES_OK
        self._status |= new & ~DRIVER_OK
        if not new & DRIVER_OK:
            return
        if not self._status & FEATURES_OK:
            self._refuse()
            return
        self._status |= DRIVER_OK
        for index in range(len(self.queues)):
            self.run(index)

    @property
    def accepted(self) -> int:
        return self._driver_features if self._status & FEATURES_OK else 0

    def _settle_features(self) -> bool:
        """A driver need not take VERSION_1 (section 6.2 lets a device refuse it then): xv6 does not
        read the upper half at all. A little-endian guest would notice no difference."""
        features = self._driver_features
        if features & ~self.offered:
            return False
        _apply_features(self.queues, features)
        return True

    # Life cycle

    def reset(self) -> None:
        self._clear()
        for index, queue in enumerate(self.queues):
            self._clock.disarm((self.name, index))
            queue.reset()
            queue.indirect = queue.event_idx = False
        if self.device is not None:
            self.device.reset()
        self._irq.set(False)

    def save(self) -> dict[str, Any]:
        return {
            "device_id": self.device.device_id if self.device else 0,
            "status": self._status,
            "interrupts": self._interrupts,
            "driver_features": self._driver_features,
            "device_features_sel": self._device_features_sel,
            "driver_features_sel": self._driver_features_sel,
            "queue_sel": self._queue_sel,
            "config_generation": self._config_generation,
            "queues": [queue.save() for queue in self.queues],
            "device": self.device.save() if self.device else {},
        }

    def load(self, state: dict[str, Any]) -> None:
        reader = StateReader(self.name, state, *self.save())
        if reader.integer("device_id", U32) != (self.device.device_id if self.device else 0):
            raise reader.refuse("device_id", "that of the device in this slot")
        status = reader.integer("status", DRIVER_BITS | NEEDS_RESET)
        features = reader.integer("driver_features")
        if status & ~(DRIVER_BITS | NEEDS_RESET):
            raise reader.refuse("status", "a device status")
        settled = features & ~self.offered == 0
        if (status & FEATURES_OK and not settled) or status & (
            DRIVER_OK | FEATURES_OK
        ) == DRIVER_OK:
            raise reader.refuse("status", "one that this device could have reached")
        interrupts = reader.integer("interrupts", USED_BUFFER | CONFIG_CHANGE)
        words = ("device_features_sel", "driver_features_sel", "queue_sel", "config_generation")
        numbers = [reader.integer(key, U32) for key in words]
        rings = self._check_queues(reader, features if status & FEATURES_OK else 0)
        if self.device is not None:
            self.device.load(reader.mapping("device"))
        self._status, self._interrupts, self._driver_features = status, interrupts, features
        self._device_features_sel, self._driver_features_sel = numbers[:2]
        self._queue_sel, self._config_generation = numbers[2:]
        self.queues = rings
        self._irq.set(interrupts != 0)
        for index, ring in enumerate(rings):
            if ring.ready:
                # Not at once: guest RAM may still be on its way in.
                self._run_soon(index)

    def _check_queues(self, reader: StateReader, features: int) -> list[Virtqueue]:
        """New queues with the saved state; SnapshotError if one could not have been enabled."""
        saved = reader.table("queues", len(self.queues))
        rings = []
        for state, queue in zip(saved, self.queues, strict=True):
            ring = Virtqueue(self._dma, queue.max_size)
            _apply_features([ring], features)
            try:
                ring.load(self.name, state)
            except RingError as error:
                raise SnapshotError(f"{self.name}: saved queue: {error}") from None
            rings.append(ring)
        return rings

    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        node = tree.node(f"virtio_mmio@{base:x}")
        node.text("compatible", "virtio,mmio")
        node.reg(base, self.size)
        return node


def _half(value: int, select: int) -> int:
    """One 32-bit half of a 64-bit register; what lies beyond reads 0."""
    return field(value, 31, 0) if select == 0 else field(value, 63, 32) if select == 1 else 0


def _merge(old: int, offset: int, value: int) -> int:
    """A 64-bit address with the half that `offset` names replaced."""
    if offset & 4:
        return value << 32 | field(old, 31, 0)
    return field(old, 63, 32) << 32 | value


def _apply_features(queues: list[Virtqueue], features: int) -> None:
    for queue in queues:
        queue.indirect = bool(features & F_INDIRECT_DESC)
        queue.event_idx = bool(features & F_EVENT_IDX)
