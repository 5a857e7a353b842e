"""The SBI as a whole: takes a hart's call to its extension, and keeps what lasts between calls.

RISC-V SBI Specification 2.0. In a paravirtual machine an `ecall` of supervisor mode leaves the
engine with Exit.HYPERCALL; the hart's thread in the Machine then calls `Sbi.call` and, before it
runs the hart again, asks `runnable`.
"""

from typing import Any

from lamina.devices.state import StateReader
from lamina.machine.sbi import legacy
from lamina.machine.sbi.abi import NOT_SUPPORTED, Call, Extension
from lamina.machine.sbi.base import Base
from lamina.machine.sbi.dbcn import DebugConsole
from lamina.machine.sbi.host import SbiHost
from lamina.machine.sbi.hsm import HartState, HartStates, Hsm
from lamina.machine.sbi.remote import Ipi, RemoteFence
from lamina.machine.sbi.srst import SystemReset
from lamina.machine.sbi.sta import StealTime
from lamina.machine.sbi.susp import SystemSuspend
from lamina.machine.sbi.timer import Timer

A0, A1, A6, A7 = 10, 11, 16, 17  # numbers in register file x


class Sbi:
    """The SBI of one machine. Methods may be called from any thread unless they say otherwise."""

    def __init__(self, host: SbiHost) -> None:
        self._host = host
        self._states = HartStates(host.harts)
        self._steal = StealTime(host)
        hsm = Hsm(host, self._states, self._steal.forget)
        ipi = Ipi(host, self._states)
        fences = RemoteFence(host, self._states)
        reset = SystemReset(host, self._states)
        self._legacy = legacy.Legacy(host, ipi, fences, reset)
        susp = SystemSuspend(host, self._states, hsm)
        console = DebugConsole(host)
        parts: list[Extension] = [
            *(Timer(host), ipi, fences, hsm, reset, console, susp, self._steal)
        ]
        self._extensions = {part.eid: part for part in parts}
        self._extensions[Base.eid] = Base({*legacy.EIDS, Base.eid, *self._extensions})

    # -- harts ---------------------------------------------------------------------------------
    def call(self, hart: int) -> None:
        """Do the call that the hart's registers describe. Only on the hart's own thread.

        Afterwards nobody may touch the hart's registers without asking `runnable`: it may have
        stopped, and another hart may be starting it again.
        """
        vcpu = self._host.vcpu(hart)
        a0, a1, a2, a3, a4, a5 = (vcpu.reg("x", A0 + n) for n in range(6))
        call = Call(hart, vcpu.reg("x", A7), vcpu.reg("x", A6), (a0, a1, a2, a3, a4, a5))
        if call.extension in legacy.EIDS:
            value = self._legacy.call(call)
            if value is not None:
                vcpu.set_reg("x", A0, value)
            return
        extension = self._extensions.get(call.extension)
        result = extension.call(call) if extension else NOT_SUPPORTED
        if result is not None:
            vcpu.set_reg("x", A0, result.error)
            vcpu.set_reg("x", A1, result.value)

    def runnable(self, hart: int) -> bool:
        """Whether the hart is started and not suspended. Takes no lock."""
        return self._states.state(hart) == HartState.STARTED

    def suspended(self, hart: int) -> bool:
        """Whether the hart waits for an interrupt that wakes it. Takes no lock."""
        return self._states.state(hart) == HartState.SUSPENDED

    def wake(self, hart: int) -> bool:
        """An interrupt is pending that the hart has enabled (mip & mie, whatever SIE says).

        True if that ended a suspension; its thread may then run it. Without effect on a hart that
        is not suspended, so a thread that finds its hart not runnable first calls this if there is
        such an interrupt, and only then sleeps: an interrupt that came before the suspension is
        not lost.
        """
        return self._states.change(hart, HartState.SUSPENDED, HartState.STARTED)

    def update_steal(self, hart: int, preempted: bool = False) -> None:
        """Bring the hart's steal time in guest memory up to date; cheap if it wants none.

        On the hart's own thread: after a wait for a host CPU, and with `preempted` before one.
        """
        self._steal.update(hart, preempted)

    def wants_steal(self, hart: int) -> bool:
        """Whether a hart has named memory for its steal time."""
        return self._steal.wanted(hart)

    # -- the machine's life ----------------------------------------------------------------------
    def reset(self) -> None:
        """Hart 0 started, the others stopped. No hart may be running."""
        self._states.reset()
        self._steal.reset()

    def save(self) -> dict[str, Any]:
        """What lasts between calls; no hart may be running."""
        harts = [int(self._states.state(n)) for n in range(self._host.harts)]
        return {"harts": harts, "steal": self._steal.save()}

    def load(self, state: dict[str, Any]) -> None:
        """Take over saved state, or SnapshotError and no change; no hart may be running."""
        reader = StateReader("sbi", state, "harts", "steal")
        harts = reader.integers("harts", self._host.harts)
        lasting = (HartState.STARTED, HartState.STOPPED, HartState.SUSPENDED)
        if any(number not in lasting for number in harts):
            raise reader.refuse("harts", "a list of started, stopped or suspended")
        areas = self._steal.parse(reader.table("steal", self._host.harts))
        self._steal.set_all(areas)
        self._states.set_all([HartState(number) for number in harts])
