"""Direct memory access, as a device may do it: guest RAM only, never MMIO and never ROM.

A device that could DMA onto registers (its own or another's) would be re-entered half-way through
an access; so there is no path from here to a device at all. Every address comes from the guest and
is checked on each call; nothing is cached between a check and its use.
"""

from typing import Protocol

from lamina.base.errors import BusError


class DmaFault(BusError):
    """A device was told to reach memory that is not guest RAM."""


class Dma(Protocol):
    """A device's door to guest memory."""

    def read(self, gpa: int, length: int) -> bytes:
        """A copy of `length` bytes at gpa; DmaFault unless all of them are RAM."""

    def write(self, gpa: int, data: bytes) -> None:
        """Store all of `data` at gpa, or nothing and DmaFault."""

    def check(self, gpa: int, length: int) -> None:
        """DmaFault unless all of gpa .. gpa+length-1 is RAM in one region."""
