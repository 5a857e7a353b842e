"""Declaring control and status registers.

A CSR is declared once, in `csr_*.py`: its number, its name, how it reads, how it is written
(WARL behaviour is in the writer). Minimum privilege and read-only-ness follow from the number
(Privileged Architecture 2.1). `csr_access` builds the two routines that instructions call.

    @csr(0x180, "satp")
    def satp(h): return h.s.satp

    @satp.writer
    def _(h, value): ...
"""

from collections.abc import Callable
from dataclasses import dataclass

from lamina.base.bits import U64
from lamina.ir.build import Val
from lamina.isa.riscv.fields import Cause
from lamina.isa.riscv.hart import Hart


class CsrHart(Hart):
    """Captures a routine that an instruction calls: its last parameter is the instruction's bits,
    the tval of an illegal-instruction exception."""

    def illegal(self) -> None:
        self.trap(Cause.ILLEGAL, self.params[-1])


Reader = Callable[[CsrHart], Val]
Writer = Callable[[CsrHart, Val], None]
IndexedReader = Callable[[CsrHart, Val], Val]
IndexedWriter = Callable[[CsrHart, Val, Val], None]


def ignore(h: CsrHart, value: Val) -> None:
    """The writer of a CSR that is read-only though its number says read/write."""


@dataclass
class Csr:
    """One register. Without a writer given, writes are ignored where the number allows them."""

    number: int
    name: str
    read: Reader
    write: Writer = ignore

    def writer(self, write: Writer) -> Writer:
        """Decorator: how a write takes effect."""
        self.write = write
        return write


@dataclass
class CsrArray:
    """Registers of consecutive numbers and alike meaning; `read(h, index)` counts from 0."""

    number: int
    count: int
    name: str  # with the register's index in braces: "pmpaddr{}"
    first: int  # the index in the name of the first one
    read: IndexedReader
    write: IndexedWriter


CSRS: dict[int, Csr] = {}
ARRAYS: list[CsrArray] = []


def csr(number: int, name: str) -> Callable[[Reader], Csr]:
    """Decorator: declares the CSR that the function reads."""

    def declare(read: Reader) -> Csr:
        if number in CSRS:
            raise ValueError(f"CSR {number:#x} ({name}) is declared twice")
        CSRS[number] = Csr(number, name, read)
        return CSRS[number]

    return declare


def slot_csr(number: int, name: str, writable: int = U64) -> None:
    """Declares a CSR that is its slot; bits that are not in `writable` are read-only zero."""

    def read(h: CsrHart) -> Val:
        return h.get(name)

    def write(h: CsrHart, value: Val) -> None:
        h.set(name, value & writable)

    csr(number, name)(read).writer(write)


def constant_csr(number: int, name: str, value: int = 0) -> None:
    """Declares a CSR that always reads `value`."""
    csr(number, name)(lambda h: h.const(value))


def array(
    number: int, count: int, name: str, first: int, read: IndexedReader, write: IndexedWriter
) -> None:
    """Declares `count` CSRs from `number` on, with names from `name.format(first)` on."""
    ARRAYS.append(CsrArray(number, count, name, first, read, write))


def zero_array(number: int, count: int, name: str, first: int) -> None:
    """Declares CSRs that read zero and ignore writes."""
    array(number, count, name, first, lambda h, i: h.const(0), lambda h, i, v: None)
