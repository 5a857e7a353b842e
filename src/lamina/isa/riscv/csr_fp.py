"""The floating-point CSRs fflags, frm and fcsr.

Unprivileged Architecture, F extension ("fcsr"); mstatus.FS, Privileged Architecture 3.1.6.6: off
makes them illegal, a write makes the state dirty.
"""

from lamina.base.bits import mask
from lamina.ir.build import Val
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr import CsrHart, csr
from lamina.isa.riscv.status import is_set

FLAG_BITS, MODE_BITS = 5, 3


def _check_on(h: CsrHart) -> None:
    with h.when(~is_set(h.s.mstatus, f.FS)):
        h.illegal()


def _dirty(h: CsrHart) -> None:
    h.s.mstatus = h.s.mstatus | f.FS


@csr(0x001, "fflags")
def fflags(h: CsrHart) -> Val:
    _check_on(h)
    return h.s.fflags


@fflags.writer
def _(h: CsrHart, value: Val) -> None:
    _check_on(h)
    h.s.fflags = value & mask(FLAG_BITS)
    _dirty(h)


@csr(0x002, "frm")
def frm(h: CsrHart) -> Val:
    _check_on(h)
    return h.s.frm


@frm.writer
def _(h: CsrHart, value: Val) -> None:
    _check_on(h)
    h.s.frm = value & mask(MODE_BITS)
    _dirty(h)


@csr(0x003, "fcsr")
def fcsr(h: CsrHart) -> Val:
    _check_on(h)
    return (h.s.frm << FLAG_BITS) | h.s.fflags


@fcsr.writer
def _(h: CsrHart, value: Val) -> None:
    _check_on(h)
    h.s.fflags = value & mask(FLAG_BITS)
    h.s.frm = (value >> FLAG_BITS) & mask(MODE_BITS)
    _dirty(h)
