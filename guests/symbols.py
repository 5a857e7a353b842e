"""Thins out the symbol table of a linked guest: names that a person would look for stay.

Assembly for RISC-V has a local label at every pc-relative address, and the linker keeps all of
them: four fifths of the table. build.py calls `thin` on each ELF. The format is that of the
System V ABI, chapters 4 (sections, symbols) and 5; ELF64, little-endian, and as the linker of
build.py lays it out: the tables that no segment loads come last in the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
SHT_SYMTAB, SHT_STRTAB = 2, 3
STT_FILE = 4
SHN_ABS = 0xFFF1


@dataclass(frozen=True)
class Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    def pack(self) -> bytes:
        fields = (self.name, self.kind, self.flags, self.address, self.offset)
        return SECTION.pack(*fields, self.size, self.link, self.info, self.align, self.entry_size)


def _name_at(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode()


def _wanted(name: str, info: int, section: int) -> bool:
    """Labels of the assembler, marks of the disassembler, file names and constants go."""
    return bool(name) and name[0] not in ".$" and info & 15 != STT_FILE and section != SHN_ABS


def _thin_tables(symbols: bytes, strings: bytes) -> tuple[bytes, bytes, int]:
    """New symbol table, its strings, and the number of local symbols (which come first)."""
    table, names, local = bytearray(SYMBOL.size), bytearray(1), 1
    for name, info, other, section, value, size in SYMBOL.iter_unpack(symbols):
        text = _name_at(strings, name)
        if _wanted(text, info, section):
            table += SYMBOL.pack(len(names), info, other, section, value, size)
            names += text.encode() + b"\0"
            local += info >> 4 == 0
    return bytes(table), bytes(names), local


def thin(elf: bytes) -> bytes:
    """The same program with a short symbol table."""
    header = list(HEADER.unpack_from(elf))
    sections_at, count, names_index = header[6], header[12], header[13]
    sections = [
        Section(*SECTION.unpack_from(elf, sections_at + i * SECTION.size)) for i in range(count)
    ]
    content = {i: elf[s.offset : s.offset + s.size] for i, s in enumerate(sections)}
    symtab = next(i for i, s in enumerate(sections) if s.kind == SHT_SYMTAB)
    strtab = sections[symtab].link
    content[symtab], content[strtab], local = _thin_tables(content[symtab], content[strtab])
    sections[symtab] = replace(sections[symtab], info=local)
    tables = sorted({symtab, strtab, names_index}, key=lambda i: sections[i].offset)
    output = bytearray(elf[: sections[tables[0]].offset])
    for i in tables:
        output += bytes(-len(output) % 8)
        sections[i] = replace(sections[i], offset=len(output), size=len(content[i]))
        output += content[i]
    output += bytes(-len(output) % 8)
    header[6] = len(output)
    output += b"".join(section.pack() for section in sections)
    output[: HEADER.size] = HEADER.pack(*header)
    return bytes(output)
