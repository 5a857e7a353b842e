"""Templates in memory, as the baseline compiler (`baseline_ir`) finds them: a table from handlers
to templates (`template_image`). Filled as packs are loaded; the process's.
"""

import ctypes
import struct
from collections.abc import Callable

from lamina.base.bits import U32, U64, sext
from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage
from lamina.engine.threaded.baseline import LOOKUP_BITS, PARTS

_WORD = struct.Struct("<Q")
_MULTIPLIER = -1640531535 & U32


class Templates:
    """The templates of all packs that are loaded. `resolve` gives the runtime's addresses."""

    def __init__(self, decode: int, resolve: Callable[[str], int]) -> None:
        self._decode = decode
        self._resolve = resolve
        self._table = (ctypes.c_uint64 * (2 << LOOKUP_BITS))()
        self._count = 0
        self._kept: list[ctypes.Array[ctypes.c_uint64]] = []
        self._parts: dict[str, int] = {}  # addresses of templates of no instruction

    @property
    def address(self) -> int:
        """Of the table."""
        return ctypes.addressof(self._table)

    def add(self, image: CodeImage) -> None:
        """Take in a pack's templates; the runtime has its handlers."""
        place = (ctypes.c_uint64 * (-(-len(image.text) // 8)))()
        ctypes.memmove(place, image.text, len(image.text))
        self._kept.append(place)
        start, cells = ctypes.addressof(place), memoryview(place).cast("B")
        known = {"": start}
        for offset, _, symbol, addend in image.relocations:
            target = known.get(symbol)
            if target is None:
                target = known[symbol] = self._resolve(symbol)
            _WORD.pack_into(cells, offset, target + addend & U64)
        for name, at in image.symbols.items():
            if name in PARTS:
                self._parts[name] = start + at
            else:
                self._enter(self._resolve(name) - self._decode, start + at)

    def part(self, name: str) -> int:
        """The address of a template that is no instruction's."""
        return self._parts[name]

    def _enter(self, key: int, address: int) -> None:
        """Enter a template by its handler's distance from the decoder's."""
        at = (key * _MULTIPLIER & U32) >> (32 - LOOKUP_BITS)
        while self._table[2 * at]:
            at = (at + 1) % (1 << LOOKUP_BITS)
        self._count += 1
        if self._count > (1 << LOOKUP_BITS) // 2:
            raise CodeError("more handlers than the table of templates is made for")
        # vCPUs may be looking: the key comes last.
        self._table[2 * at + 1] = address
        self._table[2 * at] = sext(key & U32, 32, 64)
