"""The routines through which instructions reach CSRs, and the names of all CSRs.

Unprivileged Architecture, Zicsr; Privileged Architecture 2.1. Called by `ext_zicsr` (and by
whoever needs a CSR by number). Both routines trap with an illegal-instruction exception for a
register that does not exist, needs more privilege, or is read-only when written.
"""

from collections.abc import Callable
from functools import cache

from lamina.ir.build import Val
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.riscv import csr_counters, csr_fp, csr_machine, csr_pmp, csr_supervisor
from lamina.isa.riscv.csr import ARRAYS, CSRS, CsrArray, CsrHart

DECLARATIONS = (csr_machine, csr_supervisor, csr_counters, csr_pmp, csr_fp)
READ_ONLY = 3  # number[11:10] of a read-only register


@cache
def csr_names() -> dict[str, int]:
    """CSR numbers by name, for the assembler, the disassembler and debuggers."""
    names = {c.name: c.number for c in CSRS.values()}
    for a in ARRAYS:
        names |= {a.name.format(a.first + i): a.number + i for i in range(a.count)}
    return names


@cache
def csr_read() -> Routine:
    """csr_read(number, insn) -> the CSR's value."""
    h = CsrHart("csr_read", (64, 64))
    number, _ = h.params
    _check_privilege(h, number)
    result = h.var(64, 0, "result")
    cases = {c.number: (lambda c=c: result.set(c.read(h))) for c in CSRS.values()}

    def default() -> None:
        _arrays(h, number, lambda a, index: result.set(a.read(h, index)))

    h.switch(number, cases, default)
    return simplify(verify(h.finish(result.get())))


@cache
def csr_write() -> Routine:
    """csr_write(number, value, insn)."""
    h = CsrHart("csr_write", (64, 64, 64))
    number, value, _ = h.params
    _check_privilege(h, number)
    with h.when(number[11:10] == READ_ONLY):
        h.illegal()
    writable = [c for c in CSRS.values() if c.number >> 10 != READ_ONLY]
    cases = {c.number: (lambda c=c: c.write(h, value)) for c in writable}
    h.switch(number, cases, lambda: _arrays(h, number, lambda a, index: a.write(h, index, value)))
    return simplify(verify(h.finish()))


def _check_privilege(h: CsrHart, number: Val) -> None:
    with h.when(h.s.priv.ult(number[9:8].zext(64))):
        h.illegal()


def _arrays(h: CsrHart, number: Val, access: Callable[[CsrArray, Val], None]) -> None:
    """`access(array, index)` for the array that holds the CSR; illegal if none does."""
    found = h.var(1, 0, "found")
    for a in ARRAYS:
        index = number - a.number
        with h.when(index.ult(a.count)):
            found.set(1)
            access(a, index)
    with h.when(found.get() == 0):
        h.illegal()
