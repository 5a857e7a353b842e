"""SBI extensions IPI and RFENCE: interrupts and fences for other harts.

Specification 2.0, chapters 7 and 8. Compiled engines do most fences by themselves, exactly what
they name (`isa.riscv.hypercall`); of those that come here, one of a range is one of everything.
The fences for guests of the guest (HFENCE) need the H extension, which harts here have not.
Stopped harts are passed over: they start afresh anyway.
"""

from lamina.machine.sbi.abi import INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Call, Result, select
from lamina.machine.sbi.host import SbiHost
from lamina.machine.sbi.hsm import HartStates

FENCE_I, SFENCE_VMA, SFENCE_VMA_ASID = range(3)


class Ipi:
    """IPI."""

    eid = 0x73_5049

    def __init__(self, host: SbiHost, states: HartStates) -> None:
        self._host = host
        self._states = states

    def call(self, call: Call) -> Result | None:
        if call.function != 0:  # send_ipi
            return NOT_SUPPORTED
        targets = select(call.args[0], call.args[1], self._host.harts)
        if targets is None:
            return INVALID_PARAM
        self.send(targets)
        return SUCCESS

    def send(self, targets: list[int]) -> None:
        """Raise the software interrupt of harts that exist."""
        for hart in self._states.present(targets):
            self._host.raise_software(hart)


class RemoteFence:
    """RFENCE."""

    eid = 0x5246_4E43

    def __init__(self, host: SbiHost, states: HartStates) -> None:
        self._host = host
        self._states = states

    def call(self, call: Call) -> Result | None:
        if call.function not in (FENCE_I, SFENCE_VMA, SFENCE_VMA_ASID):
            return NOT_SUPPORTED
        targets = select(call.args[0], call.args[1], self._host.harts)
        if targets is None:
            return INVALID_PARAM
        self.fence(targets, call.function)
        return SUCCESS

    def fence(self, targets: list[int], function: int) -> None:
        """Fence harts that exist, and wait for them."""
        present = self._states.present(targets)
        if present:
            icache = function == FENCE_I
            self._host.fence(present, tlb=not icache, icache=icache)
