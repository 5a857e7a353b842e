"""Zicbom, Zicboz: cache-block management and zeroing.

Unprivileged specification, chapter "CMO". Caches are coherent here, so that management only checks
that it is allowed: by the fields of menvcfg (below M-mode) and senvcfg (in U-mode), and by the
translation of the address. The prefetches of Zicbop are hints among ORI's encodings: `ext_hints`.
"""

from lamina.ir.build import Val
from lamina.isa.riscv.hart import RV64, Hart

BLOCK_SIZE = 64  # bytes; the device tree's riscv,cbom-block-size and riscv,cboz-block-size
CBIE, CBCFE, CBZE = 3 << 4, 1 << 6, 1 << 7  # menvcfg and senvcfg
USER, MACHINE = 0, 3

zicbom = RV64.extension("Zicbom")
zicboz = RV64.extension("Zicboz")


def _require(h: Hart, field: int) -> None:
    """Illegal below M-mode unless menvcfg allows it, in U-mode unless senvcfg does as well."""
    priv = h.s.priv
    by_machine = (priv != MACHINE) & ((h.s.menvcfg & field) == 0)
    by_supervisor = (priv == USER) & ((h.s.senvcfg & field) == 0)
    with h.when(by_machine | by_supervisor):
        h.illegal()


@zicbom("cbo.inval (rs1)", "000000000000 rs1 010 00000 0001111")
def cbo_inval(h: Hart, rs1: Val) -> None:
    """Invalidate a cache block; done as a flush, which the manual allows."""
    _require(h, CBIE)
    h.touch(h.x[rs1], "cache")
    h.do("fence")


@zicbom("cbo.clean (rs1)", "000000000001 rs1 010 00000 0001111")
def cbo_clean(h: Hart, rs1: Val) -> None:
    """Write a cache block back."""
    _require(h, CBCFE)
    h.touch(h.x[rs1], "cache")
    h.do("fence")


@zicbom("cbo.flush (rs1)", "000000000010 rs1 010 00000 0001111")
def cbo_flush(h: Hart, rs1: Val) -> None:
    """Write a cache block back and invalidate it."""
    _require(h, CBCFE)
    h.touch(h.x[rs1], "cache")
    h.do("fence")


@zicboz("cbo.zero (rs1)", "000000000100 rs1 010 00000 0001111")
def cbo_zero(h: Hart, rs1: Val) -> None:
    """Store zeros to the whole block that holds the address."""
    _require(h, CBZE)
    h.touch(h.x[rs1], "write")  # a fault names the address as given, not the block's
    block = h.x[rs1] & -BLOCK_SIZE
    for at in range(0, BLOCK_SIZE, 8):
        h.store(block + at, h.const(0))
