"""Names for guest addresses: the kernel's by its own table, programs' by the bytes of their code.

Called by `debug/profile.py`. Nothing is asked of the guest, and nothing that it holds is believed
to be sound: what is not known is told by address, with the instruction that stands there.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE, U64
from lamina.bus.space import AddressSpace
from lamina.debug.elf_pages import ElfPages
from lamina.debug.kallsyms import KernelSymbols, find_kallsyms
from lamina.isa.arch import Arch
from lamina.isa.disasm import Disassembler

UPPER_HALF = 1 << 63
CHECKED = 64  # bytes of the table that must be in the guest's memory where they are expected
LONGEST = 120  # characters of a name


@dataclass(frozen=True, slots=True)
class Name:
    """What an address is called: the function, the distance from its start, and where it is. If
    that is not `known`, its page and the instruction."""

    function: str
    offset: int
    where: str
    known: bool = True

    def __str__(self) -> str:
        return f"{self.function}+{self.offset:#x}" if self.offset else self.function


class Kernel:
    """The functions of the kernel in a machine: virtual addresses, and before paging physical."""

    def __init__(self, symbols: KernelSymbols, base: int, physical: int) -> None:
        self._symbols = symbols
        self._bases = (base, physical)

    @classmethod
    def in_memory(cls, image: bytes, gpa: int, space: AddressSpace) -> Self | None:
        """The kernel of an image that was loaded at `gpa`; None if it has no table of symbols.
        Where it moved itself to at boot is read from its memory."""
        symbols = find_kallsyms(image)
        if symbols is None:
            return None
        at = symbols.base_at
        base = int.from_bytes(image[at : at + 8], "little")
        if space.find_ram(gpa + at - CHECKED, CHECKED + 8) is not None:
            found = space.read(gpa + at - CHECKED, CHECKED + 8)
            moved = int.from_bytes(found[CHECKED:], "little")
            same = found[:CHECKED] == image[at - CHECKED : at]
            if same and moved >= UPPER_HALF and moved % PAGE_SIZE == 0:
                base = moved
        return cls(symbols, base, gpa)

    def name(self, pc: int) -> Name | None:
        """The function at an address of the kernel's own code."""
        functions = self._symbols.functions
        for base in self._bases:
            distance = pc - base
            if not 0 <= distance < self._symbols.end:
                continue
            at = bisect_right(functions, distance, key=lambda entry: entry[0]) - 1
            if at >= 0:
                start, name = functions[at]
                return Name(_shown(name), distance - start, "kernel")
        return None


class Names:
    """Names for the addresses of one guest."""

    def __init__(
        self,
        arch: Arch,
        disassembler: Disassembler,
        kernel: Kernel | None,
        files: Iterable[tuple[str, bytes]],
    ) -> None:
        self._arch = arch
        self._disassembler = disassembler
        self._kernel = kernel
        self._pages = ElfPages(files)

    def name(self, pc: int, page: bytes | None, user: bool, other: int | None = None) -> Name:
        """What stands at `pc`, which lies in the guest page with these bytes; or at `other`, an
        address near it, in the same file."""
        asked = pc if other is None else other
        if not user:
            found = None if self._kernel is None else self._kernel.name(asked)
            return found or self._unknown(pc, page, asked)
        place = None if page is None else self._pages.find(page)
        if place is None:
            return self._unknown(pc, page, asked)
        address = place.address + pc % PAGE_SIZE + (asked - pc)
        where = _shown(place.file.path)
        function = place.file.function(address)
        if function is None:
            return Name(f"page_{address & -PAGE_SIZE:x}", address % PAGE_SIZE, where)
        return Name(_shown(function.name), address - function.address, where)

    def _unknown(self, pc: int, page: bytes | None, asked: int) -> Name:
        """By its page's address, with the instruction."""
        asked &= U64
        text = ""
        if page is not None and asked >> PAGE_SHIFT == pc >> PAGE_SHIFT:
            text = self._instruction(page, asked)
        return Name(f"page {asked & -PAGE_SIZE:#x}", asked % PAGE_SIZE, text, known=False)

    def _instruction(self, page: bytes, pc: int) -> str:
        at = pc % PAGE_SIZE
        low = page[at : at + 2]
        if len(low) < 2 or pc % 2:
            return ""
        length = self._arch.insn_length(int.from_bytes(low, "little"))
        bits = page[at : at + length]
        if len(bits) < length:
            return ""
        return f"{pc:#x}: {self._disassembler.text(int.from_bytes(bits, 'little'), length, pc)}"


def _shown(name: str) -> str:
    """A name that cannot steer a terminal, nor fill it."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    return clean if len(clean) <= LONGEST else f"{clean[: LONGEST - 3]}..."
