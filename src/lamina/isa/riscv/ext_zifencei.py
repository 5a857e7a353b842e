"""Zifencei: FENCE.I, which makes a hart's own stores visible to its instruction fetches."""

from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zifencei")


@insn("fence.i", "imm[11:0] rs1 001 rd 0001111")
def fence_i(h: Hart) -> None:
    """Synchronise the instruction stream; the unused fields are ignored, as the manual asks."""
    h.do("icache.flush")
