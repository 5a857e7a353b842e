"""Which file's code a page of a guest's memory is, and the names of the functions in it.

Programs are mapped page by page as they lie in their files, so a page of code is found by its
bytes: nothing need be known of the guest's processes. Files without a symbol table still tell where
functions begin, by the sorted table for unwinding (LSB, `.eh_frame_hdr`). ELF, 64 bits,
little-endian (gABI). Files come from anybody; what does not fit is no ELF file. Called by
`debug/symbols.py`.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lamina.base.bits import PAGE_SIZE, align_down

MAGIC = b"\x7fELF\x02\x01"
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
PT_LOAD, PT_EH_FRAME_HDR, PF_X = 1, 0x6474E550, 1
SHT_PROGBITS, SHT_SYMTAB, SHT_DYNSYM = 1, 2, 11
STT_FUNC, STT_IFUNC = 2, 10
UNWIND_TABLE = bytes((1, 0x1B, 0x03, 0x3B))  # pc-relative start, a count, pairs from here
MAX_NAME = 4096


class Function(NamedTuple):
    """A function that begins at a virtual address of its file; `size` 0: up to the next one."""

    address: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """A page of a file, and its virtual address there."""

    file: "ElfFile"
    address: int


class ElfFile:
    """A program or library. ValueError if it is none."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self._content = content
        self._functions: list[Function] | None = None
        try:
            self._programs, self._sections = self._headers()
        except (struct.error, IndexError) as error:
            raise ValueError(f"{path}: no sound ELF file") from error

    def _headers(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        if not self._content.startswith(MAGIC):
            raise ValueError(f"{self.path}: no ELF file of 64 bits")
        head = HEADER.unpack_from(self._content)
        programs_at, sections_at = head[5], head[6]
        programs = [
            PROGRAM.unpack_from(self._content, programs_at + i * PROGRAM.size)
            for i in range(head[10])
        ]
        sections = [
            SECTION.unpack_from(self._content, sections_at + i * SECTION.size)
            for i in range(head[12])
        ]
        self._names = sections[head[13]][4] if head[13] < len(sections) else 0
        return programs, sections

    def pages(self) -> Iterator[tuple[bytes, int]]:
        """The bytes and the virtual address of every page that holds code, as it is mapped."""
        for kind, flags, offset, address, _, size, _, _ in self._programs:
            if kind != PT_LOAD or not flags & PF_X or offset + size > len(self._content):
                continue
            for at in range(align_down(offset, PAGE_SIZE), offset + size, PAGE_SIZE):
                page = self._content[at : at + PAGE_SIZE]
                yield page.ljust(PAGE_SIZE, b"\0"), address + at - offset

    def function(self, address: int) -> Function | None:
        """The function that holds a virtual address, as far as is known."""
        if self._functions is None:
            self._functions = self._all_functions()
        at = bisect_right(self._functions, address, key=lambda f: f.address) - 1
        if at < 0:
            return None
        found = self._functions[at]
        return found if not found.size or address < found.address + found.size else None

    def _all_functions(self) -> list[Function]:
        found = {start: Function(start, 0, f"fn_{start:x}") for start in self._unwound()}
        found |= {stubs.address: stubs for stubs in self._stubs()}
        for function in self._named():
            old = found.get(function.address)
            if old is None or old.name.startswith("fn_") or len(function.name) < len(old.name):
                found[function.address] = function
        return sorted(found.values())

    def _named(self) -> Iterator[Function]:
        """Out of the symbol table, or else the dynamic one."""
        for wanted in (SHT_SYMTAB, SHT_DYNSYM):
            for _, kind, _, _, offset, size, link, _, _, _ in self._sections:
                if kind != wanted or link >= len(self._sections):
                    continue
                table = self._content[offset : offset + size - size % SYMBOL.size]
                strings = self._sections[link][4]
                yield from self._symbols(table, strings)
                return

    def _symbols(self, table: bytes, strings: int) -> Iterator[Function]:
        if len(table) % SYMBOL.size:
            return
        for name_at, info, _, section, value, size in SYMBOL.iter_unpack(table):
            if info & 15 not in (STT_FUNC, STT_IFUNC) or not section or not value:
                continue
            start = strings + name_at
            end = self._content.find(b"\0", start, start + MAX_NAME)
            if end > start:
                name = self._content[start:end].decode("ascii", "replace")
                yield Function(value, size, name)

    def _stubs(self) -> Iterator[Function]:
        """Through these, code calls the functions of other files."""
        for name, kind, _, address, _, size, _, _, _, _ in self._sections:
            start = self._names + name
            if kind == SHT_PROGBITS and self._content[start : start + 5] == b".plt\0":
                yield Function(address, size, "plt")

    def _unwound(self) -> Iterator[int]:
        """Where functions begin, by the table for unwinding."""
        for kind, _, offset, address, _, size, _, _ in self._programs:
            table = self._content[offset : offset + size]
            if kind != PT_EH_FRAME_HDR or table[:4] != UNWIND_TABLE or len(table) < 12:
                continue
            (count,) = struct.unpack_from("<I", table, 8)
            pairs = table[12 : 12 + 8 * min(count, len(table) // 8)]
            for start, _ in struct.iter_unpack("<ii", pairs[: len(pairs) & ~7]):
                if address + start > 0:
                    yield address + start


class ElfPages:
    """All pages of code of many files, by their bytes."""

    def __init__(self, files: Iterable[tuple[str, bytes]]) -> None:
        self._pages: dict[bytes, Place] = {}
        # The same code under several names (ls, dir, vdir) goes by the shortest.
        for path, content in sorted(files, key=lambda file: (len(file[0]), file[0])):
            if not content.startswith(MAGIC):
                continue
            try:
                file = ElfFile(path, content)
            except ValueError:
                continue
            for page, address in file.pages():
                self._pages.setdefault(page, Place(file, address))

    def find(self, page: bytes) -> Place | None:
        """The file that a page of memory is of, if all its bytes are the same."""
        return self._pages.get(page)
