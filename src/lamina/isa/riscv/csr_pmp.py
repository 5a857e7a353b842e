"""The CSRs of physical memory protection: 16 entries, a grain of 4 bytes.

Privileged Architecture 1.13, 3.7.1. A locked entry ignores writes to its configuration and its
address; a locked TOR entry also locks the address of the entry before. The check itself is `pmp`.
"""

from lamina.base.bits import U64, mask
from lamina.ir.build import Val
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr import CsrHart, array, csr

EACH_BYTE = 0x0101_0101_0101_0101
WRITABLE = EACH_BYTE * (f.PMP_L | f.PMP_A | f.PMP_X | f.PMP_W | f.PMP_R)


def _configuration(number: int, name: str) -> None:
    """pmpcfg0 holds entries 0 to 7, pmpcfg2 entries 8 to 15 (RV64 has no odd ones)."""

    def write(h: CsrHart, value: Val) -> None:
        old, new = h.get(name), value & WRITABLE
        readable = new & (EACH_BYTE * f.PMP_R)
        # W without R is reserved: such an entry is written without W.
        new = new & ((readable << 1) | (U64 & ~(EACH_BYTE * f.PMP_W)))
        locked = ((old >> 7) & EACH_BYTE) * mask(8)
        h.set(name, (old & locked) | (new & ~locked))
        h.do("tlb.flush")

    csr(number, name)(lambda h: h.get(name)).writer(write)


_configuration(0x3A0, "pmpcfg0")
_configuration(0x3A2, "pmpcfg2")


def entry_configuration(h: CsrHart, index: Val) -> Val:
    """The configuration byte of an entry; 0 for an index past the last one."""
    both = h.cat(h.s.pmpcfg2, h.s.pmpcfg0)
    return (both >> (index << 3).zext(128)).trunc(64) & mask(8)


def _write_address(h: CsrHart, index: Val, value: Val) -> None:
    own, following = entry_configuration(h, index), entry_configuration(h, index + 1)
    locks_previous = f.PMP_L | f.PMP_TOR << f.PMP_A_SHIFT
    locked = (own & f.PMP_L) != 0
    locked = locked | ((following & (f.PMP_L | f.PMP_A)) == locks_previous)
    with h.when(~locked):
        h.set_reg("pmpaddr", index, value & mask(f.PMP_ADDRESS_BITS))
        h.do("tlb.flush")


array(
    0x3B0, f.PMP_ENTRIES, "pmpaddr{}", 0, lambda h, index: h.reg("pmpaddr", index), _write_address
)
