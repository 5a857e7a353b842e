"""From the object files that LLVM writes to code images.

Reads x86-64 relocatable objects: System V ABI, "ELF-64 Object File Format" and the AMD64
supplement's table of relocation types. Only what LLVM emits for Lamina's own modules is known
(code, constants, tables of addresses); anything else is refused by name, not guessed at.
"""

import struct
from typing import NamedTuple

from lamina.base.bits import align_up
from lamina.base.errors import CodeError
from lamina.engine.code.image import ALIGNMENT, END, CodeImage, Relocation

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")
_IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
_RELOCATABLE, _X86_64 = 1, 62

# Section types and flags.
_PROGBITS, _SYMTAB, _RELA_TYPE = 1, 2, 4
_ALLOC = 2
_PLACED = (".text", ".rodata", ".data.rel.ro")  # these, and with a dot and more behind them
_UNWIND = ".eh_frame"  # nobody unwinds through guest code
# Symbols.
_GLOBAL, _FUNCTION = 1, 2
_UNDEFINED, _RESERVED = 0, 0xFF00
# Relocation types (AMD64 supplement, table 4.9).
_R_64, _R_PC32, _R_PLT32, _R_32, _R_32S, _R_8, _R_GOT = 1, 2, 4, 10, 11, 14, (9, 41, 42)

_PIECE = ".text."
_PIECE_KINDS = {_R_64: "abs64", _R_PC32: "pc32", _R_PLT32: "pc32", _R_32: "abs32", _R_32S: "abs32"}
_PIECE_KINDS |= {_R_8: "abs8"}


class _Section(NamedTuple):
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


class _Symbol(NamedTuple):
    name: str
    binding: int
    function: bool
    section: int
    value: int


def image_of(obj: bytes) -> CodeImage:
    """The code image of an object file; CodeError if it holds something unknown."""
    try:
        return _Object(obj).image()
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise CodeError(f"object file: damaged ({error})") from None


def stencils_of(obj: bytes) -> CodeImage:
    """An object file whose functions lie in a section each, `.text.NAME`, as pieces one behind
    another: a symbol says where each begins, and `END` where the last one ends. Every reference is
    a relocation, so that a piece may be copied to anywhere. Functions that need more than their own
    code (constants) are left out."""
    try:
        return _Object(obj).pieces()
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise CodeError(f"object file: damaged ({error})") from None


