"""The virtio console (VirtIO 1.2, section 5.3), one port: queue 0 to the guest, queue 1 from it.

Output goes to `sink`. Input waits in a bounded backlog until the driver has buffers for it. With a
size, it offers VIRTIO_CONSOLE_F_SIZE and tells the driver of each change.
"""

from collections.abc import Callable
from typing import Any

from lamina.base.bits import U16
from lamina.devices.state import StateReader
from lamina.devices.virtio.device import VirtioDevice
from lamina.devices.virtio.queue import Chain, RingError

RECEIVE, TRANSMIT = 0, 1
F_SIZE = 1 << 0
BACKLOG = 64 * 1024
MAX_OUTPUT = 1 << 20  # bytes in one request; Linux sends 32 KiB at most


class VirtioConsole(VirtioDevice):
    """A terminal line."""

    name = "virtio-console"
    device_id = 3
    queue_sizes = (64, 64)

    def __init__(self, sink: Callable[[bytes], None], size: tuple[int, int] | None = None) -> None:
        """`size` is (columns, rows), if the backend knows them."""
        self._sink = sink
        self._size = size or (0, 0)
        self.features = F_SIZE if size is not None else 0
        self._backlog = bytearray()

    # The host's side

    @property
    def room(self) -> int:
        """How many bytes `receive` would take now."""
        return BACKLOG - len(self._backlog)

    def receive(self, data: bytes) -> int:
        """Input from the backend; returns how many bytes were taken, the rest is for later."""
        taken = data[: self.room]
        self._backlog += taken
        if self.transport is not None:
            self.transport.run(RECEIVE)
        return len(taken)

    def resize(self, columns: int, rows: int) -> None:
        """The backend's terminal has a new size."""
        self._size = (min(columns, U16), min(rows, U16))
        if self.features & F_SIZE and self.transport is not None:
            self.transport.config_changed()

    # The guest's side

    def wants(self, index: int) -> bool:
        return index == TRANSMIT or bool(self._backlog)

    def handle(self, index: int, chain: Chain) -> int:
        if index == TRANSMIT:
            return self._transmit(chain)
        if chain.readable:
            raise RingError("a console's receive buffer must be one to write")
        count = chain.write(bytes(self._backlog[: chain.writable_bytes]))
        del self._backlog[:count]
        return count

    def _transmit(self, chain: Chain) -> int:
        if chain.writable or chain.readable_bytes > MAX_OUTPUT:
            raise RingError(f"console output must be at most {MAX_OUTPUT} bytes to read")
        self._sink(chain.read(MAX_OUTPUT))
        return 0

    def config(self) -> bytes:
        """cols, rows, max_nr_ports, emerg_wr; the last two belong to features not offered."""
        columns, rows = self._size
        return columns.to_bytes(2, "little") + rows.to_bytes(2, "little") + bytes(8)

    def save(self) -> dict[str, Any]:
        return {"backlog": bytes(self._backlog), "size": list(self._size)}

    def load(self, state: Any) -> None:
        reader = StateReader(self.name, state, "backlog", "size")
        columns, rows = reader.integers("size", 2, U16)
        self._backlog = bytearray(reader.blob("backlog", BACKLOG))
        self._size = (columns, rows)
