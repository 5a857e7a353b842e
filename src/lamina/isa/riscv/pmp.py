"""Physical memory protection: the check of one access.

Privileged Architecture 1.13, 3.7.1 (matching, priority, locking). Called by `paging` for the
final address and for each page table entry on the way. The lowest-numbered entry that matches any
byte of the access decides, and must match all of its bytes. Without a match, machine mode may do
everything and the others nothing, even if all entries are off.
"""

from functools import cache

from lamina.base.bits import PAGE_SIZE, mask
from lamina.ir.build import Val
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.hart import Hart

BOTH = 128  # pmpcfg2 and pmpcfg0 side by side: a byte for each of the 16 entries
ACTIVE = int.from_bytes(bytes([f.PMP_A]) * f.PMP_ENTRIES, "little")


@cache
def pmp_check() -> Routine:
    """pmp_check(gpa, size, access, priv) -> (ok, whole page), each 0 or 1.

    `access` is READ, WRITE or FETCH; `whole page`: every access of this kind and privilege to the
    4 KiB page of `gpa` has this very outcome.
    """
    h = Hart("pmp_check", (64, 64, 64, 64))
    gpa, size, access, priv = h.params
    page = gpa & ~(PAGE_SIZE - 1)
    settings = h.cat(h.s.pmpcfg2, h.s.pmpcfg0)
    # The usual case: nothing needs to be searched.
    everything = allows_everything(h) & ((gpa >> f.GPA_BITS) == 0)
    ok = h.var(1, everything | (priv == f.MACHINE), "ok")
    whole = h.var(1, 1, "whole")
    active = h.var(BOTH, h.select(everything, 0, settings & ACTIVE), "active")
    with h.loop():
        with h.when(active.get() == 0):
            h.leave_loop()
        at = active.get().ctz() & ~mask(3)  # eight times the number of the next active entry
        active.set(active.get() & ~(h.const(mask(8), BOTH) << at))
        entry = (settings >> at).trunc(64) & mask(8)
        base, end = _range(h, (at >> 3).trunc(64), entry)
        with h.when(_overlap(base, end, gpa, size)):
            allowed = (entry >> access).trunc(1)  # the bits R, W, X in the order of `access`
            unlocked = (priv == f.MACHINE) & ((entry & f.PMP_L) == 0)
            inside = base.ule(gpa) & (gpa + size).ule(end)
            ok.set(inside & (allowed | unlocked))
            whole_page = base.ule(page) & (page + PAGE_SIZE).ule(end)
            whole.set(whole.get() & whole_page)
            h.leave_loop()
        with h.when(_overlap(base, end, page, PAGE_SIZE)):
            whole.set(0)
    return simplify(verify(h.finish(ok.get().zext(64), whole.get().zext(64))))


def allows_everything(h: Hart) -> Val:
    """One bit: entry 0 matches all of physical memory and lets everybody do anything."""
    allowed = f.PMP_NAPOT << f.PMP_A_SHIFT | f.PMP_R | f.PMP_W | f.PMP_X
    entry = h.s.pmpcfg0 & (f.PMP_A | f.PMP_R | f.PMP_W | f.PMP_X)
    address = h.reg("pmpaddr", h.const(0))
    return (entry == allowed) & (address == mask(f.PMP_ADDRESS_BITS))


def _range(h: Hart, index: Val, entry: Val) -> tuple[Val, Val]:
    """The bytes [base, end) that an active entry matches; empty if end is not above base."""
    mode = (entry & f.PMP_A) >> f.PMP_A_SHIFT
    address = h.reg("pmpaddr", index)
    previous = h.reg("pmpaddr", (index - 1) & (f.PMP_ENTRIES - 1))
    bottom = h.select(index == 0, 0, previous << 2)
    # NAPOT: the trailing ones, and the zero above them, stand for address bits that do not count.
    free = h.select(mode == f.PMP_NAPOT, address ^ (address + 1), 0)
    start = (address & ~free) << 2
    is_tor = mode == f.PMP_TOR
    base = h.select(is_tor, bottom, start)
    return base, h.select(is_tor, address << 2, start + ((free + 1) << 2))


def _overlap(base: Val, end: Val, gpa: Val, size: Val | int) -> Val:
    return base.ult(end) & gpa.ult(end) & base.ult(gpa + size)
