"""Fakes for devices and boards: interrupt pins that remember, a console sink, hart lines.

For tests of devices, of boards and of whatever embeds them; nothing here needs a vCPU or a host.
"""

from lamina.bus.irq import HartLines, IrqLine


class RecordingLine(IrqLine):
    """An IrqLine that keeps every edge it saw in `edges`."""

    __slots__ = ("edges",)

    def __init__(self) -> None:
        self.edges: list[bool] = []
        super().__init__(self.edges.append)


class FakeHartLines(HartLines):
    """The pins of any number of harts; `level(hart, bit)` tells how they stand."""

    def __init__(self) -> None:
        self.lines: dict[tuple[int, int], RecordingLine] = {}

    def line(self, hart: int, bit: int) -> IrqLine:
        return self.lines.setdefault((hart, bit), RecordingLine())

    def level(self, hart: int, bit: int) -> bool:
        return self.lines[hart, bit].level


class ByteSink:
    """A console backend that keeps what it was sent."""

    def __init__(self) -> None:
        self.data = bytearray()

    def __call__(self, data: bytes) -> None:
        self.data += data
