"""The virtio entropy device (VirtIO 1.2, section 5.4): random bytes into every buffer of its one
queue.

The source is injected (os.urandom, or a recorded one for replay). A buffer gets CHUNK bytes at
most, however long it is, which the specification allows: a driver that wants more asks again.
"""

from collections.abc import Callable

from lamina.devices.virtio.device import VirtioDevice
from lamina.devices.virtio.queue import Chain, RingError

CHUNK = 4096


class VirtioRng(VirtioDevice):
    """Entropy; at most `batch` times CHUNK bytes a notification."""

    name = "virtio-rng"
    device_id = 4
    queue_sizes = (16,)
    batch = 16

    def __init__(self, source: Callable[[int], bytes]) -> None:
        """`source(n)` returns n random bytes."""
        self._source = source

    def handle(self, index: int, chain: Chain) -> int:
        if chain.readable or not chain.writable:
            raise RingError("an entropy request must be a buffer to write, and nothing else")
        return chain.write(self._source(min(chain.writable_bytes, CHUNK)))
