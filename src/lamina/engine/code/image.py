"""Machine code as plain data: what a compiler hands over, what is kept on disk, what is placed.

A `CodeImage` is position-independent: references inside of its text are settled already, what is
left are the relocations, which `engine.code.arena` settles when it places the image. Encoded
images come from files and from another process, so that decoding checks every number in them.

Encoded, all little-endian: magic and version (8 bytes), SHA-256 of what follows, then the lengths
of text, symbols and relocations, the text, and the other two as rows with their names.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from lamina.base.errors import CodeError

ALIGNMENT = 64  # of the text: its constants and loops count on it
MAX_TEXT = 64 << 20
MAX_ADDEND = 1 << 12  # of a reference to a function
KINDS = {"abs64": 8, "pc32": 4}  # bytes that a relocation of each kind patches

_MAGIC = b"LAMCODE\x01"  # the last byte is the version of the format
_DIGEST = hashlib.sha256().digest_size
_HEAD = struct.Struct("<III")  # bytes of text, symbols, relocations
_SYMBOL = struct.Struct("<IB")  # offset, bytes of the name
_RELOCATION = struct.Struct("<IBBq")  # offset, kind, bytes of the symbol's name, addend
_KIND_NAMES = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place to patch. `abs64`: target + addend; `pc32`: that, from the place's own address.

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
        body = [_HEAD.pack(len(self.text), len(self.symbols), len(self.relocations)), self.text]
        for name, offset in self.symbols.items():
            raw = name.encode()
            body += [_SYMBOL.pack(offset, len(raw)), raw]
        for r in self.relocations:
            raw, kind = r.symbol.encode(), _KIND_NAMES.index(r.kind)
            body += [_RELOCATION.pack(r.offset, kind, len(raw), r.addend), raw]
        joined = b"".join(body)
        return _MAGIC + hashlib.sha256(joined).digest() + joined

    @staticmethod
    def decode(blob: bytes) -> "CodeImage":
        """From bytes that nobody vouches for; CodeError if they are not an image, unharmed."""
        if not blob.startswith(_MAGIC):
            raise CodeError("machine code: not an image of this version")
        start = len(_MAGIC) + _DIGEST
        if hashlib.sha256(memoryview(blob)[start:]).digest() != blob[len(_MAGIC) : start]:
            raise CodeError("machine code: the checksum is wrong")
        return _Reader(blob, start).image()


class _Reader:
    """Takes an encoded image apart; every length is held against what is there."""

    def __init__(self, blob: bytes, at: int) -> None:
        self._blob = blob
        self._at = at

    def image(self) -> CodeImage:
        text_size, symbol_count, relocation_count = self._take(_HEAD)
        text = self._bytes(text_size)
        symbols = dict(self._symbols(symbol_count))
        if len(symbols) != symbol_count:
            raise CodeError("machine code: a symbol is defined twice")
        relocations = tuple(self._relocations(relocation_count))
        if self._at != len(self._blob):
            raise CodeError("machine code: more bytes than it says")
        return CodeImage(text, symbols, relocations)

    def _symbols(self, count: int) -> Iterator[tuple[str, int]]:
        for _ in range(count):
            offset, length = self._take(_SYMBOL)
            yield self._name(length), offset

    def _relocations(self, count: int) -> Iterator[Relocation]:
        for _ in range(count):
            offset, kind, length, addend = self._take(_RELOCATION)
            if kind >= len(_KIND_NAMES):
                raise CodeError(f"machine code: there is no relocation of kind {kind}")
            yield Relocation(offset, _KIND_NAMES[kind], self._name(length), addend)

    def _take(self, row: struct.Struct) -> tuple[int, ...]:
        return row.unpack(self._bytes(row.size))

    def _bytes(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._blob):
            raise CodeError("machine code: cut short")
        taken = self._blob[self._at : end]
        self._at = end
        return taken

    def _name(self, length: int) -> str:
        try:
            return self._bytes(length).decode()
        except UnicodeDecodeError:
            raise CodeError("machine code: a name is no text") from None


def _check(image: CodeImage) -> None:
    """CodeError unless every offset lies in the text and every number fits its place."""
    size = len(image.text)
    if size > MAX_TEXT:
        raise CodeError(f"machine code: {size} bytes of text; at most {MAX_TEXT}")
    for name, offset in image.symbols.items():
        if not 0 <= offset < size or not _is_name(name):
            raise CodeError(f"machine code: the symbol {name[:64]!r} is not in the text")
    for r in image.relocations:
        patched = KINDS.get(r.kind)
        if patched is None or not 0 <= r.offset <= size - patched:
            raise CodeError("machine code: a relocation is not in the text")
        if not r.symbol:
            if not 0 <= r.addend <= size:
                raise CodeError("machine code: a relocation points out of the text")
        elif not _is_name(r.symbol) or not -MAX_ADDEND <= r.addend <= MAX_ADDEND:
            raise CodeError(f"machine code: a relocation to {r.symbol[:64]!r} is out of range")


def _is_name(name: str) -> bool:
    return name != "" and len(name.encode()) < 256
