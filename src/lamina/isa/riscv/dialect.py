"""RISC-V assembly: ABI register names, fence sets, rounding modes, aliases, LI and LA.

Names and shorthands follow the RISC-V assembly programmer's manual and the psABI.
"""

from functools import cache

from lamina.base.bits import U64, signed
from lamina.isa.dialect import Dialect, Evaluate
from lamina.isa.riscv.csr_access import csr_names
from lamina.isa.riscv.ext_hints import HINTS

X_NAMES = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{i}" for i in range(8)),
    *(f"s{i}" for i in range(2, 12)),
    *(f"t{i}" for i in range(3, 7)),
)
F_NAMES = (
    *(f"ft{i}" for i in range(8)),
    *("fs0", "fs1"),
    *(f"fa{i}" for i in range(8)),
    *(f"fs{i}" for i in range(2, 12)),
    *(f"ft{i}" for i in range(8, 12)),
)
SYNONYMS = {
    "fp": "s0",
    **{f"x{i}": name for i, name in enumerate(X_NAMES)},
    **{f"f{i}": name for i, name in enumerate(F_NAMES)},
}
FENCE_SETS = {
    "".join(c for c, bit in zip("iorw", (8, 4, 2, 1), strict=True) if n & bit) or "0": n
    for n in range(16)
}
ROUNDING_MODES = {"rne": 0, "rtz": 1, "rdn": 2, "rup": 3, "rmm": 4, "dyn": 7}
DYNAMIC = 7
# Conversions that are always exact are written without a mode for round-to-nearest, by tradition.
EXACT = ("fcvt.d.w", "fcvt.d.wu", "fcvt.d.s", "fcvt.d.h", "fcvt.s.h")

# The first alias that fits is the one that the disassembler prints.
ALIASES = (
    ("nop", "addi zero, zero, 0"),
    ("li rd, imm", "addi rd, zero, imm"),
    ("mv rd, rs1", "addi rd, rs1, 0"),
    ("not rd, rs1", "xori rd, rs1, -1"),
    ("neg rd, rs2", "sub rd, zero, rs2"),
    ("negw rd, rs2", "subw rd, zero, rs2"),
    ("sext.w rd, rs1", "addiw rd, rs1, 0"),
    ("zext.b rd, rs1", "andi rd, rs1, 255"),
    ("zext.w rd, rs1", "add.uw rd, rs1, zero"),
    ("seqz rd, rs1", "sltiu rd, rs1, 1"),
    ("snez rd, rs2", "sltu rd, zero, rs2"),
    ("sltz rd, rs1", "slt rd, rs1, zero"),
    ("sgtz rd, rs2", "slt rd, zero, rs2"),
    ("beqz rs1, offset", "beq rs1, zero, offset"),
    ("bnez rs1, offset", "bne rs1, zero, offset"),
    ("blez rs2, offset", "bge zero, rs2, offset"),
    ("bgez rs1, offset", "bge rs1, zero, offset"),
    ("bltz rs1, offset", "blt rs1, zero, offset"),
    ("bgtz rs2, offset", "blt zero, rs2, offset"),
    ("j offset", "jal zero, offset"),
    ("jal offset", "jal ra, offset"),
    ("ret", "jalr zero, 0(ra)"),
    ("jr rs1", "jalr zero, 0(rs1)"),
    ("jalr rs1", "jalr ra, 0(rs1)"),
    ("fence", "fence iorw, iorw"),
    ("rdcycle rd", "csrr rd, cycle"),
    ("rdtime rd", "csrr rd, time"),
    ("rdinstret rd", "csrr rd, instret"),
    ("csrs csr, rs1", "csrrs zero, csr, rs1"),
    ("csrc csr, rs1", "csrrc zero, csr, rs1"),
    ("csrsi csr, uimm", "csrrsi zero, csr, uimm"),
    ("csrci csr, uimm", "csrrci zero, csr, uimm"),
    ("sfence.vma", "sfence.vma zero, zero"),
    ("fmv.s fd, fs1", "fsgnj.s fd, fs1, fs1"),
    ("fabs.s fd, fs1", "fsgnjx.s fd, fs1, fs1"),
    ("fneg.s fd, fs1", "fsgnjn.s fd, fs1, fs1"),
    ("fmv.d fd, fs1", "fsgnj.d fd, fs1, fs1"),
    ("fabs.d fd, fs1", "fsgnjx.d fd, fs1, fs1"),
    ("fneg.d fd, fs1", "fsgnjn.d fd, fs1, fs1"),
)
SHORTHANDS = (
    ("csrrs rd, csr, zero", "csrr rd, csr"),
    ("csrrw zero, csr, rs1", "csrw csr, rs1"),
    ("csrrwi zero, csr, uimm", "csrwi csr, uimm"),
    ("bgt rs2, rs1, offset", "blt rs1, rs2, offset"),
    ("ble rs2, rs1, offset", "bge rs1, rs2, offset"),
    ("bgtu rs2, rs1, offset", "bltu rs1, rs2, offset"),
    ("bleu rs2, rs1, offset", "bgeu rs1, rs2, offset"),
    ("call offset", "jal ra, offset"),
    ("tail offset", "jal zero, offset"),
)
SUFFIXES = (
    (".aqrl", {"aq": 1, "rl": 1}),
    (".aq", {"aq": 1, "rl": 0}),
    (".rl", {"aq": 0, "rl": 1}),
)


