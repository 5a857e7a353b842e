"""M: integer multiplication and division.

Unprivileged specification, chapter "M". Division by zero and the overflowing signed division have
the results that the IR's total division defines: they are RISC-V's.
"""

from lamina.ir.build import Val
from lamina.isa.riscv.ext_i import w
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("M")


@insn("mul rd, rs1, rs2", "0000001 rs2 rs1 000 rd 0110011")
def mul(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Multiply: the low half."""
    h.x[rd] = h.x[rs1] * h.x[rs2]


@insn("mulh rd, rs1, rs2", "0000001 rs2 rs1 001 rd 0110011")
def mulh(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Multiply signed by signed: the high half."""
    h.x[rd] = (h.x[rs1].sext(128) * h.x[rs2].sext(128))[127:64]


@insn("mulhsu rd, rs1, rs2", "0000001 rs2 rs1 010 rd 0110011")
def mulhsu(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Multiply signed (rs1) by unsigned (rs2): the high half."""
    h.x[rd] = (h.x[rs1].sext(128) * h.x[rs2].zext(128))[127:64]


@insn("mulhu rd, rs1, rs2", "0000001 rs2 rs1 011 rd 0110011")
def mulhu(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Multiply unsigned by unsigned: the high half."""
    h.x[rd] = (h.x[rs1].zext(128) * h.x[rs2].zext(128))[127:64]


@insn("div rd, rs1, rs2", "0000001 rs2 rs1 100 rd 0110011")
def div(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Divide, signed, rounding towards zero."""
    h.x[rd] = h.x[rs1].sdiv(h.x[rs2])


@insn("divu rd, rs1, rs2", "0000001 rs2 rs1 101 rd 0110011")
def divu(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Divide, unsigned."""
    h.x[rd] = h.x[rs1].udiv(h.x[rs2])


@insn("rem rd, rs1, rs2", "0000001 rs2 rs1 110 rd 0110011")
def rem(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Remainder, signed: it has the dividend's sign."""
    h.x[rd] = h.x[rs1].srem(h.x[rs2])


@insn("remu rd, rs1, rs2", "0000001 rs2 rs1 111 rd 0110011")
def remu(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Remainder, unsigned."""
    h.x[rd] = h.x[rs1].urem(h.x[rs2])


@insn("mulw rd, rs1, rs2", "0000001 rs2 rs1 000 rd 0111011")
def mulw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Multiply words: the low half."""
    h.x[rd] = w(h.x[rs1] * h.x[rs2])


@insn("divw rd, rs1, rs2", "0000001 rs2 rs1 100 rd 0111011")
def divw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Divide words, signed."""
    h.x[rd] = h.x[rs1].trunc(32).sdiv(h.x[rs2].trunc(32)).sext(64)


@insn("divuw rd, rs1, rs2", "0000001 rs2 rs1 101 rd 0111011")
def divuw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Divide words, unsigned; the quotient is sign-extended all the same."""
    h.x[rd] = h.x[rs1].trunc(32).udiv(h.x[rs2].trunc(32)).sext(64)


@insn("remw rd, rs1, rs2", "0000001 rs2 rs1 110 rd 0111011")
def remw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Remainder of words, signed."""
    h.x[rd] = h.x[rs1].trunc(32).srem(h.x[rs2].trunc(32)).sext(64)


@insn("remuw rd, rs1, rs2", "0000001 rs2 rs1 111 rd 0111011")
def remuw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Remainder of words, unsigned; the result is sign-extended all the same."""
    h.x[rd] = h.x[rs1].trunc(32).urem(h.x[rs2].trunc(32)).sext(64)
