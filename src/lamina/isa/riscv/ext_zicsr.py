"""Zicsr: instructions that read, write, set and clear CSRs.

Unprivileged Architecture, chapter Zicsr. The forms that do not read (rd = x0) or do not write
(rs1 = x0, uimm = 0) are encodings of their own. The registers are in `csr_*.py`.
"""

from lamina.ir.build import Operand, Val
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr_access import csr_read, csr_write
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zicsr")
MIP = 0x344


def read(h: Hart, csr: Operand) -> Val:
    """The CSR's value; traps if it may not be read."""
    return h.call(csr_read(), csr, h.operand("insn"))[0]


def write(h: Hart, csr: Operand, value: Val) -> None:
    """Write the CSR; traps if it may not be written."""
    h.call(csr_write(), csr, value, h.operand("insn"))


def _to_modify(h: Hart, csr: Val, value: Val) -> Val:
    """What set and clear start from: of mip.SEIP only the software's bit (3.1.9)."""
    software = (value & ~f.SEIP) | (h.s.mip_soft & f.SEIP)
    return h.select(csr == MIP, software, value)


@insn("csrrw rd, csr, rs1", "csr rs1 001 rd!=0 1110011")
def csrrw(h: Hart, rd: Val, csr: Val, rs1: Val) -> None:
    old, new = read(h, csr), h.x[rs1]
    write(h, csr, new)
    h.x[rd] = old


@insn("csrw csr, rs1", "csr rs1 001 00000 1110011")
def csrw(h: Hart, csr: Val, rs1: Val) -> None:
    write(h, csr, h.x[rs1])


@insn("csrrs rd, csr, rs1", "csr rs1!=0 010 rd 1110011")
def csrrs(h: Hart, rd: Val, csr: Val, rs1: Val) -> None:
    old = read(h, csr)
    write(h, csr, _to_modify(h, csr, old) | h.x[rs1])
    h.x[rd] = old


@insn("csrr rd, csr", "csr 00000 010 rd 1110011")
def csrr(h: Hart, rd: Val, csr: Val) -> None:
    h.x[rd] = read(h, csr)


@insn("csrrc rd, csr, rs1", "csr rs1!=0 011 rd 1110011")
def csrrc(h: Hart, rd: Val, csr: Val, rs1: Val) -> None:
    old = read(h, csr)
    write(h, csr, _to_modify(h, csr, old) & ~h.x[rs1])
    h.x[rd] = old


@insn("csrrc rd, csr, zero", "csr 00000 011 rd 1110011")
def csrrc_nothing(h: Hart, rd: Val, csr: Val) -> None:
    h.x[rd] = read(h, csr)


@insn("csrrwi rd, csr, uimm", "csr uimm 101 rd!=0 1110011")
def csrrwi(h: Hart, rd: Val, csr: Val, uimm: Val) -> None:
    old = read(h, csr)
    write(h, csr, uimm)
    h.x[rd] = old


@insn("csrwi csr, uimm", "csr uimm 101 00000 1110011")
def csrwi(h: Hart, csr: Val, uimm: Val) -> None:
    write(h, csr, uimm)


@insn("csrrsi rd, csr, uimm", "csr uimm!=0 110 rd 1110011")
def csrrsi(h: Hart, rd: Val, csr: Val, uimm: Val) -> None:
    old = read(h, csr)
    write(h, csr, _to_modify(h, csr, old) | uimm)
    h.x[rd] = old


@insn("csrrsi rd, csr, 0", "csr 00000 110 rd 1110011")
def csrrsi_nothing(h: Hart, rd: Val, csr: Val) -> None:
    h.x[rd] = read(h, csr)


@insn("csrrci rd, csr, uimm", "csr uimm!=0 111 rd 1110011")
def csrrci(h: Hart, rd: Val, csr: Val, uimm: Val) -> None:
    old = read(h, csr)
    write(h, csr, _to_modify(h, csr, old) & ~uimm)
    h.x[rd] = old


@insn("csrrci rd, csr, 0", "csr 00000 111 rd 1110011")
def csrrci_nothing(h: Hart, rd: Val, csr: Val) -> None:
    h.x[rd] = read(h, csr)
