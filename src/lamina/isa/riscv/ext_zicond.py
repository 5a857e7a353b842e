"""Zicond: conditional zero.

Unprivileged specification, chapter "Zicond".
"""

from lamina.ir.build import Val
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zicond")


@insn("czero.eqz rd, rs1, rs2", "0000111 rs2 rs1 101 rd 0110011")
def czero_eqz(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Zero if rs2 is zero, else rs1."""
    h.x[rd] = h.select(h.x[rs2] == 0, 0, h.x[rs1])


@insn("czero.nez rd, rs1, rs2", "0000111 rs2 rs1 111 rd 0110011")
def czero_nez(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Zero if rs2 is not zero, else rs1."""
    h.x[rd] = h.select(h.x[rs2] != 0, 0, h.x[rs1])
