"""Tracing: what a machine's devices, interrupts and vCPUs do, one line an event.

`MachineConfig.trace` names the kinds; Machine makes a Tracer only if there are any, and hands out
the traced doubles of engines and address space then, so that a machine without a trace pays
nothing. The file that lines go to is owned here. `docs/tracing.md` shows examples.

A line: instructions retired by the vCPU, guest time in seconds, vCPU, kind, event.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol, TextIO

from lamina.base.errors import ConfigError, HostError
from lamina.base.exits import Exit
from lamina.bus.irq import IrqLine
from lamina.bus.space import AddressSpace
from lamina.engine.contract import Engine
from lamina.engine.vcpu import VCpu
from lamina.machine.boards.board import Board
from lamina.machine.clock import NS_PER_TICK, InstructionClock, RealClock
from lamina.machine.config import MachineConfig
from lamina.machine.sbi.abi import Error
from lamina.machine.trace_names import (
    INTERRUPT_BIT,
    MODES,
    PINS,
    cause_name,
    register_name,
    sbi_name,
)

KINDS = ("trap", "irq", "sbi", "mmio", "exit")
FLUSH_SECONDS = 0.5  # a line waits no longer than this for the next one to take it along
A0, A6, A7 = 10, 16, 17
MACHINE, MPP_SHIFT, SPP_SHIFT = 3, 11, 8


class TracedMachine(Protocol):
    """The machine, as far as its tracer knows it."""

    config: MachineConfig
    board: Board
    space: AddressSpace
    clock: RealClock | InstructionClock

    @property
    def cpus(self) -> list[VCpu]:
        """The vCPUs."""

    def runnable(self, index: int) -> bool:
        """Whether a vCPU has work at all."""

    def fail(self, error: BaseException) -> None:
        """End the run with this error."""


class Tracer:
    """Writes the events of one machine that were asked for."""

    def __init__(self, machine: TracedMachine) -> None:
        config = machine.config
        self._machine = machine
        self._kinds, self._devices = parse_kinds(config.trace, machine.board.devices)
        self._lock = threading.Lock()  # guards _out and _flush_at
        self._flush_at = 0.0
        self._close = config.trace_file is not None
        try:
            self._out: TextIO = (
                sys.stderr
                if config.trace_file is None
                else config.trace_file.open("w", encoding="utf-8")
            )
        except OSError as error:
            raise HostError(f"{config.trace_file}: cannot be written: {error.strerror}") from error
        self._newline = "\r\n" if self._out.isatty() else "\n"  # a raw terminal needs both
        if "irq" in self._kinds:
            self._watch_sources()

    def __contains__(self, kind: str) -> bool:
        return kind in self._kinds

    # -- what Machine builds with ----------------------------------------------------------------
    def space(self, cpu: int) -> AddressSpace:
        """The address space as this vCPU's engine shall see it."""
        space = self._machine.space
        return TracedSpace(space, self, cpu) if "mmio" in self._kinds else space

    def engine(self, engine: Engine, cpu: int) -> Engine:
        """The engine as this vCPU's runner shall see it."""
        wanted = not self._kinds.isdisjoint({"trap", "exit", "sbi"})
        return TracedEngine(engine, self, cpu) if wanted else engine

    def watch_pin(self, line: IrqLine, hart: int, bit: int) -> None:
        """Trace an interrupt pin of a hart."""
        if "irq" in self._kinds:
            line.watch(partial(self._edge, hart, f"hart {hart} {PINS.get(bit, bit)}"))

    def _watch_sources(self) -> None:
        board = self._machine.board
        controller = board.devices["plic"]
        for device, number in board.irq.items():
            line: IrqLine = controller.source(number)  # type: ignore[attr-defined]
            line.watch(partial(self._edge, 0, f"{device} (source {number})"))

    # -- events ----------------------------------------------------------------------------------
    def mmio(self, cpu: int, gpa: int, size: int, value: int | None, write: bool) -> None:
        """A device access; `value` is None if it was a bus fault."""
        device, offset = self._locate(gpa)
        if self._devices and device not in self._devices:
            return
        verb = "write" if write else "read "
        if device is None:
            self._emit(cpu, "mmio", f"{gpa:#x} {verb} {size}: nothing answers there")
            return
        place = f"{device:8} {verb} {register_name(device, offset, write)}"
        if value is None:
            self._emit(cpu, "mmio", f"{place}, {size} bytes at {gpa:#x}: bus fault")
            return
        text = f"{place} {'<-' if write else '->'} {value:#0{2 + 2 * size}x}"
        if device.startswith("uart") and offset == 0 and 0x20 <= value < 0x7F:
            text += f" '{chr(value)}'"
        self._emit(cpu, "mmio", text)

    def trap(self, cpu: int) -> None:
        """A vCPU took a trap: its registers say which."""
        vcpu = self._machine.cpus[cpu]
        to = vcpu.get("priv")
        status, letter = vcpu.get("mstatus"), "m" if to == MACHINE else "s"
        before = status >> MPP_SHIFT & 3 if to == MACHINE else status >> SPP_SHIFT & 1
        cause, epc = vcpu.get(f"{letter}cause"), vcpu.get(f"{letter}epc")
        tval = "" if cause >> INTERRUPT_BIT else f" tval {vcpu.get(f'{letter}tval'):#x}"
        way = f"{MODES.get(before, '?')} {epc:#x} -> {MODES.get(to, '?')} {vcpu.pc:#x}"
        self._emit(cpu, "trap", f"{cause_name(cause)}{tval}, {way}")

    def exit(self, cpu: int, code: Exit) -> None:
        """An engine came out."""
        if "exit" in self._kinds:
            self._emit(cpu, "exit", f"{code.name} at pc {self._machine.cpus[cpu].pc:#x}")
        if code is Exit.TRAP and "trap" in self._kinds:
            self.trap(cpu)

    def sbi(self, cpu: int, call: Callable[[int], None]) -> None:
        """Do an SBI call, and trace it if that was asked for."""
        if "sbi" not in self._kinds:
            call(cpu)
            return
        vcpu = self._machine.cpus[cpu]
        extension, function = vcpu.reg("x", A7), vcpu.reg("x", A6)
        name, count = sbi_name(extension, function)
        given = ", ".join(hex(vcpu.reg("x", A0 + n)) for n in range(count))
        icount = vcpu.icount
        call(cpu)
        answer = self._answer(vcpu, extension) if self._machine.runnable(cpu) else "does not return"
        self._emit(cpu, "sbi", f"{name}({given}) -> {answer}", icount)

    def _answer(self, vcpu: VCpu, extension: int) -> str:
        error, value = vcpu.reg("x", A0), vcpu.reg("x", A0 + 1)
        signed = error - (1 << 64) if error >> 63 else error
        if extension <= 0xF:  # a legacy call answers in a0 only
            return str(signed)
        known = signed in set(Error)
        return f"{Error(signed).name if known else hex(error)}, {value:#x}"

    def _edge(self, cpu: int, name: str, level: bool) -> None:
        self._emit(cpu, "irq", f"{name} {'raised' if level else 'lowered'}")

    def _locate(self, gpa: int) -> tuple[str | None, int]:
        for base, device in self._machine.space.devices:
            if base <= gpa < base + device.size:
                return device.name, gpa - base
        return None, gpa

    # -- the file --------------------------------------------------------------------------------
    def _emit(self, cpu: int, kind: str, text: str, icount: int | None = None) -> None:
        machine = self._machine
        cpus = machine.cpus
        if icount is None:  # a line that changes while the board is built is not of any vCPU yet
            icount = cpus[cpu].icount if cpu < len(cpus) else 0
        seconds = machine.clock.ticks() * NS_PER_TICK / 1e9
        line = f"{icount:12} {seconds:12.7f} cpu{cpu} {kind:4} {text}{self._newline}"
        now = time.monotonic()
        with self._lock:
            if self._out.closed:
                return
            try:
                self._out.write(line)
                if now >= self._flush_at:
                    self._out.flush()
                    self._flush_at = now + FLUSH_SECONDS
            except OSError as error:
                self._machine.fail(self._unwritable(error))

    def flush(self) -> None:
        """Nothing stays behind; at the end of a run."""
        with self._lock:
            if not self._out.closed:
                try:
                    self._out.flush()
                except OSError as error:
                    raise self._unwritable(error) from error

    def close(self) -> None:
        """No more lines. What could not be written was told by `flush`."""
        with self._lock, suppress(OSError):
            if self._close:
                self._out.close()
            else:
                self._out.flush()

    @staticmethod
    def _unwritable(error: OSError) -> HostError:
        return HostError(f"the trace cannot be written: {error.strerror}")


