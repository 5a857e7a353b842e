"""Several code images as one: what they refer to of each other is settled.

Called where a module was compiled in parts (`engine.threaded.packs`).
"""

import struct
from collections.abc import Callable, Sequence

from lamina.base.bits import align_up
from lamina.base.errors import CodeError
from lamina.engine.code.image import ALIGNMENT, CodeImage, Relocation


def link(images: Sequence[CodeImage], visible: Callable[[str], bool]) -> CodeImage:
    """One image; of the symbols only the visible ones are kept, for those who place it."""
    text = bytearray()
    symbols: dict[str, int] = {}
    starts = []
    for image in images:
        text += bytes(align_up(len(text), ALIGNMENT) - len(text))
        starts.append(len(text))
        text += image.text
        for name, offset in image.symbols.items():
            if name in symbols:
                raise CodeError(f"machine code: {name} is defined twice")
            symbols[name] = starts[-1] + offset
    left = []
    for image, start in zip(images, starts, strict=True):
        for r in image.relocations:
            target = symbols.get(r.symbol) if r.symbol else start
            place = start + r.offset
            if target is None:
                left.append(Relocation(place, r.kind, r.symbol, r.addend))
            elif r.kind == "abs64":
                left.append(Relocation(place, r.kind, "", target + r.addend))
            else:
                struct.pack_into("<i", text, place, target + r.addend - place)
    kept = {name: offset for name, offset in symbols.items() if visible(name)}
    return CodeImage(bytes(text), kept, tuple(left))
