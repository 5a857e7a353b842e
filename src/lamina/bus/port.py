"""The part of a device that the bus knows: a named window of registers.

`devices/device.py` has the whole contract; this is a Protocol so that the bus imports no device.
"""

from typing import Protocol


class MmioDevice(Protocol):
    """Something that answers reads and writes of a window of the address space."""

    name: str
    size: int
    """Bytes of the window."""
    access_sizes: frozenset[int]
    """Widths in bytes that it takes; others are bus faults."""

    def read(self, offset: int, size: int) -> int:
        """The value of `size` bytes at `offset`, which lie inside the window."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Store `size` bytes at `offset`, which lie inside the window."""
