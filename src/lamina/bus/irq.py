"""One wire from a device to whoever listens: an interrupt controller's source or a vCPU's pin.

The sender calls `set`; the listener hears of edges and, where it asked for it, of a high level that
is driven high again: the sender has something new. All lines of a machine are driven under its
address space's lock, so there is no lock in here.
"""

from collections.abc import Callable
from typing import Protocol


class IrqLine:
    """A level-sensitive interrupt line."""

    __slots__ = ("_on_change", "_on_repeat", "level")

    def __init__(
        self, on_change: Callable[[bool], None], on_repeat: Callable[[], None] | None = None
    ) -> None:
        self._on_change = on_change
        self._on_repeat = on_repeat
        self.level = False

    @classmethod
    def unconnected(cls) -> "IrqLine":
        """A line that nobody listens to."""
        return cls(lambda level: None)

    def watch(self, see: Callable[[bool], None]) -> None:
        """Have `see` called with each edge too, before the listener is."""
        listen = self._on_change

        def both(level: bool) -> None:
            see(level)
            listen(level)

        self._on_change = both

    def set(self, level: bool) -> None:
        """Drive the line; the listener is called if that changes its level, or repeats a high
        one."""
        if level != self.level:
            self.level = level
            self._on_change(level)
        elif level and self._on_repeat is not None:
            self._on_repeat()


class HartLines(Protocol):
    """The interrupt pins of a machine's harts, as a board's interrupt controllers see them."""

    def line(self, hart: int, bit: int) -> IrqLine:
        """The line that drives bit `bit` of a hart's `mip`: 1 SSI, 3 MSI, 5 STI, 7 MTI, 9 SEI, 11
        MEI.
        """
