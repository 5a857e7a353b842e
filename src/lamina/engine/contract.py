"""What the machine may ask of an engine; every engine answers alike, bit for bit.

An engine drives one vCPU. `run` and `step` are called by the vCPU's host thread, everything else
only while neither runs; signals from other threads go through the VCpu.
"""

from collections.abc import Callable
from typing import Protocol

from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.statistics import EngineStatistics
from lamina.engine.threaded.sampler import Observer
from lamina.engine.vcpu import VCpu
from lamina.isa.arch import Arch


class Engine(Protocol):
    """One way to execute an architecture's instructions."""

    name: str
    vcpu: VCpu
    keeps_time: bool
    """Whether, in its last run, the guest's waits for interrupts and the vCPU's own timer were the
    engine's business: the machine then hears of neither."""

    def run(self, budget: int) -> Exit:
        """Run until exactly `budget` instructions have retired, or something else ends it."""

    def step(self) -> Exit:
        """Run one instruction, or take one trap."""

    def state_changed(self) -> None:
        """Registers or memory were changed from outside: nothing derived from them is kept."""

    def set_time(self, offset: int, divisor: int, deterministic: bool) -> None:
        """Timebase ticks = base / divisor + offset; base is the host's monotonic clock in
        nanoseconds, or in deterministic mode the retired instructions."""

    def set_peers(self, vcpus: list[VCpu]) -> None:
        """All vCPUs of the machine, whose engines are alike: an engine may fence and interrupt them
        itself, and keep the time."""

    def limit_slice(self, seconds: float) -> None:
        """Come out with Exit.REQUEST once, when the guest sets its timer and so much time has
        passed: where the engine keeps the time. Only between runs, on the vCPU's thread."""

    def watch_traps(self, on: bool) -> None:
        """Whether each trap taken ends a run with Exit.TRAP."""

    def observe(self, observer: Observer | None) -> None:
        """Have `observer` called, on the vCPU's thread, with samples of where the guest is: about
        1,000 a second, while it runs; None ends it. ConfigError if the engine takes none."""

    def statistics(self) -> EngineStatistics:
        """What has been counted since the engine was made. While it runs, numbers are about
        right."""

    def close(self) -> None:
        """Release host memory; the engine must not run any more."""


EngineMaker = Callable[[Arch, int, AddressSpace, Callable[[str, int], None]], Engine]
