"""The Machine: a whole computer as a Python object.

    with Machine(MachineConfig(kernel=Path("kernel"))) as m:
        m.console.attach(sys.stdout.buffer.write)
        outcome = m.run(timeout=60)

A machine has one owner thread: the one that calls `run`, `step` and the properties. `stop`, `post`
and the console may be used from any thread. The address space's lock guards all state of devices.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lamina.base.errors import ConfigError
from lamina.base.exits import Exit
from lamina.bus.irq import IrqLine
from lamina.bus.space import AddressSpace
from lamina.devices.finisher import ShutdownKind, ShutdownRequest
from lamina.devices.uart import Uart
from lamina.devices.virtio.console import VirtioConsole
from lamina.devices.virtio.rng import VirtioRng
from lamina.engine.contract import Engine
from lamina.engine.statistics import EngineStatistics, total
from lamina.engine.vcpu import VCpu
from lamina.isa.riscv import RISCV64
from lamina.machine import inspect
from lamina.machine.boards.virt import build_virt, plug_virtio
from lamina.machine.boot import Boot, is_paravirtual
from lamina.machine.clock import INSTRUCTIONS_PER_TICK, NS_PER_TICK, InstructionClock, RealClock
from lamina.machine.commits import CommitLog, LoggedEngine
from lamina.machine.config import (
    ISA,
    MMU,
    PARAVIRTUAL_ISA,
    MachineConfig,
    Outcome,
)
from lamina.machine.console import Console
from lamina.machine.engines import ENGINES
from lamina.machine.entropy import entropy_source
from lamina.machine.firmware import Firmware
from lamina.machine.memory import Memory
from lamina.machine.runner import Runner
from lamina.machine.storage import Storage
from lamina.machine.trace import Tracer

UNTIL_SECONDS = 0.05  # how often `run` asks its `until`
INPUT_RETRY_TICKS = 100_000  # 10 ms: typed bytes that the device had no room for


class _Pins:
    """Hands the interrupt pins of the runners to the board, which is built before them."""

    def __init__(self, runners: list[Runner]) -> None:
        self._runners = runners
        self.lines: list[tuple[int, int, IrqLine]] = []

    def line(self, hart: int, bit: int) -> IrqLine:
        line = IrqLine(lambda level: self._runners[hart].set_irq(bit, level))
        self.lines.append((hart, bit, line))
        return line


class Machine:
    """A RISC-V 64 computer of QEMU's `virt` kind, built from a MachineConfig."""

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.console = Console()
        self.space = AddressSpace()
        self.memory = Memory(self.space)
        self.on_trap: Callable[[Machine, int], None] | None = None
        self.on_asleep: Callable[[], None] = lambda: None
        """Deterministic time: the guest idles and no timer is set; only input would wake it."""
        self.breakpoints: set[int] = set()
        self._runners: list[Runner] = []
        self._posts: deque[Callable[[], None]] = deque()
        self._finished = threading.Condition()  # guards the six below
        self._outcome: Outcome | None = None
        self._failure: BaseException | None = None
        self._stop_asked = False
        self.ending = True
        self._running = False
        self._closed = False
        self._tracer: Tracer | None = None
        self._commits: CommitLog | None = None
        self.storage = Storage(config.disks)
        try:
            self._build()
        except BaseException:
            self.space.close()
            self.storage.close()
            raise

    def _build(self) -> None:
        config = self.config
        self.clock: RealClock | InstructionClock
        if config.deterministic:
            self.clock = InstructionClock(lambda: self.cpus[0].icount, self._announce_time)
        else:
            self.clock = RealClock(self.space.lock, self._announce_time)
        pins = _Pins(self._runners)
        self.board = build_virt(
            self.space,
            config.cpus,
            config.memory,
            pins,
            self.clock,
            self._printed,
            self.shut_down,
            PARAVIRTUAL_ISA if is_paravirtual(config) else ISA,
            MMU,
        )
        for disk in self.storage.devices:
            plug_virtio(self.board, disk)
        plug_virtio(self.board, VirtioRng(entropy_source(config.deterministic)))
        self._virtio_console = VirtioConsole(self._printed)
        plug_virtio(self.board, self._virtio_console)
        if config.trace:
            self._tracer = Tracer(self)
            for hart, bit, line in pins.lines:
                self._tracer.watch_pin(line, hart, bit)
        if config.log_commits is not None:
            self._commits = CommitLog(config.log_commits)
        self._boot = Boot(config, self.board)
        for index in range(config.cpus):
            self._runners.append(Runner(self, index))
        for runner in self._runners:
            runner.engine.set_peers(self.cpus)
        self.firmware = Firmware(self)
        if isinstance(self.clock, InstructionClock):
            self.clock.on_earlier = self._runners[0].interrupt
        self.console.connect(lambda: self.post(self._feed_console))
        self.reset()

    def make_engine(self, index: int) -> Engine:
        """A vCPU and the engine that runs it."""
        tracer = self._tracer
        space = self.space if tracer is None else tracer.space(index)
        engine = ENGINES[self.config.engine](
            RISCV64, index, space, lambda event, value: self.cpu_event(index, event, value)
        )
        if self._commits is not None:
            engine = LoggedEngine(engine, self.space, self._commits)
        return engine if tracer is None else tracer.engine(engine, index)

    # -- life ------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give all host resources back. A run in another thread ends first."""
        if any(runner.is_current() for runner in self._runners):
            raise ConfigError("a machine's own callback cannot close it; let it call stop")
        with self._finished:
            self._closed = True
        self.end(Outcome("stopped"))
        with self._finished:
            self._finished.wait_for(lambda: not self._running)
        for runner in self._runners:
            runner.join()
        self.clock.close()
        for runner in self._runners:
            runner.engine.close()
        self._runners.clear()
        for log in (self._tracer, self._commits):
            if log is not None:
                log.close()
        self.space.close()
        self.storage.close()

    def reset(self) -> None:
        """Power-on: memory as loaded, devices and vCPUs reset, guest time at zero."""
        with self._finished:
            self._check_at_rest()
        self._boot.read()
        self.board.reset()
        self.board.ram.clear()
        self._boot.write()
        for runner in self._runners:
            runner.reset()
            runner.vcpu.reset(**self._boot.start_of(runner.index))
            for number, value in self._boot.registers_of(runner.index).items():
                runner.vcpu.set_reg("x", number, value)
            runner.engine.state_changed()
        self.firmware.reset()
        self.clock.set_ticks(0)

    def device_tree(self) -> bytes:
        """The flattened device tree of this machine's boot."""
        return self._boot.device_tree()

    # -- running ---------------------------------------------------------------------------------
    def run(
        self,
        max_instructions: int | None = None,
        timeout: float | None = None,
        until: "Callable[[Machine], bool] | None" = None,
    ) -> Outcome:
        """Run until something ends it: the guest (poweroff, fail, reboot, crash), `stop`, `timeout`
        seconds, a breakpoint, or a vCPU that has retired exactly `max_instructions`. `until` is
        asked 20 times a second (with deterministic time also every million instructions). A guest
        that idles retires nothing: without a `timeout` it may never reach `max_instructions`."""
        if max_instructions is not None and max_instructions < 0:
            raise ConfigError(f"max_instructions of {max_instructions}: it takes 0 or more")
        if timeout is not None:
            if not timeout >= 0:
                raise ConfigError(f"timeout of {timeout:g} s: it takes 0 or more")
            timeout = min(timeout, threading.TIMEOUT_MAX)
        if self.breakpoints:
            return self._run_to_breakpoint(until, max_instructions, timeout)
        if until is not None:
            return self._run_until(until, max_instructions, timeout)
        return self._run(max_instructions, timeout)

    def _run(self, max_instructions: int | None, timeout: float | None) -> Outcome:
        with self._finished:
            self._check_at_rest()
            self._running = True
            self._outcome = Outcome("stopped") if self._stop_asked else None
            self._failure = None
            self._stop_asked = False
            self.ending = self._outcome is not None
        try:
            self._run_vcpus(max_instructions, timeout)
        finally:
            with self._finished:
                self._running = False
                self._finished.notify_all()
        if self._failure is not None:
            raise self._failure
        assert self._outcome is not None
        return self._outcome

    def _check_at_rest(self) -> None:
        """Between runs the state belongs to the caller; `_finished` is held."""
        if self._closed:
            raise ConfigError("the machine is closed")
        if self._running:
            raise ConfigError("the machine runs already, in another thread")

    def _run_vcpus(self, max_instructions: int | None, timeout: float | None) -> None:
        for runner in self._runners:
            runner.engine.watch_traps(self.on_trap is not None)
        self.console.set_ended(False)
        self.clock.go()
        try:
            for runner in self._runners:
                runner.start(max_instructions)
            with self._finished:
                self._finished.wait_for(lambda: self.ending, timeout)
        finally:
            self.end(Outcome("timeout"))
            for runner in self._runners:
                runner.join()
            self.clock.halt()
            self.console.set_ended(True)
            for log in (self._tracer, self._commits):
                if log is not None:
                    log.flush()

    def _run_until(
        self,
        until: "Callable[[Machine], bool]",
        max_instructions: int | None,
        timeout: float | None,
    ) -> Outcome:
        """In short runs, with the question between them."""
        end = None if max_instructions is None else self.icount + max_instructions
        deadline = None if timeout is None else time.monotonic() + timeout
        while not until(self):
            left = None if end is None else end - self.icount
            chunk = left
            if self.config.deterministic:
                chunk = 1_000_000 if left is None else min(left, 1_000_000)
            outcome = self._run(chunk, UNTIL_SECONDS)
            if outcome.reason not in ("limit", "timeout"):
                return outcome
            if end is not None and self.icount >= end:
                return Outcome("limit")
            if deadline is not None and time.monotonic() > deadline:
                return Outcome("timeout")
        return Outcome("until")

    def _run_to_breakpoint(
        self,
        until: "Callable[[Machine], bool] | None",
        max_instructions: int | None,
        timeout: float | None,
    ) -> Outcome:
        """One instruction at a time on the first vCPU, until its pc is a breakpoint."""
        left = max_instructions
        deadline = None if timeout is None else time.monotonic() + timeout
        while left is None or left > 0:
            if until is not None and until(self):
                return Outcome("until")
            wait = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            outcome = self._run(1, wait)
            if outcome.reason != "limit":
                return outcome
            if self.pc in self.breakpoints:
                return Outcome("breakpoint", detail=f"pc = {self.pc:#x}")
            left = None if left is None else left - 1
        return Outcome("limit")

    def statistics(self) -> EngineStatistics:
        """What the engines have counted since the machine was made, over all vCPUs; about right
        while it runs."""
        return total(runner.statistics() for runner in self._runners)

    def clock_seconds(self) -> float:
        """Guest time since power-on."""
        return self.clock.ticks() * NS_PER_TICK / 1e9

    def step(self, cpu: int = 0) -> Exit:
        """Run one instruction of a vCPU, or take one trap."""
        with self._finished:
            self._check_at_rest()
            self._failure = None
        engine = self._runners[cpu].engine
        engine.state_changed()
        before = engine.vcpu.icount, engine.vcpu.pc
        code = engine.step()
        while code is Exit.REQUEST and (engine.vcpu.icount, engine.vcpu.pc) == before:
            code = engine.step()  # it was asked out by the run before, and has done nothing yet
        if code is Exit.HYPERCALL:
            self.hypercall(cpu)
        if self._failure is not None:
            raise self._failure
        return code

    def stop(self) -> None:
        """End the run, or the next one if none is under way; from any thread."""
        with self._finished:
            self._stop_asked = self.ending
        self.end(Outcome("stopped"))

    def post(self, event: Callable[[], None]) -> None:
        """The one door for input from outside: `event` is called at a boundary of the first vCPU,
        with the address space's lock held; from any thread."""
        self._posts.append(event)
        if self._runners:
            self._runners[0].interrupt()

    # -- looking and changing --------------------------------------------------------------------
    @property
    def cpus(self) -> list[VCpu]:
        """The vCPUs."""
        if not self._runners:
            raise ConfigError("the machine is closed")
        return [runner.vcpu for runner in self._runners]

    @property
    def pc(self) -> int:
        """The first vCPU's program counter."""
        return self.cpus[0].pc

    @pc.setter
    def pc(self, value: int) -> None:
        self.cpus[0].pc = value

    @property
    def regs(self) -> dict[str, int]:
        """All registers and CSR slots of the first vCPU, by name (a copy)."""
        return dict(self.cpus[0].items())

    @property
    def icount(self) -> int:
        """Instructions retired by the first vCPU since the machine was built."""
        return self.cpus[0].icount

    def translate(self, gva: int, cpu: int = 0) -> int | None:
        """The physical address behind a virtual one for a read now, or None if it would fault."""
        return inspect.translate(self.cpus[cpu], self.space, gva)

    def disassemble(self, pc: int | None = None, count: int = 1, cpu: int = 0) -> list[str]:
        """Instructions from a virtual address on (the vCPU's pc by default), a line each:
        address, bits, text. Ends early where no code can be fetched."""
        vcpu = self.cpus[cpu]
        return inspect.disassemble(vcpu, self.space, vcpu.pc if pc is None else pc, count)

    # -- from the runners and devices ------------------------------------------------------------
    @property
    def runners(self) -> list[Runner]:
        """The vCPUs' threads; for the firmware."""
        return self._runners

    @property
    def paravirtual(self) -> bool:
        """Whether the hypervisor answers the guest's SBI calls."""
        return self._boot.paravirtual

    def runnable(self, index: int) -> bool:
        """Whether a vCPU has work at all (the firmware may have stopped it)."""
        return self.firmware.runnable(index)

    def account(self, index: int) -> None:
        """A vCPU's slice of guest time is over; on its own thread."""
        self.firmware.account(index)

    def accounts(self, index: int) -> bool:
        """Whether the guest wants an account of its slices."""
        return self.firmware.accounts(index)

    def patience(self, index: int) -> float | None:
        """Seconds until a vCPU's own timer is due, if nobody else wakes its thread then."""
        return self.firmware.patience(index) if self._runners[index].engine.keeps_time else None

    def take_posts(self, index: int) -> None:
        """Let posted events happen; on the first vCPU's thread."""
        while index == 0 and self._posts:
            event = self._posts.popleft()
            with self.space.lock:
                event()

    def hypercall(self, index: int) -> None:
        """A guest calls its hypervisor."""
        if self._tracer is None:
            self.firmware.call(index)
        else:
            self._tracer.sbi(index, self.firmware.call)

    def trapped(self, index: int) -> None:
        """A vCPU took a trap while traps are watched."""
        if self.on_trap is not None:
            try:
                self.on_trap(self, index)
            except BaseException as error:
                self.fail(error)

    def end(self, outcome: Outcome) -> None:
        """End the run; the first outcome counts."""
        with self._finished:
            if self._outcome is None:
                self._outcome = outcome
            self.ending = True
            self._finished.notify_all()
        for runner in self._runners:
            runner.interrupt()

    def fail(self, error: BaseException) -> None:
        """A caller's function failed, the host did, or a vCPU's thread died of a bug of ours:
        `run` or `step` raises it."""
        if self._failure is None:
            self._failure = error
        self.end(Outcome("crash", detail=str(error)))

    def shut_down(self, request: ShutdownRequest) -> None:
        """The guest asks to stop: test finisher, SBI."""
        match request.kind:
            case ShutdownKind.POWEROFF:
                self.end(Outcome("poweroff", request.code))
            case ShutdownKind.FAIL:
                self.end(Outcome("fail", request.code))
            case ShutdownKind.REBOOT:
                self.end(Outcome("reboot", request.code))

    def cpu_event(self, index: int, event: str, value: int) -> None:
        """A vCPU changed its own timer (Sstc). A busy guest may do so for long without coming out
        of the engine, so its steal time is brought up to date here as well."""
        runner = self._runners[index]
        if event == "stimecmp" and not runner.engine.keeps_time:
            runner.vcpu.set("timer", 1)
            self.clock.arm(("stimecmp", index), value, runner.timer_due)
            self.firmware.account(index)

    def _announce_time(self, offset: int) -> None:
        deterministic = self.config.deterministic
        divisor = INSTRUCTIONS_PER_TICK if deterministic else NS_PER_TICK
        for runner in self._runners:
            runner.engine.set_time(offset, divisor, deterministic)

    def _printed(self, data: bytes) -> None:
        try:
            self.console.emit(data)
        except BaseException as error:  # of what the caller attached, not of the device
            self.fail(error)

    def _feed_console(self) -> None:
        """Hand typed bytes to the device; what finds no room is tried again."""
        device: Uart | VirtioConsole = self._virtio_console
        if self.config.console == "uart":
            uart = self.board.devices["uart0"]
            assert isinstance(uart, Uart)
            device = uart
        device.receive(self.console.take(device.room))
        if device.room == 0:
            self.clock.arm("console", self.clock.ticks() + INPUT_RETRY_TICKS, self._feed_console)
