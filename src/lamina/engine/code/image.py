"""Machine code as plain data: what a compiler hands over, what is kept on disk, what is placed.

A `CodeImage` is position-independent: references inside of its text are settled already, what is
left are the relocations, which `engine.code.arena` settles when it places the image. Encoded
images come from files and from another process, so that decoding checks every number in them.

Encoded, all little-endian: magic and version (8 bytes), SHA-256 of what follows; the bytes of the
text and of the names, the numbers of symbols and relocations; then text, names (each ends in a NUL,
the first is empty), and rows that give names by number. Thousands of images are read at a start:
rows are of one size, so that they are taken apart at once.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from lamina.base.errors import CodeError

ALIGNMENT = 64  # of the text: its constants and loops count on it
MAX_TEXT = 64 << 20
MAX_NAMES = 1 << 16
MAX_ADDEND = 1 << 12  # of a reference to a function
END = "end of stencils"  # the symbol behind the last piece: `elf.stencils_of`
# Bytes that a relocation of each kind patches.
KINDS = {"abs64": 8, "pc32": 4, "abs32": 4, "abs8": 1}

_MAGIC = b"LAMCODE\x01"  # the last byte is the version of the format
_DIGEST = hashlib.sha256().digest_size
_HEAD = struct.Struct("<IIII")
_SYMBOL = struct.Struct("<IH")  # offset, name
_RELOCATION = struct.Struct("<IBxHq")  # offset, kind, name, addend
_KIND_NAMES = tuple(KINDS)


class Relocation(NamedTuple):
    """A place to patch. `abs64`: target + addend; `pc32`: that, from the place's own address;
    `abs32`, `abs8`: numbers in a stencil (`elf.stencils_of`), which no image that is placed has.

    The target is a function's address by its name, or the image's start for "". A `pc32` target
    that is out of reach is called through a stub: so symbols are functions, never data.
    """

    offset: int
    kind: str
    symbol: str
    addend: int


@dataclass(frozen=True, slots=True)
class CodeImage:
    """Code and its constants in one piece; the offsets of the functions that it defines."""

    text: bytes
    symbols: dict[str, int] = field(default_factory=dict)
    relocations: tuple[Relocation, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    def encode(self) -> bytes:
        """As bytes, for files and pipes."""
        names = dict.fromkeys(["", *self.symbols, *(r.symbol for r in self.relocations)])
        number = {name: i for i, name in enumerate(names)}
        if len(number) > MAX_NAMES:
            raise CodeError(f"machine code: {len(number)} names; at most {MAX_NAMES}")
        packed = b"".join(name.encode() + b"\0" for name in names)
        counts = len(self.text), len(packed), len(self.symbols), len(self.relocations)
        body = [_HEAD.pack(*counts), self.text, packed]
        body += [_SYMBOL.pack(offset, number[name]) for name, offset in self.symbols.items()]
        for r in self.relocations:
            kind = _KIND_NAMES.index(r.kind)
            body.append(_RELOCATION.pack(r.offset, kind, number[r.symbol], r.addend))
        joined = b"".join(body)
        return _MAGIC + hashlib.sha256(joined).digest() + joined

    @staticmethod
    def decode(blob: bytes) -> "CodeImage":
        """From bytes that nobody vouches for; CodeError if they are not an image, unharmed."""
        if not blob.startswith(_MAGIC):
            raise CodeError("machine code: not an image of this version")
        start = len(_MAGIC) + _DIGEST
        body = memoryview(blob)[start:]
        if hashlib.sha256(body).digest() != blob[len(_MAGIC) : start]:
            raise CodeError("machine code: the checksum is wrong")
        try:
            return _image(body)
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise CodeError(f"machine code: it does not hold together ({error})") from None


def _image(body: memoryview) -> CodeImage:
    """Take an image apart; sizes are held against what is there, names against their table."""
    text_size, names_size, symbol_count, relocation_count = _HEAD.unpack_from(body)
    sizes = (
        *(_HEAD.size, text_size, names_size),
        *(symbol_count * _SYMBOL.size, relocation_count * _RELOCATION.size),
    )
    if sum(sizes) != len(body):
        raise CodeError("machine code: not as long as it says")
    parts, at = [], 0
    for size in sizes:
        parts.append(bytes(body[at : at + size]))
        at += size
    _, text, packed, symbol_rows, relocation_rows = parts
    names = packed.decode().split("\0")[:-1]
    symbols = {names[name]: offset for offset, name in _SYMBOL.iter_unpack(symbol_rows)}
    if len(symbols) != symbol_count:
        raise CodeError("machine code: a symbol is defined twice")
    rows = _RELOCATION.iter_unpack(relocation_rows)
    relocations = tuple(Relocation(o, _KIND_NAMES[k], names[n], a) for o, k, n, a in rows)
    return CodeImage(text, symbols, relocations)


def _check(image: CodeImage) -> None:
    """CodeError unless every offset lies in the text and every number fits its place."""
    size = len(image.text)
    if size > MAX_TEXT:
        raise CodeError(f"machine code: {size} bytes of text; at most {MAX_TEXT}")
    for name, offset in image.symbols.items():
        if not 0 <= offset < size or not name:
            raise CodeError(f"machine code: the symbol {name[:64]!r} is not in the text")
    for place, kind, symbol, addend in image.relocations:
        if kind not in KINDS or not 0 <= place <= size - KINDS[kind]:
            raise CodeError("machine code: a relocation is not in the text")
        low, high = (-MAX_ADDEND, MAX_ADDEND) if symbol else (0, size)
        if not low <= addend <= high:
            raise CodeError(f"machine code: a relocation to {symbol[:64]!r} is out of range")
    if any("\0" in name for name in (*image.symbols, *{r.symbol for r in image.relocations})):
        raise CodeError("machine code: a name with a NUL in it")
