"""The contract of a virtio device type: what it offers, and how it serves one request.

The transport (mmio.py) owns registers, queues and interrupts; a device type owns its configuration
space and its backend. All calls come with the address space's lock held.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol

from lamina.base.units import MIB
from lamina.devices.state import StateReader
from lamina.devices.virtio.queue import Chain, Virtqueue


class Transport(Protocol):
    """What a device type may ask of its transport."""

    @property
    def accepted(self) -> int:
        """The feature bits in use; 0 until the driver has settled for some."""

    def run(self, index: int) -> None:
        """Serve a queue as if it had been notified; nothing if the driver is not ready."""

    def signal(self, queue: Virtqueue) -> None:
        """Interrupt the driver if it wants to hear of what was pushed."""

    def config_changed(self) -> None:
        """Tell the driver that the configuration space reads differently now."""


class VirtioDevice(ABC):
    """A device type. `batch` and `batch_bytes` bound the requests served in one go and the bytes
    that they move, `queue_sizes` the rings."""

    name: str
    device_id: int
    queue_sizes: tuple[int, ...]
    features: int = 0
    batch: int = 64
    batch_bytes: int = 64 * MIB
    transport: Transport | None = None

    @abstractmethod
    def handle(self, index: int, chain: Chain) -> int:
        """Do one request of queue `index`; returns the bytes written. RingError if it makes no
        sense.
        """

    def wants(self, index: int) -> bool:
        """Whether there is anything to do with a request of this queue now."""
        return True

    def serve(self, index: int, queue: Virtqueue) -> bool:
        """Do what is waiting, as far as a batch goes; True if there is more to do later."""
        more, done = True, 0
        for _ in range(self.batch):
            if not self.wants(index):
                more = False
                break
            chain = queue.pop()
            if chain is not None:
                written = self.handle(index, chain)
                queue.push(chain, written)
                done += chain.readable_bytes + written
                if done >= self.batch_bytes:
                    break
            elif not queue.listen():
                more = False
                break
        if self.transport is not None:
            self.transport.signal(queue)
        return more

    def config(self) -> bytes:
        """The configuration space as it reads now."""
        return b""

    def write_config(self, offset: int, size: int, value: int) -> None:
        """The driver writes the configuration space; most types have nothing writable there."""
        return

    def reset(self) -> None:
        """The driver starts anew."""
        return

    def save(self) -> dict[str, Any]:
        return {}

    def load(self, state: Any) -> None:
        """Take over saved (untrusted) state of the type itself."""
        StateReader(self.name, state)
