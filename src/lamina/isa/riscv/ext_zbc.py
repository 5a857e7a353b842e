"""Zbc: carry-less multiplication.

Unprivileged specification, chapter "B". The 127-bit product is made by one shared routine
that returns its two halves.
"""

from lamina.ir.build import Val
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zbc")


def _capture() -> Routine:
    h = Hart("carryless_product", (64, 64))
    product = h.var(128, 0, "product")
    term = h.var(128, h.params[0].zext(128), "term")
    rest = h.var(64, h.params[1], "rest")
    with h.loop():
        bits = rest.get()
        with h.when(bits == 0):
            h.leave_loop()
        with h.when(bits[0]):
            product.set(product.get() ^ term.get())
        term.set(term.get() << 1)
        rest.set(bits >> 1)
    result = product.get()
    return simplify(verify(h.finish(result[127:64], result[63:0])))


CARRYLESS_PRODUCT = _capture()


@insn("clmul rd, rs1, rs2", "0000101 rs2 rs1 001 rd 0110011")
def clmul(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Carry-less product: the low half."""
    _, low = h.call(CARRYLESS_PRODUCT, h.x[rs1], h.x[rs2])
    h.x[rd] = low


@insn("clmulh rd, rs1, rs2", "0000101 rs2 rs1 011 rd 0110011")
def clmulh(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Carry-less product: the high half."""
    high, _ = h.call(CARRYLESS_PRODUCT, h.x[rs1], h.x[rs2])
    h.x[rd] = high


@insn("clmulr rd, rs1, rs2", "0000101 rs2 rs1 010 rd 0110011")
def clmulr(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Carry-less product: bits 126 to 63, the low half of reversed operands reversed."""
    high, low = h.call(CARRYLESS_PRODUCT, h.x[rs1], h.x[rs2])
    h.x[rd] = (high << 1) | (low >> 63)