class TracedSpace(AddressSpace):
    """The address space seen from one vCPU: the same regions, devices and lock; every device
    access is told to the tracer."""

    def __init__(self, space: AddressSpace, tracer: Tracer, cpu: int) -> None:
        self.__dict__.update(space.__dict__)
        self._tracer = tracer
        self._cpu = cpu

    def mmio_read(self, gpa: int, size: int) -> int | None:
        value = super().mmio_read(gpa, size)
        self._tracer.mmio(self._cpu, gpa, size, value, write=False)
        return value

    def mmio_write(self, gpa: int, size: int, value: int) -> bool:
        found = self._find_device(gpa, size) is not None
        self._tracer.mmio(self._cpu, gpa, size, value if found else None, write=True)
        return super().mmio_write(gpa, size, value)  # what it causes is traced behind it


class TracedEngine:
    """An engine whose exits, calls and traps are told to the tracer."""

    def __init__(self, engine: Engine, tracer: Tracer, cpu: int) -> None:
        self.name = engine.name
        self.keeps_time = False
        self.vcpu = engine.vcpu
        self.state_changed = engine.state_changed
        self.set_time = engine.set_time
        self.close = engine.close
        self.observe = engine.observe
        self.statistics = engine.statistics
        self._engine = engine
        self._tracer = tracer
        self._cpu = cpu
        self.watch_traps(False)

    def watch_traps(self, on: bool) -> None:
        self._engine.watch_traps(on or "trap" in self._tracer)

    def set_peers(self, vcpus: list[VCpu]) -> None:
        """Calls for other harts leave the engine, and are told."""

    def limit_slice(self, seconds: float) -> None:
        """The machine hears of each setting of the timer."""

    def run(self, budget: int) -> Exit:
        code = self._engine.run(budget)
        self._tracer.exit(self._cpu, code)
        return code

    def step(self) -> Exit:
        code = self._engine.step()
        self._tracer.exit(self._cpu, code)
        return code


def parse_kinds(trace: set[str], devices: Iterable[str]) -> tuple[set[str], set[str]]:
    """The kinds, and the devices that `mmio` is limited to (none: all); ConfigError."""
    kinds: set[str] = set()
    chosen: set[str] = set()
    known = list(devices)
    for item in sorted(trace):
        kind, colon, device = item.partition(":")
        if kind not in KINDS or (colon and kind != "mmio"):
            raise ConfigError(f"trace {item!r}: there are {', '.join(KINDS)} and mmio:DEVICE")
        if colon and device not in known:
            raise ConfigError(f"trace {item!r}: the devices are {', '.join(known)}")
        kinds.add(kind)
        chosen |= {device} if colon else set()
    return kinds, set() if "mmio" in trace else chosen
