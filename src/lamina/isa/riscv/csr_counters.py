"""Counters: cycle, time, instret, the hardware performance counters (which all read zero), and
the registers that open and stop them.

Privileged Architecture 1.13, 3.1.10 to 3.1.12; Zicntr, Zihpm. One instruction is one cycle. A
running counter is the engine's count of retired instructions plus an offset; a stopped one
(mcountinhibit) is kept in the offset's slot itself.
"""

from collections.abc import Callable

from lamina.base.bits import U32
from lamina.ir.build import Val
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr import CsrHart, array, csr, slot_csr, zero_array
from lamina.isa.riscv.status import is_set

CYCLE, HPM3, HPM_COUNT = 0xC00, 0xC03, 29

slot_csr(0x306, "mcounteren", U32)
slot_csr(0x106, "scounteren", U32)
zero_array(0xB03, HPM_COUNT, "mhpmcounter{}", 3)
zero_array(0x323, HPM_COUNT, "mhpmevent{}", 3)


def _next_count(h: CsrHart) -> Val:
    """Instructions retired once the current one is."""
    return h.one("icount", 64) + 1


def _counter(h: CsrHart, offset: str, bit: int) -> Val:
    stopped = is_set(h.s.mcountinhibit, bit)
    return h.get(offset) + h.select(stopped, 0, h.one("icount", 64))


def _set_counter(h: CsrHart, offset: str, bit: int, value: Val) -> None:
    """The next instruction is the first that reads `value`: this one does not count."""
    stopped = is_set(h.s.mcountinhibit, bit)
    h.set(offset, value - h.select(stopped, 0, _next_count(h)))


def _machine_counter(number: int, name: str, bit: int) -> None:
    offset = f"{name}_offset"
    declared = csr(number, name)(lambda h: _counter(h, offset, bit))
    declared.writer(lambda h, value: _set_counter(h, offset, bit, value))


_machine_counter(0xB00, "mcycle", f.CY)
_machine_counter(0xB02, "minstret", f.IR)


@csr(0x320, "mcountinhibit")
def mcountinhibit(h: CsrHart) -> Val:
    return h.s.mcountinhibit


@mcountinhibit.writer
def _(h: CsrHart, value: Val) -> None:
    """Stops and starts counters from the next instruction on, without changing their value."""
    old, new = h.s.mcountinhibit, value & (f.CY | f.IR)
    for offset, bit in (("mcycle_offset", f.CY), ("minstret_offset", f.IR)):
        with h.when(is_set(new & ~old, bit)):
            h.set(offset, h.get(offset) + _next_count(h))
        with h.when(is_set(old & ~new, bit)):
            h.set(offset, h.get(offset) - _next_count(h))
    h.s.mcountinhibit = new


def _check_open(h: CsrHart, bit: Val) -> None:
    """mcounteren opens a counter to supervisor mode, scounteren (as well) to user mode."""
    closed_by_machine = ((h.s.mcounteren & bit) == 0) & (h.s.priv != f.MACHINE)
    closed_by_supervisor = ((h.s.scounteren & bit) == 0) & (h.s.priv == f.USER)
    with h.when(closed_by_machine | closed_by_supervisor):
        h.illegal()


def _user_counter(number: int, name: str, read: Callable[[CsrHart], Val]) -> None:
    @csr(number, name)
    def _(h: CsrHart) -> Val:
        _check_open(h, h.const(1 << (number - CYCLE)))
        return read(h)


_user_counter(0xC00, "cycle", lambda h: _counter(h, "mcycle_offset", f.CY))
_user_counter(0xC01, "time", lambda h: h.one("time", 64))
_user_counter(0xC02, "instret", lambda h: _counter(h, "minstret_offset", f.IR))


def _hpmcounter(h: CsrHart, index: Val) -> Val:
    _check_open(h, h.const(1) << (index + (HPM3 - CYCLE)))
    return h.const(0)


array(HPM3, HPM_COUNT, "hpmcounter{}", 3, _hpmcounter, lambda h, i, value: None)