class _Object:
    """One object file, and the text that is laid out from it."""

    def __init__(self, obj: bytes) -> None:
        self._obj = obj
        self._sections = self._read_sections()
        self._symbols = self._read_symbols()
        self._placed: dict[int, int] = {}  # section number -> offset in the text
        self._text = bytearray()
        self._relocations: list[Relocation] = []
        self._slots: dict[str, int] = {}  # a function's address, for code that loads it

    def image(self) -> CodeImage:
        self._place_sections()
        for section in self._sections:
            if section.kind == _RELA_TYPE and section.info in self._placed:
                self._relocate(section)
        symbols = {
            s.name: self._placed[s.section] + s.value
            for s in self._symbols
            if (s.binding == _GLOBAL or s.function) and s.section in self._placed
        }
        return CodeImage(bytes(self._text), symbols, tuple(self._relocations))

    def pieces(self) -> CodeImage:
        symbols: dict[str, int] = {}
        tables = {s.info: s for s in self._sections if s.kind == _RELA_TYPE}
        for i, section in enumerate(self._sections):
            name = section.name.removeprefix(_PIECE)
            if name == section.name or not section.size or section.kind != _PROGBITS:
                continue
            rows = self._content(tables[i]) if i in tables else b""
            found = [self._piece(*row) for row in _RELA.iter_unpack(rows)]
            if None in found:
                continue
            symbols[name] = len(self._text)
            start = len(self._text)
            self._relocations += [r._replace(offset=start + r.offset) for r in found if r]
            self._text += self._content(section)
        symbols[END] = len(self._text)
        return CodeImage(bytes(self._text) + b"\0", symbols, tuple(self._relocations))

    def _piece(self, place: int, info: int, addend: int) -> Relocation | None:
        """A relocation in a piece; None if it is to something that does not come along."""
        kind, symbol = info & 0xFFFF_FFFF, self._symbols[info >> 32]
        if symbol.section != _UNDEFINED or kind not in _PIECE_KINDS:
            return None
        return Relocation(place, _PIECE_KINDS[kind], symbol.name, addend)

    # -- reading -------------------------------------------------------------------------------
    def _read_sections(self) -> list[_Section]:
        head = _HEADER.unpack_from(self._obj)
        ident, kind, machine, at = head[0], head[1], head[2], head[6]
        entry, count, names = head[11], head[12], head[13]
        if not ident.startswith(_IDENT) or (kind, machine) != (_RELOCATABLE, _X86_64):
            raise CodeError("object file: not a relocatable object for x86-64")
        if entry != _SECTION.size:
            raise CodeError("object file: section headers of an unknown size")
        rows = [_SECTION.unpack_from(self._obj, at + i * entry) for i in range(count)]
        strings = rows[names][4]
        return [
            _Section(self._string(strings + r[0]), r[1], r[2], r[4], r[5], r[6], r[7], r[8])
            for r in rows
        ]

    def _read_symbols(self) -> list[_Symbol]:
        tables = [s for s in self._sections if s.kind == _SYMTAB]
        if len(tables) != 1:
            raise CodeError(f"object file: {len(tables)} symbol tables")
        strings = self._sections[tables[0].link].offset
        rows = _SYMBOL.iter_unpack(self._content(tables[0]))
        return [
            _Symbol(self._string(strings + name), info >> 4, info & 15 == _FUNCTION, section, value)
            for name, info, _, section, value, _ in rows
        ]

    def _string(self, at: int) -> str:
        return self._obj[at : self._obj.index(b"\0", at)].decode()

    def _content(self, section: _Section) -> bytes:
        content = self._obj[section.offset : section.offset + section.size]
        if len(content) != section.size:
            raise CodeError(f"object file: {section.name} is cut short")
        return content

    # -- the text ------------------------------------------------------------------------------
    def _place_sections(self) -> None:
        """Code first, constants behind it."""
        for i, section in enumerate(self._sections):
            if not section.flags & _ALLOC or not section.size:
                continue
            if section.name.startswith(_UNWIND):
                continue
            known = any(f"{section.name}.".startswith(f"{name}.") for name in _PLACED)
            if not known or section.kind != _PROGBITS or section.align > ALIGNMENT:
                raise CodeError(f"object file: nothing is known of section {section.name}")
            # A section's neighbour begins a line of its own: code and constants do not share one.
            self._text += bytes(align_up(len(self._text), ALIGNMENT) - len(self._text))
            self._placed[i] = len(self._text)
            self._text += self._content(section)

    def _relocate(self, table: _Section) -> None:
        base = self._placed[table.info]
        for place, info, addend in _RELA.iter_unpack(self._content(table)):
            kind, symbol = info & 0xFFFF_FFFF, self._symbols[info >> 32]
            if kind == _R_64:
                self._absolute(base + place, symbol, addend)
            elif kind in (_R_PC32, _R_PLT32):
                self._relative(base + place, symbol, addend)
            elif kind in _R_GOT:
                self._through_slot(base + place, symbol, addend)
            else:
                raise CodeError(f"object file: relocation type {kind} to {symbol.name!r}")

    def _target(self, symbol: _Symbol) -> int | None:
        """A symbol's offset in the text; None for one that is defined elsewhere."""
        if symbol.section == _UNDEFINED and symbol.name:
            return None
        if symbol.section not in self._placed or symbol.section >= _RESERVED:
            raise CodeError(f"object file: a reference to {symbol.name!r}, which is not placed")
        return self._placed[symbol.section] + symbol.value

    def _absolute(self, place: int, symbol: _Symbol, addend: int) -> None:
        target = self._target(symbol)
        if target is None:
            self._relocations.append(Relocation(place, "abs64", symbol.name, addend))
        else:
            self._relocations.append(Relocation(place, "abs64", "", target + addend))

    def _relative(self, place: int, symbol: _Symbol, addend: int) -> None:
        target = self._target(symbol)
        if target is None:
            self._relocations.append(Relocation(place, "pc32", symbol.name, addend))
        else:
            struct.pack_into("<i", self._text, place, target + addend - place)

    def _through_slot(self, place: int, symbol: _Symbol, addend: int) -> None:
        """An address is loaded from a table: one slot for each symbol, behind everything else."""
        slot = self._slots.get(symbol.name)
        if slot is None:
            self._text += bytes(align_up(len(self._text), 8) - len(self._text))
            slot = self._slots[symbol.name] = len(self._text)
            self._text += bytes(8)
            self._absolute(slot, symbol, 0)
        struct.pack_into("<i", self._text, place, slot + addend - place)
