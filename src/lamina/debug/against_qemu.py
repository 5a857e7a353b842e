"""A bare program on the threaded engine and on QEMU, instruction by instruction.

Both begin at the program's entry with the same memory and x registers: our boot ROM has run,
QEMU's is skipped. pc and x are compared after every step; f registers and CSRs when ours have
changed, and all of them every few steps; memory now and then. Called by `cli/cmd_lockstep.py`.
Timers do not fire on either side while single-stepping.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from lamina.base.bits import U64
from lamina.base.errors import ConfigError
from lamina.base.exits import Exit
from lamina.debug.gdb_client import PC
from lamina.debug.lockstep import Report, disassembler
from lamina.debug.qemu import PROGRAM, Qemu
from lamina.engine.lockstep import HISTORY, MEMORY_EVERY, Difference
from lamina.isa.riscv import fields
from lamina.machine import Machine, MachineConfig, Outcome
from lamina.machine.boards.virt import MROM, MROM_SIZE
from lamina.machine.inspect import fetch

NAMES = ("threaded", "qemu")
EVERYTHING = HISTORY  # steps between full comparisons: what they find is in the history
ROM_STEPS = 64  # far more than the boot ROM has
WFI, JUMPS_HERE = 0x1050_0073, (0x0000_006F, 0xA001)
INTERRUPT = 1 << 63
# CSRs by QEMU's name, and the bits of them that our state keeps.
CSRS = {
    "mstatus": fields.MSTATUS_WRITABLE,
    **dict.fromkeys(("mepc", "mcause", "mtval", "fflags", "frm"), U64),
}
What = list[tuple[str, int, int]]


class SteppedMachine(Machine):
    """A machine that remembers how its guest has ended it, between single steps."""

    outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
        super().end(outcome)


@dataclass(frozen=True)
class _Step:
    number: int
    pc: int
    bits: int


def compare_with_qemu(
    config: MachineConfig,
    instructions: int,
    program: str = PROGRAM,
    tohost: int | None = None,
    before: Callable[[Machine, Qemu], None] = lambda machine, qemu: None,
) -> Report:
    """Step both to the first difference, the program's end, or so many steps.

    `tohost`: the address of the word by which the program says that it ends. `before` is called
    with both sides at the program's entry."""
    if config.firmware != "bare" or config.kernel is None or config.bios_image is not None:
        raise ConfigError("comparison with QEMU is for bare programs: --firmware bare")
    config = replace(config, engine=NAMES[0], deterministic=True, svade=False)
    with SteppedMachine(config) as machine:
        for _ in range(ROM_STEPS):
            if not MROM <= machine.pc < MROM + MROM_SIZE:
                break
            machine.step()
        with Qemu(program, machine.board.ram) as qemu:
            qemu.set_registers(_x_and_pc(machine))
            before(machine, qemu)
            return _Comparison(machine, qemu, tohost).run(instructions)


def _x_and_pc(machine: Machine) -> list[int]:
    vcpu = machine.cpus[0]
    return [*(vcpu.reg("x", i) for i in range(32)), vcpu.pc]


