"""Zawrs: wait on a reservation set.

Unprivileged specification, chapter "Zawrs". A wait may end at any time and for any reason. Here it
ends at once, like a PAUSE, so that mstatus.TW (which makes a bounded wait illegal) never comes into
it.
"""

from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zawrs")


@insn("wrs.nto", "000000001101 00000 000 00000 1110011")
def wrs_nto(h: Hart) -> None:
    """Wait for a store to the reservation set; completes at once."""
    h.do("relax")


@insn("wrs.sto", "000000011101 00000 000 00000 1110011")
def wrs_sto(h: Hart) -> None:
    """Wait likewise, but for a short time; completes at once."""
    h.do("relax")
