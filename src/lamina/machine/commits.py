"""The commit log: every retired instruction with its effects, as Spike's --log-commits writes it.

    core   0: 3 0x0000000080000044 (0xfc3f2223) mem 0x0000000080001000 0x00000001
         hart | pc                 bits         x5, f2, c768_mstatus and their values; memory
              privilege

It works with every engine: before an instruction runs, its IR is evaluated against an onlooker
that notes what it would write and where; then the engine steps, and the values are read back from
the vCPU. So an instruction that traps leaves no line, and registers are always the engine's own.
Machine wraps its engines in a LoggedEngine if `MachineConfig.log_commits` names a file. One step at
a time for all vCPUs: their lines come in the order of execution.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

from lamina.base.bits import PAGE_SIZE, U64, mask
from lamina.base.errors import HostError
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.contract import Engine
from lamina.engine.reference.host import COMBINE
from lamina.engine.vcpu import VCpu
from lamina.ir.evaluate import Evaluator, Host, Leave
from lamina.ir.graph import Routine
from lamina.isa.arch import FETCH, READ
from lamina.isa.insn import Form, Insn, operand_values
from lamina.isa.riscv.csr_access import csr_names, csr_read
from lamina.isa.riscv.fields import MACHINE
from lamina.machine.inspect import Onlooker

PLANS_LIMIT = 1 << 16  # instruction words that are kept
FORGETS = {"tlb.flush", "tlb.flush_page", "tlb.flush_space", "tlb.flush_space_page"}
FORGETS |= {"tlb.space", "tlb.context", "icache.flush"}
MSTATUS, FFLAGS = 0x300, 0x001
# Written through another register, Spike logs the ones that hold the bits.
HELD_BY = {0x003: (0x001, 0x002), 0x100: (0x300,), 0x104: (0x104, 0x304), 0x144: (0x344,)}
RETURNS = ("mret", "sret")
FILES = {"x": 0, "f": 1}  # the log's order of registers of one number; CSRs come after them
CSR = 2


class Plan(NamedTuple):
    """What is known of an instruction word before it runs."""

    evaluator: Evaluator
    operands: dict[str, int]
    length: int
    csrs: tuple[int, ...]  # that it writes by number
    forgets: bool  # translations may change


class Effects:
    """What one instruction will do."""

    def __init__(self) -> None:
        self.registers: set[tuple[int, int, str]] = set()  # number, rank of the file, file
        self.loads: list[int] = []  # virtual addresses, as Spike logs them
        self.stores: list[tuple[int, int, int]] = []  # virtual address, value, bytes


class CommitLog:
    """The file, and the lock that keeps vCPUs one after another."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()  # guards the file; held over each step
        self._path = path
        try:
            self._out = path.open("w", encoding="ascii")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> HostError:
        return HostError(f"{self._path}: cannot be written: {error.strerror}")

    def write(self, line: str) -> None:
        try:
            self._out.write(line)
        except OSError as error:
            raise self._unwritable(error) from error

    def flush(self) -> None:
        with self.lock:
            try:
                self._out.flush()
            except OSError as error:
                raise self._unwritable(error) from error

    def close(self) -> None:
        """What could not be written was told by `flush`."""
        with self.lock, suppress(OSError):
            self._out.close()


