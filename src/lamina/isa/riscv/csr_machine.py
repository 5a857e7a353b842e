"""Machine-level CSRs: information, trap set-up and handling, environment configuration.

Privileged Architecture 1.13, 3.1; the counters are in `csr_counters`, PMP in `csr_pmp`. There are
no triggers (Debug Specification: tselect and tdata1 read zero) and no debug mode.
"""

from lamina.base.bits import U64
from lamina.ir.build import Val
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr import CsrHart, constant_csr, csr, slot_csr
from lamina.isa.riscv.status import (
    counts_time,
    is_set,
    read_mip,
    read_status,
    timer_deadline,
    write_status,
)

constant_csr(0xF11, "mvendorid")
constant_csr(0xF12, "marchid")
constant_csr(0xF13, "mimpid")
slot_csr(0xF14, "mhartid")
constant_csr(0xF15, "mconfigptr")
constant_csr(0x301, "misa", f.MISA)

slot_csr(0x302, "medeleg", f.DELEGABLE)
slot_csr(0x340, "mscratch")
slot_csr(0x341, "mepc", U64 & ~1)
slot_csr(0x342, "mcause")
slot_csr(0x343, "mtval")
slot_csr(0x305, "mtvec", U64 & ~2)  # mode: 0 direct, 1 vectored

constant_csr(0x7A0, "tselect")
constant_csr(0x7A1, "tdata1")
constant_csr(0x7A2, "tdata2")
constant_csr(0x7A3, "tdata3")
constant_csr(0x7A4, "tinfo", 1)
constant_csr(0x7A5, "tcontrol")


@csr(0x300, "mstatus")
def mstatus(h: CsrHart) -> Val:
    return read_status(h)


@mstatus.writer
def _(h: CsrHart, value: Val) -> None:
    write_status(h, value, f.MSTATUS_WRITABLE)


@csr(0x303, "mideleg")
def mideleg(h: CsrHart) -> Val:
    return h.s.mideleg


@mideleg.writer
def _(h: CsrHart, value: Val) -> None:
    h.s.mideleg = value & f.S_INTERRUPTS
    h.do("pending")


@csr(0x304, "mie")
def mie(h: CsrHart) -> Val:
    return h.s.mie


@mie.writer
def _(h: CsrHart, value: Val) -> None:
    h.s.mie = value & f.ALL_INTERRUPTS
    h.do("pending")


@csr(0x344, "mip")
def mip(h: CsrHart) -> Val:
    return read_mip(h)


@mip.writer
def _(h: CsrHart, value: Val) -> None:
    """STIP is writable while it does not come from stimecmp; the other lines are hardware's."""
    writable = h.select(counts_time(h), f.S_INTERRUPTS & ~f.STIP, f.S_INTERRUPTS)
    h.s.mip_soft = (h.s.mip_soft & ~writable) | (value & writable)
    h.do("pending")


@csr(0x30A, "menvcfg")
def menvcfg(h: CsrHart) -> Val:
    return h.s.menvcfg


@menvcfg.writer
def _(h: CsrHart, value: Val) -> None:
    old = h.s.menvcfg
    new = legal_cbie(h, value & f.MENVCFG_WRITABLE)
    h.s.menvcfg = new
    changed = old ^ new
    with h.when(is_set(changed, f.PBMTE | f.ADUE)):
        h.do("tlb.flush")
    with h.when(is_set(changed, f.STCE)):
        announce_deadline(h)


def legal_cbie(h: CsrHart, value: Val) -> Val:
    """The reserved value 2 of CBIE is taken as 0 (Zicbom: the cbo.inval is illegal)."""
    reserved = (value & f.CBIE) == 2 << f.CBIE_SHIFT
    return h.select(reserved, value & ~f.CBIE, value)


def announce_deadline(h: CsrHart) -> None:
    """Tell the machine when STIP rises next (all ones: never), and look at interrupts again."""
    h.do("notify", timer_deadline(h), event="stimecmp")
    h.do("pending")
