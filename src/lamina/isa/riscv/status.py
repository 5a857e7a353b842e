"""mstatus and the interrupt registers as pieces of IR that several routines share.

Privileged Architecture 1.13, 3.1.6 (mstatus), 3.1.9 (mip), 12.1.1 (sstatus) and Sstc. Used by the
CSR declarations, trap entry and return, and wfi.
"""

from functools import cache

from lamina.base.bits import U64
from lamina.ir.build import Val
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.hart import Hart

HARDWARE_LINES = f.ALL_INTERRUPTS & ~f.STIP  # bits of slot `irq`; STIP is computed


def is_set(value: Val, bits: int) -> Val:
    """One bit: some of `bits` are set in `value`."""
    return (value & bits) != 0


def counts_time(h: Hart) -> Val:
    """One bit: Sstc is enabled, so that stimecmp makes the supervisor's timer interrupt."""
    return is_set(h.s.menvcfg, f.STCE)


def timer_deadline(h: Hart) -> Val:
    """When stimecmp makes STIP rise; all ones (never) while it does not count."""
    return h.select(counts_time(h), h.s.stimecmp, U64)


def read_status(h: Hart) -> Val:
    """mstatus with its constant and computed fields."""
    value = h.s.mstatus
    dirty = (value & f.FS) == f.FS
    return value | (f.UXL_64 | f.SXL_64) | h.select(dirty, f.SD, 0)


def write_status(h: Hart, value: Val, writable: int) -> None:
    """Write those fields of mstatus; what engines keep because of it is brought up to date."""
    old = h.s.mstatus
    new = (old & ~writable) | (value & writable)
    if writable & f.MPP:
        reserved = (new & f.MPP) == 2 << f.MPP_SHIFT
        new = h.select(reserved, new & ~f.MPP, new)
    h.s.mstatus = new
    changed = old ^ new
    with h.when(is_set(changed, f.MXR)):
        h.do("tlb.flush")
    with h.when(is_set(changed, f.MPRV | f.MPP | f.SUM)):
        h.do("tlb.context")
    with h.when(is_set(changed & new, f.MIE | f.SIE)):
        look_at_interrupts(h)


def look_at_interrupts(h: Hart) -> None:
    """More interrupts may be taken than before: have the engine look, if there is one. The clock is
    not asked: as long as the word `timer` says that somebody will speak up when it is due."""
    waiting = ((h.get("irq") & HARDWARE_LINES) | h.s.mip_soft) & h.s.mie
    timer = is_set(h.s.mie, f.STIP) & (h.get("timer") == 0)
    with h.when((waiting != 0) | timer):
        h.do("pending")


@cache
def mip_routine() -> Routine:
    """mip() -> the interrupts that are pending, from lines, software bits and stimecmp."""
    h = Hart("mip")
    result = h.var(64, 0, "result")
    result.set((h.get("irq") & HARDWARE_LINES) | h.s.mip_soft)
    with h.when(counts_time(h)):
        due = h.s.stimecmp.ule(h.one("time", 64))
        result.set((result.get() & ~f.STIP) | h.select(due, f.STIP, 0))
    return simplify(verify(h.finish(result.get())))


def read_mip(h: Hart) -> Val:
    """The pending interrupts."""
    return h.call(mip_routine())[0]