class LoggedEngine:
    """An engine that steps, and writes a line for each instruction that retires."""

    def __init__(self, engine: Engine, space: AddressSpace, log: CommitLog) -> None:
        self.name = engine.name
        self.keeps_time = False
        self.vcpu = engine.vcpu
        self.set_time = engine.set_time
        self.close = engine.close
        self.observe = engine.observe
        self.statistics = engine.statistics
        self._engine = engine
        self._space = space
        self._log = log
        self._watched = False
        self._arch = engine.vcpu.arch
        self._plans: dict[int, Plan] = {}
        self._evaluators: dict[Insn, Evaluator] = {}
        self._pages: dict[int, int] = {}  # of code: GVA to GPA, until a translation may change
        self._csr = {number: name for name, number in csr_names().items()}
        self._read_csr = Evaluator(csr_read())
        self._translate = Evaluator(self._arch.routines["translate"])
        self._engine.watch_traps(True)

    def watch_traps(self, on: bool) -> None:
        """Traps always end a step here; they go on to the runner if it wants them."""
        self._watched = on

    def set_peers(self, vcpus: list[VCpu]) -> None:
        """Calls for other harts leave the engine."""

    def limit_slice(self, seconds: float) -> None:
        """The machine hears of each setting of the timer."""

    def state_changed(self) -> None:
        self._pages.clear()
        self._engine.state_changed()

    def run(self, budget: int) -> Exit:
        end = self.vcpu.icount + budget
        while self.vcpu.icount < end:
            code = self.step()
            if code is not Exit.LIMIT and (code is not Exit.TRAP or self._watched):
                return code
        return Exit.LIMIT

    def step(self) -> Exit:
        with self._log.lock:
            return self._step()

    def _step(self) -> Exit:
        vcpu = self.vcpu
        if vcpu.get("requests"):
            self._pages.clear()
        pc, icount, priv = vcpu.pc, vcpu.icount, vcpu.get("priv")
        found = self._fetch(pc)
        plan = None if found is None else self._plan(found)
        effects = Effects() if plan is None else self._foresee(plan)
        code = self._engine.step()
        if vcpu.icount == icount or plan is None or found is None:
            self._pages.clear()
            return code
        if plan.forgets:
            self._pages.clear()
        digits = 2 + 2 * plan.length
        head = f"core{vcpu.index:4}: {priv} {pc:#018x} ({found:#0{digits}x})"
        self._log.write(f"{head}{self._text(effects)}\n")
        return code

    # -- before the step -------------------------------------------------------------------------
    def _fetch(self, pc: int) -> int | None:
        """The bits of the instruction that is next; None if fetching it faults."""
        low = self._half(pc)
        if low is None or self._arch.insn_length(low) == 2:
            return low
        high = self._half(pc + 2 & U64)
        return None if high is None else high << 16 | low

    def _half(self, gva: int) -> int | None:
        offset = gva % PAGE_SIZE
        gpa = self._pages.get(gva - offset)
        if gpa is None:
            onlooker = cast(Host, Onlooker(self.vcpu, self._space))
            try:
                gpa = self._translate(onlooker, gva, FETCH, 2)[0] - offset
            except Leave:
                return None
            self._pages[gva - offset] = gpa
        if self._space.find_ram(gpa + offset, 2) is None:
            return None
        return self._space.read_u16(gpa + offset)

    def _plan(self, bits: int) -> Plan | None:
        plan = self._plans.get(bits)
        if plan is None:
            length = self._arch.insn_length(bits & 0xFFFF)
            form = self._arch.table.decode(bits, length)
            if form is None:
                return None
            if len(self._plans) >= PLANS_LIMIT:
                self._plans.clear()
            plan = self._plans[bits] = self._make_plan(form, bits, length)
        return plan

    def _make_plan(self, form: Form, bits: int, length: int) -> Plan:
        base = form.base
        operands = {n: v & U64 for n, v in operand_values(form, bits).items()}
        evaluator = self._evaluators.get(base)
        if evaluator is None:
            evaluator = self._evaluators[base] = Evaluator(base.routine)
        csrs: tuple[int, ...] = (MSTATUS,) if base.name in RETURNS else ()
        if "csr" in operands and ("rs1" in operands or "uimm" in operands):
            csrs = HELD_BY.get(operands["csr"], (operands["csr"],))
        return Plan(
            evaluator,
            {**operands, "insn": bits},
            length,
            csrs,
            bool(_names(base.routine) & FORGETS),
        )

    def _foresee(self, plan: Plan) -> Effects:
        effects = Effects()
        rehearsal = Rehearsal(self.vcpu, self._space, plan, effects, self._translate)
        with suppress(Leave):
            plan.evaluator(cast(Host, rehearsal))
        effects.registers |= {(number, CSR, "c") for number in plan.csrs}
        return effects

    # -- after it --------------------------------------------------------------------------------
    def _text(self, effects: Effects) -> str:
        parts = []
        for number, _, kind in sorted(effects.registers):
            if kind == "c":
                name = f"c{number}_{self._csr.get(number, 'unknown')}"
                parts.append(f" {name} {self._csr_value(number):#018x}")
            else:
                parts.append(f" {kind}{number:<2} {self.vcpu.reg(kind, number):#018x}")
        parts += [f" mem {gva:#018x}" for gva in effects.loads]
        parts += [
            f" mem {gva:#018x} {value:#0{2 + 2 * size}x}" for gva, value, size in effects.stores
        ]
        return "".join(parts)

    def _csr_value(self, number: int) -> int:
        try:
            return self._read_csr(cast(Host, _Privileged(self.vcpu, self._space)), number, 0)[0]
        except Leave:
            return 0


