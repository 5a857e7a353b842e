"""The thread of one vCPU: run the engine, act on why it came out, sleep while the guest idles.

Hypervisors have this one loop at their heart. The Machine makes a runner for each vCPU, starts
them all for a run and joins them at its end; between runs the state belongs to the caller.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, assert_never

from lamina.base.errors import HostError, LaminaError
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.contract import Engine
from lamina.engine.statistics import EngineStatistics
from lamina.engine.vcpu import REQUEST_STOP
from lamina.machine.clock import InstructionClock, RealClock
from lamina.machine.config import Outcome

UNLIMITED = 1 << 62
ACCOUNT_SECONDS = 0.01  # a guest that wants an account is interrupted so often for it


class RunnerHost(Protocol):
    """The machine, as far as a runner knows it."""

    space: AddressSpace
    clock: RealClock | InstructionClock
    ending: bool
    on_asleep: Callable[[], None]

    def make_engine(self, index: int) -> Engine:
        """The engine of a vCPU."""

    def runnable(self, index: int) -> bool:
        """Whether a vCPU has work at all."""

    def account(self, index: int) -> None:
        """A slice of guest time is over."""

    def accounts(self, index: int) -> bool:
        """Whether `account` must be called now and then while the guest runs."""

    def patience(self, index: int) -> float | None:
        """Seconds until the vCPU's own timer is due; None: somebody will tell."""

    def take_posts(self, index: int) -> None:
        """Let posted events happen."""

    def hypercall(self, index: int) -> None:
        """The guest calls its hypervisor."""

    def trapped(self, index: int) -> None:
        """A trap was taken while traps are watched."""

    def end(self, outcome: Outcome) -> None:
        """End the run."""

    def fail(self, error: BaseException) -> None:
        """The thread died of a bug of ours."""


class Runner:
    """One vCPU and its thread."""

    def __init__(self, machine: RunnerHost, index: int) -> None:
        self.index = index
        self.engine = machine.make_engine(index)
        self.vcpu = self.engine.vcpu
        self.in_guest = False  # true while guest code may run; read by remote fences
        self._machine = machine
        self._end = UNLIMITED
        self._thread: threading.Thread | None = None
        self._cpu_seconds = 0.0  # of the threads that have ended
        self._soft_lock = threading.Lock()  # guards _soft
        self._soft = 0  # bits that other threads want in mip_soft, which only this one writes

    # -- from any thread -------------------------------------------------------------------------
    def kick(self) -> None:
        """Interrupts, posts or the run's end must be looked at: soon if the guest runs, at once
        if it sleeps."""
        self.vcpu.kick()

    def timer_due(self) -> None:
        """The vCPU's own timer has come to its deadline, or an earlier one of it."""
        if not self.engine.keeps_time:
            self.vcpu.set("timer", 0)
            self.kick()

    def interrupt(self) -> None:
        """Bring the vCPU out of guest code."""
        self.vcpu.request(REQUEST_STOP)

    def set_irq(self, line: int, level: bool) -> None:
        self.vcpu.set_irq(line, level)

    def raise_soft(self, bits: int) -> None:
        """Set software-interrupt bits, which the guest itself clears."""
        with self._soft_lock:
            self._soft |= bits
        self.interrupt()

    def clear_soft(self, bits: int) -> None:
        """Clear them; only on this vCPU's own thread."""
        with self._soft_lock:
            self._soft &= ~bits
            self.vcpu.set("mip_soft", self.vcpu.get("mip_soft") & ~bits)
        self.vcpu.set("posted", 0)  # one that comes at this moment counts as cleared, too

    # -- from the owner --------------------------------------------------------------------------
    def reset(self) -> None:
        """Forget what was to be raised before the machine's reset."""
        with self._soft_lock:
            self._soft = 0

    def start(self, max_instructions: int | None) -> None:
        self._end = UNLIMITED
        if max_instructions is not None:
            self._end = min(self.vcpu.icount + max_instructions, UNLIMITED)
        self.engine.state_changed()
        name = f"lamina-vcpu{self.index}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            raise HostError(f"no thread for CPU {self.index}: {error}") from None

    def statistics(self) -> EngineStatistics:
        """The engine's, with the CPU time of the vCPU's thread."""
        seconds, thread = self._cpu_seconds, self._thread
        if thread is not None and thread.ident is not None and thread.is_alive():
            with suppress(OSError):  # it has just ended
                seconds += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return replace(self.engine.statistics(), cpu_seconds=seconds)

    def is_current(self) -> bool:
        """Whether the caller is this vCPU's thread, which cannot wait for itself."""
        return self._thread is threading.current_thread()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # -- the thread ------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            self._loop()
        except HostError as error:
            self._machine.fail(error)
        except LaminaError as error:
            self._machine.end(Outcome("crash", detail=str(error)))
        except BaseException as error:  # a bug of ours must not leave the owner waiting
            self._machine.fail(error)
        finally:
            self.in_guest = False  # nobody's remote fence waits for it
            self._cpu_seconds += time.thread_time()

    def _loop(self) -> None:
        machine = self._machine
        while not machine.ending:
            self.vcpu.listen()
            self._take_soft()
            machine.take_posts(self.index)
            if machine.ending:
                return
            if not machine.runnable(self.index):
                self._idle()
                continue
            budget = self._budget()
            if budget <= 0:
                machine.end(Outcome("limit"))
                return
            if machine.accounts(self.index):
                self.engine.limit_slice(ACCOUNT_SECONDS)
            self.in_guest = True
            code = self.engine.run(budget)
            self.in_guest = False
            machine.account(self.index)
            self._act(code)

    def _take_soft(self) -> None:
        if self._soft:
            with self._soft_lock:
                bits, self._soft = self._soft, 0
            self.vcpu.set("mip_soft", self.vcpu.get("mip_soft") | bits)

    def _budget(self) -> int:
        """How far to run: to the caller's limit or, in deterministic time, the next timer."""
        clock = self._machine.clock
        left = self._end - self.vcpu.icount
        if isinstance(clock, InstructionClock):
            while (due := clock.budget()) == 0:
                with self._machine.space.lock:
                    clock.fire()
            if due is not None:
                return min(left, due)
        return left

    def _act(self, code: Exit) -> None:
        machine = self._machine
        match code:
            case Exit.LIMIT | Exit.REQUEST:
                pass
            case Exit.IDLE:
                self._idle()
            case Exit.HYPERCALL:
                machine.hypercall(self.index)
            case Exit.STUCK:
                where = f"CPU {self.index}: its trap handler at {self.vcpu.pc:#x} cannot run"
                machine.end(Outcome("crash", detail=where))
            case Exit.TRAP:
                machine.trapped(self.index)
            case Exit.BREAKPOINT:
                machine.end(Outcome("breakpoint"))
            case _:
                assert_never(code)

    def _idle(self) -> None:
        """Sleep until something has happened since `listen`, or the hart's own timer is due. Waking
        for nothing is allowed: wfi is a hint."""
        clock = self._machine.clock
        if isinstance(clock, InstructionClock):
            with self._machine.space.lock:
                if clock.sleep():
                    return
            self._machine.on_asleep()
        self.vcpu.sleep(self._machine.patience(self.index))
