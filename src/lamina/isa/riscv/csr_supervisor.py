"""Supervisor-level CSRs: restricted views of the machine's, trap handling, translation, Sstc.

Privileged Architecture 1.13, 12.1 (supervisor CSRs), 3.1.6.6 (TVM), Sstc 1.0.
"""

from lamina.base.bits import U64
from lamina.ir.build import Val
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr import CsrHart, csr, slot_csr
from lamina.isa.riscv.csr_machine import announce_deadline, legal_cbie
from lamina.isa.riscv.status import is_set, read_mip, read_status, write_status

slot_csr(0x105, "stvec", U64 & ~2)
slot_csr(0x140, "sscratch")
slot_csr(0x141, "sepc", U64 & ~1)
slot_csr(0x142, "scause")
slot_csr(0x143, "stval")


@csr(0x100, "sstatus")
def sstatus(h: CsrHart) -> Val:
    return read_status(h) & f.SSTATUS_READABLE


@sstatus.writer
def _(h: CsrHart, value: Val) -> None:
    write_status(h, value, f.SSTATUS_WRITABLE)


@csr(0x104, "sie")
def sie(h: CsrHart) -> Val:
    return h.s.mie & h.s.mideleg


@sie.writer
def _(h: CsrHart, value: Val) -> None:
    delegated = h.s.mideleg & f.S_INTERRUPTS
    h.s.mie = (h.s.mie & ~delegated) | (value & delegated)
    h.do("pending")


@csr(0x144, "sip")
def sip(h: CsrHart) -> Val:
    return read_mip(h) & h.s.mideleg


@sip.writer
def _(h: CsrHart, value: Val) -> None:
    """Only SSIP is the supervisor's to write."""
    writable = h.s.mideleg & f.SSIP
    h.s.mip_soft = (h.s.mip_soft & ~writable) | (value & writable)
    h.do("pending")


@csr(0x10A, "senvcfg")
def senvcfg(h: CsrHart) -> Val:
    return h.s.senvcfg


@senvcfg.writer
def _(h: CsrHart, value: Val) -> None:
    h.s.senvcfg = legal_cbie(h, value & f.SENVCFG_WRITABLE)


@csr(0x180, "satp")
def satp(h: CsrHart) -> Val:
    _check_tvm(h)
    return h.s.satp


@satp.writer
def _(h: CsrHart, value: Val) -> None:
    """A write with a mode that does not exist has no effect at all. Translations of other address
    spaces stay: what the supervisor changed in them it must fence by their ASIDs (12.2.1)."""
    _check_tvm(h)
    mode = value >> f.SATP_MODE_SHIFT
    legal = (mode == f.BARE) | (mode - f.SV39).ule(f.SV57 - f.SV39)
    with h.when(legal & (value != h.s.satp)):
        h.s.satp = value
        h.do("tlb.space")


def _check_tvm(h: CsrHart) -> None:
    with h.when((h.s.priv == f.SUPERVISOR) & is_set(h.s.mstatus, f.TVM)):
        h.illegal()


@csr(0x14D, "stimecmp")
def stimecmp(h: CsrHart) -> Val:
    _check_sstc(h)
    return h.s.stimecmp


@stimecmp.writer
def _(h: CsrHart, value: Val) -> None:
    _check_sstc(h)
    h.s.stimecmp = value
    announce_deadline(h)


def _check_sstc(h: CsrHart) -> None:
    """Below machine mode, stimecmp exists if STCE enables it and the time may be read."""
    allowed = is_set(h.s.menvcfg, f.STCE) & is_set(h.s.mcounteren, f.TM)
    with h.when((h.s.priv != f.MACHINE) & ~allowed):
        h.illegal()
