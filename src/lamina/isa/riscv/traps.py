"""Trap entry and return.

Privileged Architecture 1.13, 3.1.6.1 (the privilege stack), 3.1.7 (vectors), 3.1.8 (delegation),
3.1.9 (interrupts), 3.3.2 (mret, sret). `trap` and `interrupt` are called by engines, `mret` and
`sret` by the instructions. All of them leave `tlb.context` announced where privilege changes.
"""

from functools import cache

from lamina.base.exits import Exit
from lamina.ir.build import Val
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr import CsrHart
from lamina.isa.riscv.fields import Cause
from lamina.isa.riscv.hart import Hart
from lamina.isa.riscv.status import is_set, look_at_interrupts, read_mip, timer_deadline

# Exceptions of an instruction's fetch: a handler that meets one at its very first instruction
# meets it again for ever.
FETCH_CAUSES = (Cause.FETCH_ACCESS, Cause.ILLEGAL, Cause.FETCH_PAGE)


@cache
def trap() -> Routine:
    """trap(cause, tval): take the exception that the instruction at slot `pc` raised."""
    h = Hart("trap", (64, 64))
    cause, tval = h.params
    priv, pc = h.s.priv, h.s.pc
    delegated = (priv != f.MACHINE) & ((h.s.medeleg >> cause).trunc(1))
    with h.when(delegated):
        _enter_supervisor(h, cause, tval, h.s.stvec & ~3)
    with h.otherwise():
        _enter_machine(h, cause, tval, h.s.mtvec & ~3)
    h.do("tlb.context")
    unfetchable = h.const(0, 1)
    for code in FETCH_CAUSES:
        unfetchable = unfetchable | (cause == code)
    with h.when(unfetchable & (h.s.pc == pc) & (h.s.priv == priv)):
        h.exit(Exit.STUCK)
    return simplify(verify(h.finish()))


@cache
def interrupt() -> Routine:
    """interrupt(): take the most urgent deliverable interrupt, if there is one."""
    h = Hart("interrupt")
    pending = read_mip(h) & h.s.mie
    status, priv, mideleg = h.s.mstatus, h.s.priv, h.s.mideleg
    m_enabled = (priv != f.MACHINE) | is_set(status, f.MIE)
    s_enabled = (priv == f.USER) | ((priv == f.SUPERVISOR) & is_set(status, f.SIE))
    for_machine = h.select(m_enabled, pending & ~mideleg, 0)
    for_supervisor = h.select(s_enabled, pending & mideleg, 0)
    with h.when(for_machine != 0):
        number = _most_urgent(h, for_machine)
        _enter_machine(h, number | f.INTERRUPT, h.const(0), _vector(h, h.s.mtvec, number))
        h.do("tlb.context")
    with h.otherwise(), h.when(for_supervisor != 0):
        number = _most_urgent(h, for_supervisor)
        _enter_supervisor(h, number | f.INTERRUPT, h.const(0), _vector(h, h.s.stvec, number))
        h.do("tlb.context")
    return simplify(verify(h.finish()))


@cache
def wakes() -> Routine:
    """wakes() -> 1 if an interrupt is pending and enabled in mie, whether or not it can be taken:
    what ends a wfi."""
    h = Hart("wakes")
    return simplify(verify(h.finish((read_mip(h) & h.s.mie) != 0)))


@cache
def deadline() -> Routine:
    """deadline() -> when STIP rises next, as far as that depends on time; all ones: never."""
    h = Hart("deadline")
    return simplify(verify(h.finish(timer_deadline(h))))


@cache
def mret() -> Routine:
    """mret(insn) -> the address to go on at; illegal below machine mode."""
    h = CsrHart("mret", (64,))
    with h.when(h.s.priv != f.MACHINE):
        h.illegal()
    status = h.s.mstatus
    priv = (status & f.MPP) >> f.MPP_SHIFT
    status = _copy_bit(h, status, f.MPIE, f.MIE) | f.MPIE
    _return_to(h, status & ~f.MPP, priv)
    return simplify(verify(h.finish(h.s.mepc)))


@cache
def sret() -> Routine:
    """sret(insn) -> the address to go on at; illegal in user mode, in supervisor mode by TSR."""
    h = CsrHart("sret", (64,))
    status = h.s.mstatus
    trapped = (h.s.priv == f.SUPERVISOR) & is_set(status, f.TSR)
    with h.when((h.s.priv == f.USER) | trapped):
        h.illegal()
    priv = is_set(status, f.SPP).zext(64)
    status = _copy_bit(h, status, f.SPIE, f.SIE) | f.SPIE
    _return_to(h, status & ~f.SPP, priv)
    return simplify(verify(h.finish(h.s.sepc)))


def _return_to(h: Hart, status: Val, priv: Val) -> None:
    """Back to `priv`; MPRV does not outlive machine mode."""
    h.s.mstatus = h.select(priv == f.MACHINE, status, status & ~f.MPRV)
    h.s.priv = priv
    h.do("tlb.context")
    look_at_interrupts(h)


def _copy_bit(h: Hart, value: Val, source: int, target: int) -> Val:
    """`value` with the bit `target` as the bit `source` is."""
    return h.select(is_set(value, source), value | target, value & ~target)


def _enter_machine(h: Hart, cause: Val, tval: Val, target: Val) -> None:
    status = _copy_bit(h, h.s.mstatus, f.MIE, f.MPIE)
    h.s.mstatus = (status & ~(f.MIE | f.MPP)) | ((h.s.priv << f.MPP_SHIFT) & f.MPP)
    h.s.mepc = h.s.pc
    h.s.mcause = cause
    h.s.mtval = tval
    h.s.priv = f.MACHINE
    h.s.pc = target


def _enter_supervisor(h: Hart, cause: Val, tval: Val, target: Val) -> None:
    status = _copy_bit(h, h.s.mstatus, f.SIE, f.SPIE)
    from_supervisor = h.select(h.s.priv == f.SUPERVISOR, f.SPP, 0)
    h.s.mstatus = (status & ~(f.SIE | f.SPP)) | from_supervisor
    h.s.sepc = h.s.pc
    h.s.scause = cause
    h.s.stval = tval
    h.s.priv = f.SUPERVISOR
    h.s.pc = target


def _vector(h: Hart, tvec: Val, number: Val) -> Val:
    """Where interrupt `number` goes: in vectored mode each has its own entry."""
    base = tvec & ~3
    return h.select(is_set(tvec, 1), base + (number << 2), base)


def _most_urgent(h: Hart, interrupts: Val) -> Val:
    chosen = h.const(f.PRIORITY[-1])
    for number in reversed(f.PRIORITY[:-1]):
        chosen = h.select(is_set(interrupts, 1 << number), number, chosen)
    return chosen
