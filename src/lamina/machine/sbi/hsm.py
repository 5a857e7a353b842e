"""Which harts run, and SBI extension HSM (hart state management), by which the guest decides it.

Specification 2.0, chapter 9. `HartStates` is asked by the Machine's vCPU loops and by the other
extensions. Its lock is a leaf: nothing of the host's is called under it, so that the Machine may
ask while it holds locks of its own.

A non-retentive suspend puts the hart's registers into the state of its resumption at once, on the
hart's own thread; what wakes it later has nothing left to do but let it run.
"""

import threading
from collections.abc import Callable
from enum import IntEnum

from lamina.base.bits import trunc
from lamina.isa.riscv.fields import SIE
from lamina.machine.sbi.abi import (
    ALREADY_AVAILABLE,
    FAILED,
    INVALID_ADDRESS,
    INVALID_PARAM,
    NOT_SUPPORTED,
    SUCCESS,
    Call,
    Result,
    can_start_at,
)
from lamina.machine.sbi.host import SbiHost

RETENTIVE = 0x0000_0000
NON_RETENTIVE = 0x8000_0000
A0, A1 = 10, 11  # numbers in register file x


class HartState(IntEnum):
    """The states of the specification that harts here are ever seen in."""

    STARTED = 0
    STOPPED = 1
    START_PENDING = 2
    SUSPENDED = 4


class HartStates:
    """The state of each hart."""

    def __init__(self, harts: int) -> None:
        self._lock = threading.Lock()  # guards changes of _states; one entry may be read without
        self._states = [HartState.STOPPED] * harts
        self.reset()

    def reset(self) -> None:
        """Hart 0 runs, the others wait to be started. No hart may be running."""
        with self._lock:
            for hart in range(len(self._states)):
                self._states[hart] = HartState.STOPPED
            self._states[0] = HartState.STARTED

    def state(self, hart: int) -> HartState:
        return self._states[hart]

    def present(self, harts: list[int]) -> list[int]:
        """Those that have begun to run and not stopped: they can be interrupted and fenced."""
        with self._lock:
            here = (HartState.STARTED, HartState.SUSPENDED)
            return [hart for hart in harts if self._states[hart] in here]

    def alone(self, hart: int) -> bool:
        """Whether all other harts are stopped."""
        with self._lock:
            others = self._states[:hart] + self._states[hart + 1 :]
            return all(state == HartState.STOPPED for state in others)

    def change(self, hart: int, old: HartState, new: HartState) -> bool:
        """Go from one state to another; False, and no change, if it is not in the old one."""
        with self._lock:
            if self._states[hart] != old:
                return False
            self._states[hart] = new
            return True

    def set_all(self, states: list[HartState]) -> None:
        """Take over restored states. No hart may be running."""
        with self._lock:
            self._states[:] = states


class Hsm:
    """HSM."""

    eid = 0x48_534D

    def __init__(self, host: SbiHost, states: HartStates, on_start: Callable[[int], None]) -> None:
        """`on_start` is told of a hart that is about to start afresh."""
        self._host = host
        self._states = states
        self._on_start = on_start

    def call(self, call: Call) -> Result | None:
        first, second, third = call.args[:3]
        match call.function:
            case 0:  # hart_start
                return self._start(first, second, third)
            case 1:  # hart_stop
                return self._stop(call.hart)
            case 2:  # hart_get_status
                if first >= self._host.harts:
                    return INVALID_PARAM
                return Result(value=self._states.state(first))
            case 3:  # hart_suspend
                return self._suspend(call.hart, trunc(first, 32), second, third)
            case _:
                return NOT_SUPPORTED

    def _start(self, hart: int, gpa: int, opaque: int) -> Result:
        if hart >= self._host.harts:
            return INVALID_PARAM
        if not can_start_at(self._host, gpa):
            return INVALID_ADDRESS
        if not self._states.change(hart, HartState.STOPPED, HartState.START_PENDING):
            return ALREADY_AVAILABLE
        self._on_start(hart)
        self._host.restart(hart, gpa, hart, opaque)
        self._states.change(hart, HartState.START_PENDING, HartState.STARTED)
        self._host.kick(hart)
        return SUCCESS

    def _stop(self, hart: int) -> Result | None:
        if not self._states.change(hart, HartState.STARTED, HartState.STOPPED):
            return FAILED
        return None  # from here on the registers may be another hart's start's business

    def _suspend(self, hart: int, kind: int, gpa: int, opaque: int) -> Result | None:
        if kind == RETENTIVE:
            self._states.change(hart, HartState.STARTED, HartState.SUSPENDED)
            return SUCCESS
        if kind != NON_RETENTIVE:
            return INVALID_PARAM
        if not can_start_at(self._host, gpa):
            return INVALID_ADDRESS
        self.sleep(hart, gpa, opaque)
        return None

    def sleep(self, hart: int, gpa: int, opaque: int) -> None:
        """Suspend the calling hart; an interrupt lets it go on at `gpa`, as if just started.

        Only satp and SIE are lost: `sie`, the timer and pending interrupts are what wakes it.
        """
        vcpu = self._host.vcpu(hart)
        vcpu.set("satp", 0)
        vcpu.set("mstatus", vcpu.get("mstatus") & ~SIE)
        vcpu.set("pc", gpa)
        vcpu.set_reg("x", A0, hart)
        vcpu.set_reg("x", A1, opaque)
        self._host.fence([hart], tlb=True, icache=False)
        self._states.change(hart, HartState.STARTED, HartState.SUSPENDED)
