"""The reference engine: one instruction at a time, by evaluating its IR in Python.

Slow and obviously right: no blocks, no decoded pages, code is read from memory each time. The
order of events at a boundary is that of `engine.threaded.runtime_ir`: exits, requests, budget,
interrupts. The machine and `engine.lockstep` drive it like every other engine; all calls come from
the vCPU's host thread.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lamina.base.bits import U64
from lamina.base.errors import ConfigError
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.reference.host import ReferenceHost
from lamina.engine.statistics import EngineStatistics
from lamina.engine.threaded.sampler import Observer
from lamina.engine.vcpu import (
    ALWAYS_PENDING,
    REQUEST_ICACHE_FLUSH,
    REQUEST_STOP,
    REQUEST_TLB_FLUSH,
    VCpu,
)
from lamina.ir.evaluate import Evaluator, Leave
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn, operand_values

DECODED_LIMIT = 1 << 16  # decoded instruction words that are kept


@dataclass(frozen=True, slots=True)
class Decoded:
    """One instruction word made ready to run."""

    evaluator: Evaluator
    operands: dict[str, int]
    length: int


class ReferenceEngine:
    """Runs one vCPU in the RAM and devices of `space`."""

    name = "reference"
    keeps_time = False

    def __init__(
        self,
        arch: Arch,
        index: int,
        space: AddressSpace,
        on_notify: Callable[[str, int], None] = lambda event, value: None,
    ) -> None:
        self.arch = arch
        self.vcpu = VCpu(arch, index)
        self._host = ReferenceHost(arch, self.vcpu, space, on_notify)
        self._words = self.vcpu.words
        slots = arch.layout.index
        self._pc, self._icount, self._pending = slots["pc"], slots["icount"], slots["pending"]
        self._watch_traps = False
        self.last_insn = 0  # the bits of the last instruction that was fetched, for traces
        self._decoded: dict[int, Decoded] = {}
        self._evaluators: dict[Insn, Evaluator] = {}

    def set_time(self, offset: int, divisor: int, deterministic: bool) -> None:
        """Timebase ticks = base / divisor + offset; base is CLOCK_MONOTONIC in nanoseconds, or
        in deterministic mode the retired instructions."""
        host = self._host
        host.time_offset, host.time_divisor = offset, divisor
        host.time_deterministic = deterministic

    def set_peers(self, vcpus: list[VCpu]) -> None:
        """The machine fences and interrupts other vCPUs."""

    def limit_slice(self, seconds: float) -> None:
        """The machine hears of each setting of the timer."""

    def watch_traps(self, on: bool) -> None:
        """Whether each trap taken ends a run with Exit.TRAP."""
        self._watch_traps = on

    def observe(self, observer: Observer | None) -> None:
        """It takes no samples: there is nothing to learn from where its time goes."""
        if observer is not None:
            raise ConfigError("the reference engine takes no samples; threaded and jit do")

    def statistics(self) -> EngineStatistics:
        """The instructions; nothing else is counted."""
        return EngineStatistics(instructions=self.vcpu.icount)

    # -- running -------------------------------------------------------------------------------
    def state_changed(self) -> None:
        """Registers or memory were changed from outside: nothing derived from them is kept."""
        self._host.tlb_flush()
        self._host.tlb_context()
        self._words[self._pending] = ALWAYS_PENDING

    def run(self, budget: int) -> Exit:
        """Run until exactly `budget` instructions have retired, or something else ends it."""
        words = self._words
        if budget <= 0:
            return Exit.LIMIT
        words[self._pending] = ALWAYS_PENDING
        end = words[self._icount] + budget
        while True:
            left = end - words[self._icount]
            if left <= 0 or words[self._pending]:
                code = self._boundary(left)
                if code is not None:
                    return code
            self._execute()

    def step(self) -> Exit:
        """Run one instruction, or take one trap."""
        self._words[self._pending] = ALWAYS_PENDING
        code = self._boundary(1)
        if code is None:
            self._execute()
            code = self._boundary(0)
        return Exit.LIMIT if code is None else code

    def close(self) -> None:
        """Release host memory; the engine must not run any more."""
        del self._words, self._host
        self.vcpu.close()

    def _boundary(self, left: int) -> Exit | None:
        """Take what is pending, with `left` instructions to go; None to go on."""
        host, words = self._host, self._words
        words[self._pending] = 0
        code = self._ended(left)
        if code is None:
            before = words[self._pc]
            host.interrupt(host)
            if self._watch_traps and words[self._pc] != before:
                code = Exit.TRAP
        if code is not None:
            words[self._pending] = ALWAYS_PENDING
        return code

    def _ended(self, left: int) -> Exit | None:
        host = self._host
        if host.exit_code:
            code, host.exit_code = host.exit_code, 0
            return Exit(code)
        requests = self.vcpu.take_requests()
        if requests & REQUEST_TLB_FLUSH:
            host.tlb_flush()
        if requests & REQUEST_ICACHE_FLUSH:
            host.icache_flush()
        if requests & REQUEST_STOP:
            return Exit.REQUEST
        return Exit.LIMIT if left <= 0 else None

    def _execute(self) -> None:
        """Execute the instruction at slot `pc`: it retires, or a trap is taken."""
        host, words = self._host, self._words
        pc = words[self._pc]
        try:
            decoded = self._fetch(pc)
            host.operands, host.length, host.target = decoded.operands, decoded.length, None
            decoded.evaluator(host)
        except Leave:
            if self._watch_traps:
                host.exit(host.exit_code or Exit.TRAP)
            return
        words[self._pc] = (pc + decoded.length) & U64 if host.target is None else host.target
        words[self._icount] += 1

    def _fetch(self, pc: int) -> Decoded:
        """The instruction at an address; Leave after a fault."""
        host = self._host
        bits = host.fetch_half(pc)
        length = self.arch.insn_length(bits)
        if length == 4:
            bits |= host.fetch_half((pc + 2) & U64) << 16
        self.last_insn = bits
        return self._decoded.get(bits) or self._decode(bits, length)

    def _decode(self, bits: int, length: int) -> Decoded:
        form = self.arch.table.decode(bits, length)
        if form is None:
            self._host.trap(self.arch.illegal_cause, bits)
        base = form.base
        evaluator = self._evaluators.get(base)
        if evaluator is None:
            evaluator = self._evaluators[base] = Evaluator(base.routine)
        values = {name: value & U64 for name, value in operand_values(form, bits).items()}
        decoded = Decoded(evaluator, {**values, "insn": bits}, length)
        if len(self._decoded) >= DECODED_LIMIT:
            self._decoded.clear()
        self._decoded[bits] = decoded
        return decoded
