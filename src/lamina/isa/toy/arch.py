"""A toy instruction set: the whole pipeline in seven instructions.

Four-byte instructions, sixteen registers (r0 is zero), memory without translation. It has just
what a pipeline must cope with: arithmetic, memory, a conditional and an indirect jump, a trap, an
exit. Tests of engines use it; nothing else does.
"""

from lamina.base.bits import U64
from lamina.base.exits import Exit
from lamina.ir.build import Builder, Val
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.arch import Arch, RegFile, StateLayout
from lamina.isa.dialect import Dialect
from lamina.isa.insn import InsnTable

PAGE = 4096
ILLEGAL, OVERFLOW, INTERRUPT, BUS = 1, 2, 3, 4  # causes
FILES = [RegFile("r", 16, zero=True, prefix="r")]
SLOTS = ["cause", "tval", "epc", "vector", "masked"]
NAMES = tuple(f"r{i}" for i in range(16))
TOY = InsnTable(Builder)
DIALECT = Dialect(registers=dict.fromkeys(("rd", "rs1", "rs2"), NAMES))

insn = TOY.extension("Toy")


@insn("li rd, imm", "imm[15:0] 0000 rd[3:0] 00000001")
def li(h: Builder, rd: Val, imm: Val) -> None:
    """Load an immediate."""
    h.set_reg("r", rd, imm)


@insn("add rd, rs1, rs2", "00000000 rs2[3:0] rs1[3:0] 0000 rd[3:0] 00000010")
def add(h: Builder, rd: Val, rs1: Val, rs2: Val) -> None:
    """Add; traps if the unsigned sum overflows."""
    a, b = h.reg("r", rs1), h.reg("r", rs2)
    total = a + b
    with h.when(total.ult(a)):
        h.trap(OVERFLOW, total)
    h.set_reg("r", rd, total)


@insn("load rd, imm(rs1)", "imm[11:0] rs1[3:0] 0000 rd[3:0] 00000011")
def load(h: Builder, rd: Val, rs1: Val, imm: Val) -> None:
    """Load eight bytes."""
    h.set_reg("r", rd, h.load(h.reg("r", rs1) + imm, 8))


@insn("store rs2, imm(rs1)", "imm[11:0] rs1[3:0] rs2[3:0] 0000 00000100")
def store(h: Builder, rs1: Val, rs2: Val, imm: Val) -> None:
    """Store eight bytes."""
    h.store(h.reg("r", rs1) + imm, h.reg("r", rs2))


@insn("bnz rs1, offset", "offset[15:2] 00 rs1[3:0] 0000 00000101")
def bnz(h: Builder, rs1: Val, offset: Val) -> None:
    """Branch if not zero."""
    with h.when(h.reg("r", rs1) != 0):
        h.jump(h.pc + offset)


@insn("jump rd, rs1", "0000000000000000 rs1[3:0] rd[3:0] 00000110")
def jump(h: Builder, rd: Val, rs1: Val) -> None:
    """Jump to the address in a register; rd is the address of the next instruction."""
    target = h.reg("r", rs1) & -4
    h.set_reg("r", rd, h.next_pc)
    h.jump(target)


@insn("halt", "000000000000000000000000 00000111")
def halt(h: Builder) -> None:
    """Hand over to the machine."""
    h.exit(Exit.IDLE)


def _finish(b: Builder, *results: Val) -> Routine:
    return simplify(verify(b.finish(*results)))


def _enter(b: Builder, cause: Val, tval: Val) -> None:
    b.set("epc", b.get("pc"))
    b.set("cause", cause)
    b.set("tval", tval)
    b.set("masked", b.const(1))
    b.set("pc", b.get("vector"))


def _trap() -> Routine:
    b = Builder("trap", (64, 64))
    _enter(b, *b.params)
    return _finish(b)


def _interrupt() -> Routine:
    b = Builder("interrupt")
    with b.when((b.get("irq") != 0) & (b.get("masked") == 0)):
        _enter(b, b.const(INTERRUPT), b.get("irq"))
    return _finish(b)


def _wakes() -> Routine:
    b = Builder("wakes")
    return _finish(b, b.get("irq") != 0)


def _deadline() -> Routine:
    b = Builder("deadline")
    return _finish(b, b.const(U64))


def _translate() -> Routine:
    b = Builder("translate", (64, 64, 64))
    gva, _, _ = b.params
    return _finish(b, gva, b.const(PAGE), b.const(1))


def _bus_fault() -> Routine:
    b = Builder("bus_fault", (64, 64))
    gva, _ = b.params
    b.trap(BUS, gva)
    return _finish(b)


def _context() -> Routine:
    b = Builder("context")
    return _finish(b, b.const(0), b.const(0))


def _space() -> Routine:
    b = Builder("space")
    return _finish(b, b.const(0), b.const(0), b.const(1), b.const(0))


def _reset(pc: int = 0, vector: int = 0) -> dict[str, int]:
    return {"pc": pc, "vector": vector}


def arch() -> Arch:
    """The toy architecture."""
    return Arch(
        name="toy",
        table=TOY,
        layout=StateLayout(FILES, SLOTS),
        routines={
            "trap": _trap(),
            "interrupt": _interrupt(),
            "wakes": _wakes(),
            "deadline": _deadline(),
            "translate": _translate(),
            "bus_fault": _bus_fault(),
            "context": _context(),
            "space": _space(),
        },
        reset=_reset,
        illegal_cause=ILLEGAL,
        long_mask=0,
        long_match=0,
    )
