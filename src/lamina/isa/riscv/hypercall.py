"""Calls to the hypervisor that need none: fences and interrupts for other harts, the timer.

RISC-V SBI Specification 2.0, chapters 6 (TIME), 7 (IPI) and 8 (RFENCE). Called by `ecall` in a
paravirtual guest's supervisor mode. Engines that reach the other harts do these by themselves;
whatever they decline, errors in the arguments too, is a call like all others (`machine.sbi`).
"""

from functools import cache

from lamina.base.bits import mask
from lamina.ir.build import Val
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr import CsrHart
from lamina.isa.riscv.csr_machine import announce_deadline

TIME, IPI, RFENCE = 0x5449_4D45, 0x73_5049, 0x5246_4E43
LAST_FENCE = 2  # FENCE.I, SFENCE.VMA, SFENCE.VMA with an ASID: the kinds of `fence.remote`
A0, A1, A2, A3, A4, A6, A7 = 10, 11, 12, 13, 14, 16, 17


@cache
def quick_call() -> Routine:
    """quick_call() -> 1 if the call was answered, else 0."""
    h = CsrHart("quick_call")
    done = h.var(64, 0, "done")
    only_function = h.x[A6] == 0  # of TIME and IPI

    def post(harts: Val, first: Val, bits: int) -> None:
        done.set(h.one("post.remote", 64, harts, first, h.const(bits)))

    with h.when((h.x[A7] == RFENCE) & h.x[A6].ule(LAST_FENCE)):
        arguments = (h.x[A0], h.x[A1], h.x[A2], h.x[A3], h.x[A4] & mask(f.ASID_BITS))
        done.set(h.one("fence.remote", 64, h.x[A6], *arguments))
    with h.when((h.x[A7] == IPI) & only_function):
        post(h.x[A0], h.x[A1], f.SSIP)
    with h.when((h.x[A7] == TIME) & only_function):
        post(h.const(0), h.const(0), 0)  # whether it does such calls
        with h.when(done.get() != 0):
            h.s.stimecmp = h.x[A0]
            announce_deadline(h)
    with h.when(done.get() != 0):
        h.x[A0] = 0
        h.x[A1] = 0
    return simplify(verify(h.finish(done.get())))
