"""SBI extension SUSP: the whole system sleeps. Specification 2.0, chapter 13.

The guest stops all harts but one first; that one sleeps until an interrupt that it has enabled.
"""

from lamina.base.bits import trunc
from lamina.machine.sbi.abi import (
    DENIED,
    INVALID_ADDRESS,
    INVALID_PARAM,
    NOT_SUPPORTED,
    Call,
    Result,
    can_start_at,
)
from lamina.machine.sbi.host import SbiHost
from lamina.machine.sbi.hsm import HartStates, Hsm

SUSPEND_TO_RAM = 0


class SystemSuspend:
    """SUSP."""

    eid = 0x5355_5350

    def __init__(self, host: SbiHost, states: HartStates, hsm: Hsm) -> None:
        self._host = host
        self._states = states
        self._hsm = hsm

    def call(self, call: Call) -> Result | None:
        kind, gpa, opaque = call.args[:3]
        if call.function != 0:  # system_suspend
            return NOT_SUPPORTED
        if trunc(kind, 32) != SUSPEND_TO_RAM:
            return INVALID_PARAM
        if not can_start_at(self._host, gpa):
            return INVALID_ADDRESS
        if not self._states.alone(call.hart):  # and if it is, nobody is there to change that
            return DENIED
        self._hsm.sleep(call.hart, gpa, opaque)
        return None
