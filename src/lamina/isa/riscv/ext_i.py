"""RV64I: integer computation, loads and stores, branches and jumps, FENCE.

Unprivileged specification, chapters "RV32I" and "RV64I". ECALL and EBREAK are with the privileged
instructions. Conditional branches and JAL have static targets, which engines chain.
"""

from lamina.ir.build import Val
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("I")


def w(value: Val) -> Val:
    """A 32-bit result as a register holds it."""
    return value.trunc(32).sext(64)


def bit(condition: Val) -> Val:
    """A truth value as a register holds it."""
    return condition.zext(64)


# Upper immediates and jumps ---------------------------------------------------------------------


@insn("lui rd, imm", "imm[31:12] rd 0110111")
def lui(h: Hart, rd: Val, imm: Val) -> None:
    """Load upper immediate."""
    h.x[rd] = imm


@insn("auipc rd, imm", "imm[31:12] rd 0010111")
def auipc(h: Hart, rd: Val, imm: Val) -> None:
    """Add upper immediate to pc."""
    h.x[rd] = h.pc + imm


@insn("jal rd, offset", "offset[20|10:1|11|19:12] rd 1101111")
def jal(h: Hart, rd: Val, offset: Val) -> None:
    """Jump and link."""
    h.x[rd] = h.next_pc
    h.jump(h.pc + offset)


