"""Zbs: single bits, numbered by a register or an immediate.

Unprivileged specification, chapter "B".
"""

from lamina.ir.build import Val
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zbs")


def _one_bit(h: Hart, number: Val) -> Val:
    return h.const(1) << (number & 63)


@insn("bclr rd, rs1, rs2", "0100100 rs2 rs1 001 rd 0110011")
def bclr(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Clear a bit."""
    h.x[rd] = h.x[rs1] & ~_one_bit(h, h.x[rs2])


@insn("bclri rd, rs1, shamt", "010010 shamt[5:0] rs1 001 rd 0010011")
def bclri(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Clear a bit, immediate."""
    h.x[rd] = h.x[rs1] & ~_one_bit(h, shamt)


@insn("bext rd, rs1, rs2", "0100100 rs2 rs1 101 rd 0110011")
def bext(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Extract a bit."""
    h.x[rd] = (h.x[rs1] >> (h.x[rs2] & 63)) & 1


@insn("bexti rd, rs1, shamt", "010010 shamt[5:0] rs1 101 rd 0010011")
def bexti(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Extract a bit, immediate."""
    h.x[rd] = (h.x[rs1] >> shamt) & 1


@insn("binv rd, rs1, rs2", "0110100 rs2 rs1 001 rd 0110011")
def binv(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Invert a bit."""
    h.x[rd] = h.x[rs1] ^ _one_bit(h, h.x[rs2])


@insn("binvi rd, rs1, shamt", "011010 shamt[5:0] rs1 001 rd 0010011")
def binvi(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Invert a bit, immediate."""
    h.x[rd] = h.x[rs1] ^ _one_bit(h, shamt)


@insn("bset rd, rs1, rs2", "0010100 rs2 rs1 001 rd 0110011")
def bset(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Set a bit."""
    h.x[rd] = h.x[rs1] | _one_bit(h, h.x[rs2])


@insn("bseti rd, rs1, shamt", "001010 shamt[5:0] rs1 001 rd 0010011")
def bseti(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Set a bit, immediate."""
    h.x[rd] = h.x[rs1] | _one_bit(h, shamt)
