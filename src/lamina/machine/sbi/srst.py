"""SBI extension SRST: the guest powers off or reboots. Specification 2.0, chapter 10."""

from enum import IntEnum

from lamina.base.bits import trunc
from lamina.devices.finisher import ShutdownKind, ShutdownRequest
from lamina.machine.sbi.abi import INVALID_PARAM, NOT_SUPPORTED, Call, Result
from lamina.machine.sbi.host import SbiHost
from lamina.machine.sbi.hsm import HartState, HartStates

FAILURE_CODE = 1  # what a shutdown because of a system failure is reported as


class Kind(IntEnum):
    """Reset types."""

    SHUTDOWN = 0
    COLD_REBOOT = 1
    WARM_REBOOT = 2


class Reason(IntEnum):
    """Reset reasons."""

    NONE = 0
    SYSTEM_FAILURE = 1


class SystemReset:
    """SRST. A hart whose request was taken does not run on, whenever the Machine acts on it."""

    eid = 0x5352_5354

    def __init__(self, host: SbiHost, states: HartStates) -> None:
        self._host = host
        self._states = states

    def call(self, call: Call) -> Result | None:
        kind, reason = (trunc(arg, 32) for arg in call.args[:2])
        if call.function != 0:  # system_reset
            return NOT_SUPPORTED
        if reason not in tuple(Reason):
            return INVALID_PARAM
        match kind:
            case Kind.SHUTDOWN if reason == Reason.SYSTEM_FAILURE:
                self.end(call.hart, ShutdownRequest(ShutdownKind.FAIL, FAILURE_CODE))
            case Kind.SHUTDOWN:
                self.end(call.hart, ShutdownRequest(ShutdownKind.POWEROFF))
            case Kind.COLD_REBOOT | Kind.WARM_REBOOT:
                self.end(call.hart, ShutdownRequest(ShutdownKind.REBOOT))
            case _:
                return INVALID_PARAM
        return None

    def end(self, hart: int, request: ShutdownRequest) -> None:
        """Stop the calling hart and report; the Machine may reset everything at once, so that
        nothing is touched after it."""
        self._states.change(hart, HartState.STARTED, HartState.STOPPED)
        self._host.shutdown(request)
