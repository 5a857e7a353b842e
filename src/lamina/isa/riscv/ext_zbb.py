"""Zbb: basic bit manipulation.

Unprivileged specification, chapter "B": logic with a negated operand, counts, minimum and maximum,
extensions, rotations, bytes.
"""

from lamina.ir.build import Val
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zbb")


@insn("andn rd, rs1, rs2", "0100000 rs2 rs1 111 rd 0110011")
def andn(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """And with the complement of rs2."""
    h.x[rd] = h.x[rs1] & ~h.x[rs2]


@insn("orn rd, rs1, rs2", "0100000 rs2 rs1 110 rd 0110011")
def orn(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Or with the complement of rs2."""
    h.x[rd] = h.x[rs1] | ~h.x[rs2]


@insn("xnor rd, rs1, rs2", "0100000 rs2 rs1 100 rd 0110011")
def xnor(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Complement of the exclusive or."""
    h.x[rd] = ~(h.x[rs1] ^ h.x[rs2])


# Counts -----------------------------------------------------------------------------------------


@insn("clz rd, rs1", "0110000 00000 rs1 001 rd 0010011")
def clz(h: Hart, rd: Val, rs1: Val) -> None:
    """Count leading zeros; 64 for zero."""
    h.x[rd] = h.x[rs1].clz()


@insn("ctz rd, rs1", "0110000 00001 rs1 001 rd 0010011")
def ctz(h: Hart, rd: Val, rs1: Val) -> None:
    """Count trailing zeros; 64 for zero."""
    h.x[rd] = h.x[rs1].ctz()


@insn("cpop rd, rs1", "0110000 00010 rs1 001 rd 0010011")
def cpop(h: Hart, rd: Val, rs1: Val) -> None:
    """Count set bits."""
    h.x[rd] = h.x[rs1].popcount()


@insn("clzw rd, rs1", "0110000 00000 rs1 001 rd 0011011")
def clzw(h: Hart, rd: Val, rs1: Val) -> None:
    """Count leading zeros of a word; 32 for zero."""
    h.x[rd] = h.x[rs1].trunc(32).clz().zext(64)


@insn("ctzw rd, rs1", "0110000 00001 rs1 001 rd 0011011")
def ctzw(h: Hart, rd: Val, rs1: Val) -> None:
    """Count trailing zeros of a word; 32 for zero."""
    h.x[rd] = h.x[rs1].trunc(32).ctz().zext(64)


@insn("cpopw rd, rs1", "0110000 00010 rs1 001 rd 0011011")
def cpopw(h: Hart, rd: Val, rs1: Val) -> None:
    """Count set bits of a word."""
    h.x[rd] = h.x[rs1].trunc(32).popcount().zext(64)


# Minimum and maximum ----------------------------------------------------------------------------


@insn("min rd, rs1, rs2", "0000101 rs2 rs1 100 rd 0110011")
def min_(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """The smaller, signed."""
    a, b = h.x[rs1], h.x[rs2]
    h.x[rd] = h.select(a.slt(b), a, b)


@insn("minu rd, rs1, rs2", "0000101 rs2 rs1 101 rd 0110011")
def minu(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """The smaller, unsigned."""
    a, b = h.x[rs1], h.x[rs2]
    h.x[rd] = h.select(a.ult(b), a, b)


@insn("max rd, rs1, rs2", "0000101 rs2 rs1 110 rd 0110011")
def max_(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """The larger, signed."""
    a, b = h.x[rs1], h.x[rs2]
    h.x[rd] = h.select(a.slt(b), b, a)


@insn("maxu rd, rs1, rs2", "0000101 rs2 rs1 111 rd 0110011")
def maxu(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """The larger, unsigned."""
    a, b = h.x[rs1], h.x[rs2]
    h.x[rd] = h.select(a.ult(b), b, a)


# Extensions -------------------------------------------------------------------------------------


@insn("sext.b rd, rs1", "0110000 00100 rs1 001 rd 0010011")
def sext_b(h: Hart, rd: Val, rs1: Val) -> None:
    """Sign-extend a byte."""
    h.x[rd] = h.x[rs1].trunc(8).sext(64)


@insn("sext.h rd, rs1", "0110000 00101 rs1 001 rd 0010011")
def sext_h(h: Hart, rd: Val, rs1: Val) -> None:
    """Sign-extend a halfword."""
    h.x[rd] = h.x[rs1].trunc(16).sext(64)


@insn("zext.h rd, rs1", "0000100 00000 rs1 100 rd 0111011")
def zext_h(h: Hart, rd: Val, rs1: Val) -> None:
    """Zero-extend a halfword."""
    h.x[rd] = h.x[rs1].trunc(16).zext(64)


# Rotations: shifts are total, so that a rotation by nothing needs no case of its own ------------


def _ror(value: Val, by: Val) -> Val:
    return (value >> by) | (value << (value.width - by))


def _rol(value: Val, by: Val) -> Val:
    return (value << by) | (value >> (value.width - by))


@insn("rol rd, rs1, rs2", "0110000 rs2 rs1 001 rd 0110011")
def rol(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Rotate left by the low six bits of rs2."""
    h.x[rd] = _rol(h.x[rs1], h.x[rs2] & 63)


@insn("ror rd, rs1, rs2", "0110000 rs2 rs1 101 rd 0110011")
def ror(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Rotate right by the low six bits of rs2."""
    h.x[rd] = _ror(h.x[rs1], h.x[rs2] & 63)


@insn("rori rd, rs1, shamt", "011000 shamt[5:0] rs1 101 rd 0010011")
def rori(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Rotate right by an immediate."""
    h.x[rd] = _ror(h.x[rs1], shamt)


@insn("rolw rd, rs1, rs2", "0110000 rs2 rs1 001 rd 0111011")
def rolw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Rotate a word left by the low five bits of rs2."""
    h.x[rd] = _rol(h.x[rs1].trunc(32), h.x[rs2].trunc(32) & 31).sext(64)


@insn("rorw rd, rs1, rs2", "0110000 rs2 rs1 101 rd 0111011")
def rorw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Rotate a word right by the low five bits of rs2."""
    h.x[rd] = _ror(h.x[rs1].trunc(32), h.x[rs2].trunc(32) & 31).sext(64)


@insn("roriw rd, rs1, shamt", "0110000 shamt[4:0] rs1 101 rd 0011011")
def roriw(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Rotate a word right by an immediate."""
    h.x[rd] = _ror(h.x[rs1].trunc(32), shamt.trunc(32)).sext(64)


# Bytes ------------------------------------------------------------------------------------------

_EACH_BYTE = int.from_bytes(b"\x01" * 8, "little")


@insn("orc.b rd, rs1", "0010100 00111 rs1 101 rd 0010011")
def orc_b(h: Hart, rd: Val, rs1: Val) -> None:
    """Each byte becomes all ones if any of its bits is set."""
    value, low7 = h.x[rs1], 0x7F * _EACH_BYTE
    top = (((value & low7) + low7) | value) >> 7  # bit 0 of each byte: the byte is not zero
    h.x[rd] = (top & _EACH_BYTE) * 0xFF


@insn("rev8 rd, rs1", "0110101 11000 rs1 101 rd 0010011")
def rev8(h: Hart, rd: Val, rs1: Val) -> None:
    """Reverse the order of the bytes."""
    h.x[rd] = h.x[rs1].bswap()