@insn("jalr rd, imm(rs1)", "imm[11:0] rs1 000 rd 1100111")
def jalr(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Jump and link register; bit 0 of the target is cleared."""
    target = (h.x[rs1] + imm) & ~h.const(1)
    h.x[rd] = h.next_pc
    h.jump(target)


# Conditional branches ---------------------------------------------------------------------------


@insn("beq rs1, rs2, offset", "offset[12|10:5] rs2 rs1 000 offset[4:1|11] 1100011")
def beq(h: Hart, rs1: Val, rs2: Val, offset: Val) -> None:
    """Branch if equal."""
    with h.when(h.x[rs1] == h.x[rs2]):
        h.jump(h.pc + offset)


@insn("bne rs1, rs2, offset", "offset[12|10:5] rs2 rs1 001 offset[4:1|11] 1100011")
def bne(h: Hart, rs1: Val, rs2: Val, offset: Val) -> None:
    """Branch if not equal."""
    with h.when(h.x[rs1] != h.x[rs2]):
        h.jump(h.pc + offset)


@insn("blt rs1, rs2, offset", "offset[12|10:5] rs2 rs1 100 offset[4:1|11] 1100011")
def blt(h: Hart, rs1: Val, rs2: Val, offset: Val) -> None:
    """Branch if less than, signed."""
    with h.when(h.x[rs1].slt(h.x[rs2])):
        h.jump(h.pc + offset)


@insn("bge rs1, rs2, offset", "offset[12|10:5] rs2 rs1 101 offset[4:1|11] 1100011")
def bge(h: Hart, rs1: Val, rs2: Val, offset: Val) -> None:
    """Branch if greater than or equal, signed."""
    with h.when(h.x[rs1].sge(h.x[rs2])):
        h.jump(h.pc + offset)


@insn("bltu rs1, rs2, offset", "offset[12|10:5] rs2 rs1 110 offset[4:1|11] 1100011")
def bltu(h: Hart, rs1: Val, rs2: Val, offset: Val) -> None:
    """Branch if less than, unsigned."""
    with h.when(h.x[rs1].ult(h.x[rs2])):
        h.jump(h.pc + offset)


@insn("bgeu rs1, rs2, offset", "offset[12|10:5] rs2 rs1 111 offset[4:1|11] 1100011")
def bgeu(h: Hart, rs1: Val, rs2: Val, offset: Val) -> None:
    """Branch if greater than or equal, unsigned."""
    with h.when(h.x[rs1].uge(h.x[rs2])):
        h.jump(h.pc + offset)


# Loads and stores -------------------------------------------------------------------------------


@insn("lb rd, imm(rs1)", "imm[11:0] rs1 000 rd 0000011")
def lb(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Load a byte, sign-extended."""
    h.x[rd] = h.load(h.x[rs1] + imm, 1).sext(64)


@insn("lh rd, imm(rs1)", "imm[11:0] rs1 001 rd 0000011")
def lh(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Load a halfword, sign-extended."""
    h.x[rd] = h.load(h.x[rs1] + imm, 2).sext(64)


@insn("lw rd, imm(rs1)", "imm[11:0] rs1 010 rd 0000011")
def lw(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Load a word, sign-extended."""
    h.x[rd] = h.load(h.x[rs1] + imm, 4).sext(64)


@insn("ld rd, imm(rs1)", "imm[11:0] rs1 011 rd 0000011")
def ld(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Load a doubleword."""
    h.x[rd] = h.load(h.x[rs1] + imm, 8)


@insn("lbu rd, imm(rs1)", "imm[11:0] rs1 100 rd 0000011")
def lbu(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Load a byte, zero-extended."""
    h.x[rd] = h.load(h.x[rs1] + imm, 1).zext(64)


@insn("lhu rd, imm(rs1)", "imm[11:0] rs1 101 rd 0000011")
def lhu(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Load a halfword, zero-extended."""
    h.x[rd] = h.load(h.x[rs1] + imm, 2).zext(64)


@insn("lwu rd, imm(rs1)", "imm[11:0] rs1 110 rd 0000011")
def lwu(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Load a word, zero-extended."""
    h.x[rd] = h.load(h.x[rs1] + imm, 4).zext(64)


@insn("sb rs2, imm(rs1)", "imm[11:5] rs2 rs1 000 imm[4:0] 0100011")
def sb(h: Hart, rs1: Val, rs2: Val, imm: Val) -> None:
    """Store a byte."""
    h.store(h.x[rs1] + imm, h.x[rs2].trunc(8))


@insn("sh rs2, imm(rs1)", "imm[11:5] rs2 rs1 001 imm[4:0] 0100011")
def sh(h: Hart, rs1: Val, rs2: Val, imm: Val) -> None:
    """Store a halfword."""
    h.store(h.x[rs1] + imm, h.x[rs2].trunc(16))


@insn("sw rs2, imm(rs1)", "imm[11:5] rs2 rs1 010 imm[4:0] 0100011")
def sw(h: Hart, rs1: Val, rs2: Val, imm: Val) -> None:
    """Store a word."""
    h.store(h.x[rs1] + imm, h.x[rs2].trunc(32))


@insn("sd rs2, imm(rs1)", "imm[11:5] rs2 rs1 011 imm[4:0] 0100011")
def sd(h: Hart, rs1: Val, rs2: Val, imm: Val) -> None:
    """Store a doubleword."""
    h.store(h.x[rs1] + imm, h.x[rs2])


# Register and immediate -------------------------------------------------------------------------


@insn("addi rd, rs1, imm", "imm[11:0] rs1 000 rd 0010011")
def addi(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Add an immediate."""
    h.x[rd] = h.x[rs1] + imm


@insn("slti rd, rs1, imm", "imm[11:0] rs1 010 rd 0010011")
def slti(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Set if less than an immediate, signed."""
    h.x[rd] = bit(h.x[rs1].slt(imm))


@insn("sltiu rd, rs1, imm", "imm[11:0] rs1 011 rd 0010011")
def sltiu(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Set if less than a (sign-extended) immediate, unsigned."""
    h.x[rd] = bit(h.x[rs1].ult(imm))


@insn("xori rd, rs1, imm", "imm[11:0] rs1 100 rd 0010011")
def xori(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Exclusive-or with an immediate."""
    h.x[rd] = h.x[rs1] ^ imm


@insn("ori rd, rs1, imm", "imm[11:0] rs1 110 rd 0010011")
def ori(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Or with an immediate."""
    h.x[rd] = h.x[rs1] | imm


@insn("andi rd, rs1, imm", "imm[11:0] rs1 111 rd 0010011")
def andi(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """And with an immediate."""
    h.x[rd] = h.x[rs1] & imm


@insn("slli rd, rs1, shamt", "000000 shamt[5:0] rs1 001 rd 0010011")
def slli(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Shift left by an immediate."""
    h.x[rd] = h.x[rs1] << shamt


@insn("srli rd, rs1, shamt", "000000 shamt[5:0] rs1 101 rd 0010011")
def srli(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Shift right by an immediate, filling with zeros."""
    h.x[rd] = h.x[rs1] >> shamt


@insn("srai rd, rs1, shamt", "010000 shamt[5:0] rs1 101 rd 0010011")
def srai(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Shift right by an immediate, filling with the sign."""
    h.x[rd] = h.x[rs1].sar(shamt)


@insn("addiw rd, rs1, imm", "imm[11:0] rs1 000 rd 0011011")
def addiw(h: Hart, rd: Val, rs1: Val, imm: Val) -> None:
    """Add an immediate to a word."""
    h.x[rd] = w(h.x[rs1] + imm)


@insn("slliw rd, rs1, shamt", "0000000 shamt[4:0] rs1 001 rd 0011011")
def slliw(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Shift a word left by an immediate."""
    h.x[rd] = w(h.x[rs1] << shamt)


@insn("srliw rd, rs1, shamt", "0000000 shamt[4:0] rs1 101 rd 0011011")
def srliw(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Shift a word right by an immediate, filling with zeros."""
    h.x[rd] = (h.x[rs1].trunc(32) >> shamt.trunc(32)).sext(64)


@insn("sraiw rd, rs1, shamt", "0100000 shamt[4:0] rs1 101 rd 0011011")
def sraiw(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Shift a word right by an immediate, filling with the sign."""
    h.x[rd] = h.x[rs1].trunc(32).sar(shamt.trunc(32)).sext(64)


# Register and register --------------------------------------------------------------------------


@insn("add rd, rs1, rs2", "0000000 rs2 rs1 000 rd 0110011")
def add(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Add."""
    h.x[rd] = h.x[rs1] + h.x[rs2]


@insn("sub rd, rs1, rs2", "0100000 rs2 rs1 000 rd 0110011")
def sub(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Subtract."""
    h.x[rd] = h.x[rs1] - h.x[rs2]


@insn("sll rd, rs1, rs2", "0000000 rs2 rs1 001 rd 0110011")
def sll(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Shift left by the low six bits of rs2."""
    h.x[rd] = h.x[rs1] << (h.x[rs2] & 63)


@insn("slt rd, rs1, rs2", "0000000 rs2 rs1 010 rd 0110011")
def slt(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Set if less than, signed."""
    h.x[rd] = bit(h.x[rs1].slt(h.x[rs2]))


@insn("sltu rd, rs1, rs2", "0000000 rs2 rs1 011 rd 0110011")
def sltu(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Set if less than, unsigned."""
    h.x[rd] = bit(h.x[rs1].ult(h.x[rs2]))


@insn("xor rd, rs1, rs2", "0000000 rs2 rs1 100 rd 0110011")
def xor(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Exclusive or."""
    h.x[rd] = h.x[rs1] ^ h.x[rs2]


@insn("srl rd, rs1, rs2", "0000000 rs2 rs1 101 rd 0110011")
def srl(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Shift right by the low six bits of rs2, filling with zeros."""
    h.x[rd] = h.x[rs1] >> (h.x[rs2] & 63)


@insn("sra rd, rs1, rs2", "0100000 rs2 rs1 101 rd 0110011")
def sra(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Shift right by the low six bits of rs2, filling with the sign."""
    h.x[rd] = h.x[rs1].sar(h.x[rs2] & 63)


@insn("or rd, rs1, rs2", "0000000 rs2 rs1 110 rd 0110011")
def or_(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Or."""
    h.x[rd] = h.x[rs1] | h.x[rs2]


@insn("and rd, rs1, rs2", "0000000 rs2 rs1 111 rd 0110011")
def and_(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """And."""
    h.x[rd] = h.x[rs1] & h.x[rs2]


@insn("addw rd, rs1, rs2", "0000000 rs2 rs1 000 rd 0111011")
def addw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Add words."""
    h.x[rd] = w(h.x[rs1] + h.x[rs2])


@insn("subw rd, rs1, rs2", "0100000 rs2 rs1 000 rd 0111011")
def subw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Subtract words."""
    h.x[rd] = w(h.x[rs1] - h.x[rs2])


@insn("sllw rd, rs1, rs2", "0000000 rs2 rs1 001 rd 0111011")
def sllw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Shift a word left by the low five bits of rs2."""
    h.x[rd] = w(h.x[rs1] << (h.x[rs2] & 31))


@insn("srlw rd, rs1, rs2", "0000000 rs2 rs1 101 rd 0111011")
def srlw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Shift a word right by the low five bits of rs2, filling with zeros."""
    h.x[rd] = (h.x[rs1].trunc(32) >> (h.x[rs2].trunc(32) & 31)).sext(64)


@insn("sraw rd, rs1, rs2", "0100000 rs2 rs1 101 rd 0111011")
def sraw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Shift a word right by the low five bits of rs2, filling with the sign."""
    h.x[rd] = h.x[rs1].trunc(32).sar(h.x[rs2].trunc(32) & 31).sext(64)


# Ordering ---------------------------------------------------------------------------------------


@insn("fence pred, succ", "fm pred succ rs1 000 rd 0001111")
def fence(h: Hart, pred: Val, succ: Val) -> None:
    """Order memory accesses; every kind of fence is the strongest one. The register fields and
    unknown modes are ignored, as the manual asks for. One that orders nothing is a hint: PAUSE."""
    with h.when((pred == 1) & (succ == 0)):
        h.do("relax")
    with h.otherwise():
        h.do("fence")