class Rehearsal(Onlooker):
    """A Host on which an instruction runs without effect; what it would do is noted."""

    def __init__(
        self,
        vcpu: VCpu,
        space: AddressSpace,
        plan: Plan,
        effects: Effects,
        translate: Evaluator,
    ) -> None:
        super().__init__(vcpu, space)
        self._plan = plan
        self._effects = effects
        self._translate = translate

    def operand(self, operand: str) -> int:
        return self._plan.operands[operand]

    def pc(self) -> int:
        return self._vcpu.pc

    def insn_length(self) -> int:
        return self._plan.length

    def icount(self) -> int:
        return self._vcpu.icount

    def time(self) -> int:
        return 0

    def get(self, slot: str) -> int:
        # Flags that an instruction raises shall be seen though they may be raised already.
        return 0 if slot == "fflags" else super().get(slot)

    def set(self, slot: str, value: int) -> None:
        """Beside those that the plan names: flags raised, floating-point state made dirty."""
        if slot == "fflags" and value:
            self._effects.registers.add((FFLAGS, CSR, "c"))
        if slot == "mstatus" and value != super().get(slot):
            self._effects.registers.add((MSTATUS, CSR, "c"))

    def reg_set(self, file: str, index: int, value: int) -> None:
        if file == "f" or (file == "x" and index):
            self._effects.registers.add((index, FILES[file], file))

    def load(self, gva: int, size: int) -> int:
        self._effects.loads.append(gva)
        return 0

    def store(self, gva: int, value: int, size: int) -> None:
        self._effects.stores.append((gva, value & mask(8 * size), size))

    def _now(self, gva: int, size: int) -> int:
        gpa = self._translate(cast(Host, self), gva, READ, size)[0]
        if self._space.find_ram(gpa, size) is None:
            raise Leave
        return int.from_bytes(self._space.read(gpa, size), "little")

    def rmw(self, gva: int, value: int, size: int, kind: str) -> int:
        old = self._now(gva, size)
        self.load(gva, size)
        self.store(gva, COMBINE[kind](8 * size, old, value), size)
        return old

    def cas(self, gva: int, expected: int, new: int, size: int) -> int:
        old = self._now(gva, size)
        if old == expected:
            self.store(gva, new, size)
        return old

    def touch(self, gva: int, access: str) -> None: ...
    def fence(self) -> None: ...
    def relax(self) -> None: ...
    def jump(self, target: int) -> None: ...
    def exit(self, reason: int) -> None: ...
    def tlb_flush(self) -> None: ...
    def tlb_flush_page(self, gva: int) -> None: ...
    def tlb_flush_space(self, space: int) -> None: ...
    def tlb_flush_space_page(self, space: int, gva: int) -> None: ...
    def tlb_space(self) -> None: ...
    def tlb_context(self) -> None: ...
    def icache_flush(self) -> None: ...
    def fence_remote(self, *arguments: int) -> int:
        return 0

    def post_remote(self, mask: int, base: int, bits: int) -> int:
        return 0

    def pending(self) -> None: ...
    def notify(self, value: int, event: str) -> None: ...
    def leave(self) -> None:
        raise Leave


class _Privileged(Onlooker):
    """Reads CSRs whatever mode the instruction has left the vCPU in."""

    def get(self, slot: str) -> int:
        return MACHINE if slot == "priv" else super().get(slot)

    def icount(self) -> int:
        return self._vcpu.icount

    def time(self) -> int:
        return 0


def _names(routine: Routine) -> set[str]:
    """Operations of a routine and of those that it calls."""
    names = {op.name for op in routine.body.walk()}
    return names.union(*(_names(callee) for callee in routine.callees()))