def load_immediate(rd: str, value: int) -> list[str]:
    """The instructions that put any 64-bit constant into a register."""
    value = signed(value, 64)
    low = signed(value, 12)
    if value == low:
        return [f"addi {rd}, zero, {value}"]
    if value == signed(value, 32):
        upper = [f"lui {rd}, {(value - low) >> 12 & 0xFFFFF:#x}"]
        return upper + ([f"addiw {rd}, {rd}, {low}"] if low else [])
    rest, shift = (value - low) >> 12, 12
    while not rest & 1:
        rest, shift = rest >> 1, shift + 1
    lines = [*load_immediate(rd, rest), f"slli {rd}, {rd}, {shift}"]
    return lines + ([f"addi {rd}, {rd}, {low}"] if low else [])


def _li(arguments: list[str], evaluate: Evaluate, at: int) -> list[str]:
    if len(arguments) != 2:
        raise ValueError("write it like: li rd, imm")
    value = evaluate(arguments[1])
    if not -(1 << 63) <= value <= U64:
        raise ValueError(f"{value} has more than 64 bits")
    return load_immediate(arguments[0], value & U64)


def _la(arguments: list[str], evaluate: Evaluate, at: int) -> list[str]:
    if len(arguments) != 2:
        raise ValueError("write it like: la rd, symbol")
    rd, distance = arguments[0], signed(evaluate(arguments[1]) - at, 64)
    low = signed(distance, 12)
    if distance != signed(distance, 32):
        raise ValueError(f"{arguments[1]} is more than 2 GiB away")
    upper = ((distance - low) & U64) >> 12 & 0xFFFFF
    return [f"auipc {rd}, {upper:#x}", f"addi {rd}, {rd}, {low}"]


@cache
def dialect() -> Dialect:
    """RISC-V's dialect, with the names of all CSRs."""
    return Dialect(
        registers={
            **dict.fromkeys(("rd", "rs1", "rs2", "rs3"), X_NAMES),
            **dict.fromkeys(("fd", "fs1", "fs2", "fs3"), F_NAMES),
        },
        synonyms=SYNONYMS,
        symbols={"pred": FENCE_SETS, "succ": FENCE_SETS, "rm": ROUNDING_MODES, "csr": csr_names()},
        hints=HINTS,
        aliases=ALIASES,
        shorthands=SHORTHANDS,
        macros={"li": _li, "la": _la},
        trailing={"rm": DYNAMIC},
        exceptions={name: {"rm": ROUNDING_MODES["rne"]} for name in EXACT},
        suffixes=SUFFIXES,
    )
