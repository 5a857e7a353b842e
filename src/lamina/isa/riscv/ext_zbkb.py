"""Zbkb: bit manipulation for cryptography, as far as it is not in Zbb.

Unprivileged specification, chapter "Scalar Cryptography". ZIP and UNZIP are of RV32 only. PACKW
with x0 as its second source is Zbb's ZEXT.H.
"""

from lamina.ir.build import Val
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zbkb")


@insn("brev8 rd, rs1", "0110100 00111 rs1 101 rd 0010011")
def brev8(h: Hart, rd: Val, rs1: Val) -> None:
    """Reverse the order of the bits in each byte."""
    h.x[rd] = h.x[rs1].bitrev().bswap()


@insn("pack rd, rs1, rs2", "0000100 rs2 rs1 100 rd 0110011")
def pack(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """The low words of both, that of rs2 above."""
    h.x[rd] = h.cat(h.x[rs2].trunc(32), h.x[rs1].trunc(32))


@insn("packh rd, rs1, rs2", "0000100 rs2 rs1 111 rd 0110011")
def packh(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """The low bytes of both, that of rs2 above."""
    h.x[rd] = h.cat(h.x[rs2].trunc(8), h.x[rs1].trunc(8)).zext(64)


@insn("packw rd, rs1, rs2", "0000100 rs2!=0 rs1 100 rd 0111011")
def packw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """The low halfwords of both, that of rs2 above, as a signed word."""
    h.x[rd] = h.cat(h.x[rs2].trunc(16), h.x[rs1].trunc(16)).sext(64)
