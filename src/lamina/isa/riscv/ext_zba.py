"""Zba: address generation, shifted and zero-extended additions.

Unprivileged specification, chapter "B".
"""

from lamina.ir.build import Val
from lamina.isa.insn import Semantics
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zba")


def _uw(value: Val) -> Val:
    return value.trunc(32).zext(64)


def _shifted_add(shift: int) -> Semantics:
    def shadd(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
        """Add rs2 and rs1 shifted left."""
        h.x[rd] = (h.x[rs1] << shift) + h.x[rs2]

    return shadd


def _shifted_add_uw(shift: int) -> Semantics:
    def shadd_uw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
        """Add rs2 and the zero-extended word of rs1 shifted left."""
        h.x[rd] = (_uw(h.x[rs1]) << shift) + h.x[rs2]

    return shadd_uw


for _shift, _funct3 in ((1, "010"), (2, "100"), (3, "110")):
    _tail = f"0010000 rs2 rs1 {_funct3} rd"
    insn(f"sh{_shift}add rd, rs1, rs2", f"{_tail} 0110011")(_shifted_add(_shift))
    insn(f"sh{_shift}add.uw rd, rs1, rs2", f"{_tail} 0111011")(_shifted_add_uw(_shift))


@insn("add.uw rd, rs1, rs2", "0000100 rs2 rs1 000 rd 0111011")
def add_uw(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Add rs2 and the zero-extended word of rs1."""
    h.x[rd] = _uw(h.x[rs1]) + h.x[rs2]


@insn("slli.uw rd, rs1, shamt", "000010 shamt[5:0] rs1 001 rd 0011011")
def slli_uw(h: Hart, rd: Val, rs1: Val, shamt: Val) -> None:
    """Shift the zero-extended word of rs1 left by an immediate."""
    h.x[rd] = _uw(h.x[rs1]) << shamt
