"""The paravirtual firmware: the Machine as the SBI's host.

In a paravirtual boot there is no machine mode; `machine.sbi` answers the guest's calls and this
file gives it the machine. In a full boot nothing here is ever called, and every hart runs.
"""

import time
from typing import Protocol

from lamina.base.bits import U64
from lamina.base.clock import NS_PER_SECOND
from lamina.bus.space import AddressSpace
from lamina.devices.finisher import ShutdownRequest
from lamina.engine.vcpu import REQUEST_ICACHE_FLUSH, REQUEST_TLB_FLUSH, VCpu
from lamina.machine.clock import NS_PER_TICK, InstructionClock, RealClock
from lamina.machine.config import MachineConfig
from lamina.machine.console import Console
from lamina.machine.runner import Runner
from lamina.machine.sbi import Sbi
from lamina.machine.steal import StealMeter

SSIP, STIP = 1 << 1, 1 << 5
MOST_SECONDS = 3600.0  # that a hart sleeps in one piece


class FirmwareHost(Protocol):
    """The machine, as far as its firmware knows it."""

    config: MachineConfig
    console: Console
    clock: RealClock | InstructionClock
    space: AddressSpace

    @property
    def paravirtual(self) -> bool:
        """Whether the hypervisor answers the guest's SBI calls."""

    @property
    def cpus(self) -> list[VCpu]:
        """The vCPUs."""

    @property
    def runners(self) -> list[Runner]:
        """Their threads."""

    def cpu_event(self, index: int, event: str, value: int) -> None:
        """A vCPU's own timer changed."""

    def shut_down(self, request: ShutdownRequest) -> None:
        """The guest asks to stop."""

    def translate(self, gva: int, cpu: int = 0) -> int | None:
        """The physical address behind a virtual one."""


class Firmware:
    """What the SBI implementation needs of a machine, and the machine of it."""

    def __init__(self, machine: FirmwareHost) -> None:
        self._machine = machine
        self.harts = machine.config.cpus
        self._paravirtual = machine.paravirtual
        # With deterministic time the host's scheduling must not show: nothing is stolen.
        counts = self._paravirtual and not machine.config.deterministic
        self._meters = [StealMeter() for _ in range(self.harts)] if counts else []
        self.sbi = Sbi(self)

    # -- for the Machine -------------------------------------------------------------------------
    def reset(self) -> None:
        self.sbi.reset()

    def call(self, hart: int) -> None:
        self.sbi.call(hart)

    def account(self, hart: int) -> None:
        """Tell the guest of stolen time, now and then; on the hart's own thread."""
        if self._meters and self._meters[hart].sample():
            self.sbi.update_steal(hart)

    def accounts(self, hart: int) -> bool:
        """Whether the guest wants to be told, so that a hart must come out for it."""
        return bool(self._meters) and self.sbi.wants_steal(hart)

    def patience(self, hart: int) -> float | None:
        """Seconds until the timer wakes a suspended hart; None if it does not."""
        vcpu = self.vcpu(hart)
        if not self.sbi.suspended(hart) or not vcpu.get("mie") & STIP:
            return None
        left = (vcpu.get("stimecmp") - self.ticks()) * NS_PER_TICK / NS_PER_SECOND
        return min(max(left, 0.0), MOST_SECONDS)

    def runnable(self, hart: int) -> bool:
        """Whether a hart may run; a suspended one is woken by an enabled interrupt."""
        if not self._paravirtual or self.sbi.runnable(hart):
            return True
        return self._interrupted(hart) and self.sbi.wake(hart)

    def _interrupted(self, hart: int) -> bool:
        vcpu = self.vcpu(hart)
        pending = vcpu.get("irq") | vcpu.get("mip_soft") | vcpu.get("posted")
        if self.ticks() >= vcpu.get("stimecmp"):
            pending |= STIP
        return bool(pending & vcpu.get("mie"))

    # -- for the SBI -----------------------------------------------------------------------------
    def vcpu(self, hart: int) -> VCpu:
        return self._machine.cpus[hart]

    def restart(self, hart: int, pc: int, a0: int, a1: int) -> None:
        """Reset a hart that does not run, to begin in supervisor mode."""
        runner = self._machine.runners[hart]
        runner.vcpu.reset(hart_id=hart, pc=pc, paravirtual=1)
        runner.vcpu.set_reg("x", 10, a0)
        runner.vcpu.set_reg("x", 11, a1)
        runner.engine.state_changed()
        runner.kick()

    def kick(self, hart: int) -> None:
        self._machine.runners[hart].kick()

    def raise_software(self, hart: int) -> None:
        """Set SSIP on another hart."""
        self._machine.runners[hart].raise_soft(SSIP)

    def clear_software(self, hart: int) -> None:
        """Clear SSIP; on the hart's own thread."""
        self._machine.runners[hart].clear_soft(SSIP)

    def fence(self, harts: list[int], tlb: bool, icache: bool) -> None:
        """Make harts forget translations or decoded code, and wait until they have: those that
        are in guest code now; the others do it before they enter it again."""
        bits = (REQUEST_TLB_FLUSH if tlb else 0) | (REQUEST_ICACHE_FLUSH if icache else 0)
        runners = [self._machine.runners[hart] for hart in harts]
        for runner in runners:
            runner.vcpu.request(bits)
        for runner in runners:
            while runner.in_guest and runner.vcpu.get("requests") & bits:
                time.sleep(0)

    def arm_timer(self, hart: int, deadline_ticks: int) -> None:
        self.vcpu(hart).set("stimecmp", deadline_ticks)
        self._machine.cpu_event(hart, "stimecmp", deadline_ticks)

    def ticks(self) -> int:
        return self._machine.clock.ticks()

    def shutdown(self, request: ShutdownRequest) -> None:
        self._machine.shut_down(request)

    def console_write(self, data: bytes) -> None:
        self._machine.console.emit(data)

    def console_read(self, limit: int) -> bytes:
        return self._machine.console.take(limit)

    def read(self, gpa: int, length: int) -> bytes:
        return self._machine.space.read(gpa, length)

    def write(self, gpa: int, data: bytes) -> None:
        self._machine.space.dma.write(gpa, data)  # as a device: RAM, never ROM

    def translate(self, hart: int, gva: int) -> int | None:
        return self._machine.translate(gva & U64, hart)

    def steal_ns(self, hart: int) -> int:
        """Time that the hart's thread wanted to run and did not, when it was last looked at."""
        return self._meters[hart].ns if self._meters else 0
