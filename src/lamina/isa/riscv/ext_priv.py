"""Instructions of the privileged architecture: environment calls, trap return, waiting, fences.

Unprivileged Architecture 2.8 (ecall, ebreak); Privileged Architecture 1.13, 3.3 (mret, sret, wfi),
12.2.1 (sfence.vma), Svinval. What they do to the hart's state is in `traps`.
"""

from lamina.base.bits import mask
from lamina.base.exits import Exit
from lamina.ir.build import Val
from lamina.isa.riscv import fields as f
from lamina.isa.riscv import traps
from lamina.isa.riscv.fields import Cause
from lamina.isa.riscv.hart import RV64, Hart
from lamina.isa.riscv.hypercall import quick_call
from lamina.isa.riscv.status import is_set

insn = RV64.extension("Priv")
svinval = RV64.extension("Svinval")


@insn("ecall", "000000000000 00000 000 00000 1110011")
def ecall(h: Hart) -> None:
    priv = h.s.priv
    with h.when((priv == f.SUPERVISOR) & (h.s.paravirtual == 1)):
        answered = h.call(quick_call())[0]
        with h.when(answered == 0):
            h.exit(Exit.HYPERCALL)
    with h.otherwise():
        h.trap(priv + Cause.ECALL_U)  # the causes are 8, 9 and 11


@insn("ebreak", "000000000001 00000 000 00000 1110011")
def ebreak(h: Hart) -> None:
    h.trap(Cause.BREAKPOINT, h.pc)


@insn("mret", "0011000 00010 00000 000 00000 1110011")
def mret(h: Hart) -> None:
    h.jump(h.call(traps.mret(), h.operand("insn"))[0])


@insn("sret", "0001000 00010 00000 000 00000 1110011")
def sret(h: Hart) -> None:
    h.jump(h.call(traps.sret(), h.operand("insn"))[0])


@insn("wfi", "0001000 00101 00000 000 00000 1110011")
def wfi(h: Hart) -> None:
    """Goes on at once if an enabled interrupt is pending, whether or not it can be taken."""
    forbidden = (h.s.priv == f.SUPERVISOR) & is_set(h.s.mstatus, f.TW)
    with h.when(forbidden | (h.s.priv == f.USER)):
        h.illegal()
    with h.when(h.call(traps.wakes())[0] == 0):
        h.exit(Exit.IDLE)


def _check_fence(h: Hart, virtual_memory_trapped: bool) -> None:
    """Fences are not for user mode; TVM keeps the supervisor from those of translation."""
    forbidden = h.s.priv == f.USER
    if virtual_memory_trapped:
        trapped = (h.s.priv == f.SUPERVISOR) & is_set(h.s.mstatus, f.TVM)
        forbidden = forbidden | trapped
    with h.when(forbidden):
        h.illegal()


def _asid(h: Hart, register: Val) -> Val:
    """The address space that a fence names; the bits above an ASID are ignored."""
    return h.x[register] & mask(f.ASID_BITS)


@svinval("sinval.vma rs1, rs2", "0001011 rs2!=0 rs1!=0 000 00000 1110011")
@insn("sfence.vma rs1, rs2", "0001001 rs2!=0 rs1!=0 000 00000 1110011")
def sfence_vma_space_page(h: Hart, rs1: Val, rs2: Val) -> None:
    """One page of one address space; global mappings may stay, but do not."""
    _check_fence(h, virtual_memory_trapped=True)
    h.do("tlb.flush_space_page", _asid(h, rs2), h.x[rs1])


@svinval("sinval.vma rs1, zero", "0001011 00000 rs1!=0 000 00000 1110011")
@insn("sfence.vma rs1, zero", "0001001 00000 rs1!=0 000 00000 1110011")
def sfence_vma_page(h: Hart, rs1: Val) -> None:
    """One page, in all address spaces."""
    _check_fence(h, virtual_memory_trapped=True)
    h.do("tlb.flush_page", h.x[rs1])


@svinval("sinval.vma zero, rs2", "0001011 rs2!=0 00000 000 00000 1110011")
@insn("sfence.vma zero, rs2", "0001001 rs2!=0 00000 000 00000 1110011")
def sfence_vma_space(h: Hart, rs2: Val) -> None:
    """One address space."""
    _check_fence(h, virtual_memory_trapped=True)
    h.do("tlb.flush_space", _asid(h, rs2))


@svinval("sinval.vma zero, zero", "0001011 00000 00000 000 00000 1110011")
@insn("sfence.vma zero, zero", "0001001 00000 00000 000 00000 1110011")
def sfence_vma_all(h: Hart) -> None:
    """All address spaces."""
    _check_fence(h, virtual_memory_trapped=True)
    h.do("tlb.flush")


@svinval("sfence.w.inval", "0001100 00000 00000 000 00000 1110011")
@svinval("sfence.inval.ir", "0001100 00001 00000 000 00000 1110011")
def sfence_inval(h: Hart) -> None:
    """Nothing to order: sinval.vma takes effect at once."""
    _check_fence(h, virtual_memory_trapped=False)
