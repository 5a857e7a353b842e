"""The contract of every device: what the bus, the snapshot and the device tree ask of it.

A device gets its IRQ line, clock and backend as constructor arguments. It never prints, sleeps,
reads the host's clock, exits or opens a file. All its methods are called with the address space's
lock held. Offsets and values come from the guest: any of them must give a defined result, never an
exception.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol


class TreeNode(Protocol):
    """A device-tree node under construction (machine/fdt.py), as a device sees it."""

    def node(self, name: str) -> "TreeNode":
        """Add a child node."""

    def cells(self, name: str, *values: int) -> None:
        """A property of 32-bit cells."""

    def text(self, name: str, *strings: str) -> None:
        """A property of one or more strings."""

    def flag(self, name: str) -> None:
        """A property that is there or not."""

    def reg(self, base: int, size: int) -> None:
        """The `reg` property: 64-bit address and size."""


class Device(ABC):
    """A window of registers with state behind it."""

    name: str
    size: int
    access_sizes: frozenset[int] = frozenset({1, 2, 4, 8})

    @abstractmethod
    def read(self, offset: int, size: int) -> int:
        """What the guest reads; inside the window, any alignment."""

    @abstractmethod
    def write(self, offset: int, size: int, value: int) -> None:
        """What the guest writes; inside the window, any alignment."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the state after power-on, IRQ lines included."""

    @abstractmethod
    def save(self) -> dict[str, Any]:
        """The state as plain data: ints below 2^64, bools, bytes, lists and dicts of them."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Take over saved state, which is untrusted: all of it, or SnapshotError and no change."""

    @abstractmethod
    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        """Add the device's node below `tree`. The board adds interrupts and phandles."""
