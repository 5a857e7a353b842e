"""Whole machines in lockstep: the same program on two engines, compared word for word.

`engine.lockstep` compares engines; here each is the first vCPU of a deterministic machine of its
own, so that programs may use devices, timers and SBI calls. Called by `cli/cmd_lockstep.py`.
"""

from dataclasses import dataclass, replace

from lamina.base.exits import Exit
from lamina.engine.lockstep import Difference, Disassemble, Side, compare_runs
from lamina.isa.disasm import Disassembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect
from lamina.machine import Machine, MachineConfig, Outcome


class MachineEngine:
    """A machine run as an engine: timers and hypercalls are dealt with in between."""

    def __init__(self, machine: Machine, ends: list[tuple[int, str]]) -> None:
        """When it is closed, how far it has come and how it ended are added to `ends`."""
        inner = machine.runners[0].engine
        self.name = machine.config.engine
        self.arch = inner.vcpu.arch
        self.vcpu = inner.vcpu
        self.outcome: Outcome | None = None  # what the guest ended by
        self._inner = inner
        self._machine = machine
        self._ends = ends
        machine.on_asleep = lambda: machine.end(Outcome("sleep"))

    @property
    def last_insn(self) -> int:
        """Bits of the last instruction, of an engine that knows them."""
        return int(getattr(self._inner, "last_insn", 0))

    def run(self, budget: int) -> Exit:
        """So many instructions; STUCK when the guest has ended its machine, or sleeps for ever."""
        if self.outcome is None:
            outcome = self._machine.run(budget)
            if outcome.reason == "limit":
                return Exit.LIMIT
            self.outcome = outcome
        return Exit.STUCK

    def step(self) -> Exit:
        """One instruction, with the traps before it."""
        return self.run(1)

    def close(self) -> None:
        """Give all host resources back."""
        self._ends.append((self.vcpu.icount, self.outcome.reason if self.outcome else "limit"))
        self._machine.close()


class MachineSide(Side):
    """A machine as a side of the comparison; closing it closes all of the machine."""

    def close(self) -> None:
        self.engine.close()


@dataclass(frozen=True)
class Report:
    """What a comparison has found."""

    difference: Difference | None
    instructions: int
    ended: str  # how: the guest's own end, or "limit"


def compare_machines(config: MachineConfig, engines: tuple[str, str], instructions: int) -> Report:
    """Run a machine's program on both engines, for so many instructions or to its end."""
    ends: list[tuple[int, str]] = []

    def side(engine: str) -> Side:
        machine = Machine(replace(config, engine=engine, deterministic=True))
        return MachineSide(MachineEngine(machine, ends), machine.space)

    found = compare_runs(
        lambda: side(engines[0]),
        lambda: side(engines[1]),
        instructions,
        disassemble=disassembler(),
    )
    instructions, ended = ends[0]
    return Report(found, instructions, ended)


def disassembler() -> Disassemble:
    """What a history is written with."""
    disassembler = Disassembler(RISCV64.table, dialect())

    def text(pc: int, bits: int) -> str:
        return disassembler.text(bits, RISCV64.insn_length(bits & 0xFFFF), pc)

    return text
