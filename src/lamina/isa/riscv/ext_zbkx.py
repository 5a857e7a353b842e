"""Zbkx: crossbar permutations.

Unprivileged specification, chapter "Scalar Cryptography". Each element of rs2 chooses an element
of rs1; a number beyond the last element chooses zero, as a shift by the width or more does.
"""

from lamina.ir.build import Val
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zbkx")


def _permute(h: Hart, table: Val, chosen: Val, bits: int) -> Val:
    """Look every element of `chosen` up in `table`; elements have `bits` bits."""
    places = range(0, 64, bits)
    numbers = [chosen[low + bits - 1 : low].zext(64) for low in places]
    return h.cat(*((table >> number * bits).trunc(bits) for number in reversed(numbers)))


@insn("xperm4 rd, rs1, rs2", "0010100 rs2 rs1 010 rd 0110011")
def xperm4(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Permute nibbles."""
    h.x[rd] = _permute(h, h.x[rs1], h.x[rs2], 4)


@insn("xperm8 rd, rs1, rs2", "0010100 rs2 rs1 100 rd 0110011")
def xperm8(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Permute bytes."""
    h.x[rd] = _permute(h, h.x[rs1], h.x[rs2], 8)
