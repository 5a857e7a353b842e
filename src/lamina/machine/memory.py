"""A machine's physical memory as Python sees it: mapped, not copied."""

from typing import overload

from lamina.base.errors import BusError
from lamina.bus.space import AddressSpace


class Memory:
    """`memory[gpa]` is a byte, `memory[a:b]` a memoryview of RAM that reads and writes through.
    BusError where there is no RAM."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space

    def _view(self, start: int, stop: int) -> memoryview:
        region = self._space.find_ram(start, max(stop - start, 0))
        if region is None or stop < start:
            raise BusError(f"no RAM at {start:#x}-{stop:#x}")
        return region.view[start - region.base : stop - region.base]

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> memoryview: ...

    def __getitem__(self, key: int | slice) -> int | memoryview:
        if isinstance(key, int):
            return self._view(key, key + 1)[0]
        return self._view(*self._bounds(key))

    def __setitem__(self, key: int | slice, value: int | bytes) -> None:
        if isinstance(key, int):
            self._view(key, key + 1)[0] = (
                int.from_bytes(value) if isinstance(value, bytes) else value
            )
        elif isinstance(value, int):
            raise BusError("memory: a range takes bytes, not a number")
        else:
            self._view(*self._bounds(key))[:] = value

    @staticmethod
    def _bounds(key: slice) -> tuple[int, int]:
        whole = isinstance(key, slice) and isinstance(key.start, int) and isinstance(key.stop, int)
        if not whole or key.step not in (None, 1):
            raise BusError("memory: give both ends of a range, as in memory[0x80000000:0x80001000]")
        return key.start, key.stop

    def read(self, gpa: int, length: int) -> bytes:
        """A copy of RAM."""
        return self._space.read(gpa, length)

    def write(self, gpa: int, data: bytes) -> None:
        """Store to RAM."""
        self._space.write(gpa, data)

    def read_u64(self, gpa: int) -> int:
        """A little-endian double word."""
        return self._space.read_u64(gpa)