class _Comparison:
    """Two sides under way."""

    def __init__(self, machine: SteppedMachine, qemu: Qemu, tohost: int | None) -> None:
        self._machine = machine
        self._vcpu = machine.cpus[0]
        self._qemu = qemu
        known = tohost is not None and machine.space.find_ram(tohost, 8) is not None
        self._tohost = tohost if known else None
        self._history: deque[_Step] = deque(maxlen=HISTORY)
        self._csrs = {name: mask for name, mask in CSRS.items() if name in qemu.csrs}
        self._seen = self._rest()
        self._since_all = -1  # compares all of it at first
        self._bits = 0

    def run(self, instructions: int) -> Report:
        done, ended = 0, self._at_end()
        what = self._compare()
        while not what and not ended and done < instructions:
            self._note(done)
            done += 1
            code = self._step()
            if self._machine.outcome is not None:
                ended = self._machine.outcome.reason
                break  # this step would take QEMU away: what it has come to is compared below
            if code is Exit.STUCK:
                ended = "crash"
                break
            if not self._qemu.step():
                return self._report([("off", 0, 1)], done, "end")
            what = self._compare()
            if done % MEMORY_EVERY == 0:
                what += self._compare_memory()
            ended = self._at_end()
        if not what:
            what = self._compare_rest(set(self._rest())) + self._compare_memory()
        return self._report(what, done, ended or "limit")

    def _step(self) -> Exit:
        """Our engine's step; one that came out for a request alone is taken again."""
        engine = self._machine.runners[0].engine
        before = self._vcpu.icount, self._vcpu.pc
        code = engine.step()
        while code is Exit.REQUEST and (self._vcpu.icount, self._vcpu.pc) == before:
            code = engine.step()
        return code

    def _report(self, what: What, done: int, ended: str) -> Report:
        if not what:
            return Report(None, done, ended)
        lines = self._lines()
        if what[0][0].startswith("["):
            lines.append(f"(memory is compared every {MEMORY_EVERY} steps and at the end)")
        elif what[0][0] in self._seen:
            lines.append(f"(of the last {EVERYTHING} steps: any may have changed QEMU's)")
        return Report(Difference(NAMES, done, what, lines), done, ended)

    # -- the end of the program ------------------------------------------------------------------
    def _at_end(self) -> str:
        """Why the program goes no further from here, or nothing."""
        found = fetch(self._vcpu, self._machine.space, self._vcpu.pc)
        self._bits = found[0] if found else 0
        if self._bits == WFI:
            return "wfi"
        if self._bits in JUMPS_HERE and self._history and self._history[-1].pc == self._vcpu.pc:
            return "endless loop"
        if self._tohost is not None and self._machine.space.read_u64(self._tohost):
            return "tohost"
        return ""

    # -- comparison ------------------------------------------------------------------------------
    def _compare(self) -> What:
        """pc and x; of the rest what has changed on our side, or all of it now and then."""
        ours, theirs = _x_and_pc(self._machine), self._qemu.registers()
        if ours != theirs and self._interrupted(theirs[PC]):
            self._qemu.step()
            theirs = self._qemu.registers()
        names = ["pc", *(f"x{i}" for i in range(32))]
        pairs = zip(names, (ours[PC], *ours[:PC]), (theirs[PC], *theirs[:PC]), strict=True)
        what = [(name, a, b) for name, a, b in pairs if a != b]
        rest = self._rest()
        changed = {name for name in rest if rest[name] != self._seen[name]}
        self._seen = rest
        self._since_all = (self._since_all + 1) % EVERYTHING
        return what + self._compare_rest(set(rest) if what or not self._since_all else changed)

    def _interrupted(self, pc: int) -> bool:
        """Whether our step has taken an interrupt: before its instruction, which QEMU does in the
        next step, or after it, where QEMU's `pc` is now."""
        where = (pc, self._history[-1].pc) if self._history else (pc,)
        pairs = (("mcause", "mepc"), ("scause", "sepc"))
        get = self._vcpu.get
        return any(get(cause) & INTERRUPT and get(epc) in where for cause, epc in pairs)

    def _rest(self) -> dict[str, int]:
        """Our f registers and CSRs."""
        values = {f"f{i}": self._vcpu.reg("f", i) for i in range(32)}
        return values | {name: self._vcpu.get(name) & mask for name, mask in self._csrs.items()}

    def _compare_rest(self, names: set[str]) -> What:
        what = []
        for name, ours in self._rest().items():
            if name in names:
                if name in self._csrs:
                    theirs = self._qemu.csr(name) & self._csrs[name]
                else:
                    theirs = self._qemu.f(int(name[1:]))
                if ours != theirs:
                    what.append((name, ours, theirs))
        return what

    def _compare_memory(self) -> What:
        found = self._qemu.memory_difference(self._machine.board.ram)
        return [] if found is None else [(f"[{found[0]:#x}]", found[1], found[2])]

    # -- the history -----------------------------------------------------------------------------
    def _note(self, number: int) -> None:
        self._history.append(_Step(number, self._vcpu.pc, self._bits))

    def _lines(self) -> list[str]:
        text = disassembler()
        return [
            f"{step.number:8} {step.pc:#018x}  {step.bits:08x}  {text(step.pc, step.bits)}"
            for step in self._history
        ]
