"""The legacy extensions 0 to 8, for old kernels and small ones. Specification 2.0, chapter 5.

Each is an extension of its own with one function; a6 means nothing and a1 is preserved. Hart masks
are in memory, at a virtual address of the caller's; a null pointer means all harts.
"""

from enum import IntEnum
from typing import assert_never

from lamina.base.bits import U64, trunc
from lamina.base.errors import BusError
from lamina.devices.finisher import ShutdownKind, ShutdownRequest
from lamina.machine.sbi.abi import XLEN, Call, Error
from lamina.machine.sbi.host import SbiHost
from lamina.machine.sbi.remote import FENCE_I, SFENCE_VMA, SFENCE_VMA_ASID, Ipi, RemoteFence
from lamina.machine.sbi.srst import SystemReset

NO_INPUT = -1


class Eid(IntEnum):
    """The extensions."""

    SET_TIMER = 0
    PUTCHAR = 1
    GETCHAR = 2
    CLEAR_IPI = 3
    SEND_IPI = 4
    REMOTE_FENCE_I = 5
    REMOTE_SFENCE_VMA = 6
    REMOTE_SFENCE_VMA_ASID = 7
    SHUTDOWN = 8


EIDS = frozenset(Eid)
_FENCES = {
    Eid.REMOTE_FENCE_I: FENCE_I,
    Eid.REMOTE_SFENCE_VMA: SFENCE_VMA,
    Eid.REMOTE_SFENCE_VMA_ASID: SFENCE_VMA_ASID,
}


class Legacy:
    """All nine."""

    def __init__(self, host: SbiHost, ipi: Ipi, fences: RemoteFence, reset: SystemReset) -> None:
        self._host = host
        self._ipi = ipi
        self._fences = fences
        self._reset = reset

    def call(self, call: Call) -> int | None:
        """Do a call whose extension is in EIDS; the new a0, or None to leave it alone."""
        eid = Eid(call.extension)
        match eid:
            case Eid.SET_TIMER:
                self._host.arm_timer(call.hart, call.args[0])
            case Eid.PUTCHAR:
                self._host.console_write(bytes([trunc(call.args[0], 8)]))
            case Eid.GETCHAR:
                text = self._host.console_read(1)
                return text[0] if text else NO_INPUT
            case Eid.CLEAR_IPI:
                self._host.clear_software(call.hart)
            case Eid.SHUTDOWN:
                self._reset.end(call.hart, ShutdownRequest(ShutdownKind.POWEROFF))
                return None
            case Eid.SEND_IPI | Eid.REMOTE_FENCE_I:
                return self._remote(call, eid)
            case Eid.REMOTE_SFENCE_VMA | Eid.REMOTE_SFENCE_VMA_ASID:
                return self._remote(call, eid)
            case _:
                assert_never(eid)
        return Error.SUCCESS

    def _remote(self, call: Call, eid: Eid) -> int:
        targets = self._targets(call.hart, call.args[0])
        if targets is None:
            return Error.INVALID_ADDRESS
        if eid == Eid.SEND_IPI:
            self._ipi.send(targets)
        else:
            self._fences.fence(targets, _FENCES[eid])
        return Error.SUCCESS

    def _targets(self, hart: int, gva: int) -> list[int] | None:
        """The harts of the mask at gva; bits above the last hart are ignored, as OpenSBI does."""
        harts = range(self._host.harts)
        if gva == 0:
            return list(harts)
        if gva % (XLEN // 8):
            return None  # words may then straddle pages, and no kernel does that
        mask = 0
        for word in range(-(-len(harts) // XLEN)):
            gpa = self._host.translate(hart, gva + word * (XLEN // 8) & U64)
            if gpa is None:
                return None
            try:
                bits = int.from_bytes(self._host.read(gpa, XLEN // 8), "little")
            except BusError:
                return None
            mask |= bits << word * XLEN
        return [n for n in harts if mask >> n & 1]
