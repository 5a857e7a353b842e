"""What the tests of integer instructions share: run one form on a hart without an engine."""

from hypothesis import strategies as st

from lamina.isa.asm import Assembler
from lamina.isa.disasm import Disassembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect
from lamina.isa.riscv.hart import FILES, RV64
from lamina.testing.evalhost import EvalHost

BASE = 0x8000_0000
EDGES = [0, 1, 2, 63, 64, 0x7F, 0x80, 0xFF00, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
EDGES += [1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2]
u64 = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1))

ASSEMBLER = Assembler(RV64, dialect())
DISASSEMBLER = Disassembler(RV64, dialect())
PLAIN = Disassembler(RV64, dialect(), aliases=False)


def host(**registers: int) -> EvalHost:
    """A hart in M-mode at BASE with 4 KiB of memory; registers by ABI name."""
    h = EvalHost(FILES, base=BASE)
    for name, value in registers.items():
        numbers = dialect().registers["rd"]
        h.regs["x"][numbers.index(name)] = value
    return h


def x(h: EvalHost, name: str) -> int:
    return h.regs["x"][dialect().registers["rd"].index(name)]


def execute(h: EvalHost, line: str) -> bool:
    """Assemble one line at the hart's pc and execute it; False if it trapped."""
    code = ASSEMBLER.line(line, h.slots["pc"])
    return h.execute(RV64, int.from_bytes(code, "little"))


def result(line: str, **registers: int) -> int:
    """What a line leaves in a0."""
    h = host(**registers)
    assert execute(h, line), h.trapped
    return x(h, "a0")


def run_program(source: str, limit: int = 10_000, **registers: int) -> EvalHost:
    """Run from BASE until the label `end`."""
    program = ASSEMBLER.program(source, BASE)
    h = host(**registers)
    h.memory[: len(program.code)] = program.code
    for _ in range(limit):
        if h.slots["pc"] == program.symbols["end"]:
            return h
        assert h.step(RV64), f"{h.trapped} at {h.slots['pc']:#x}"
    raise AssertionError(f"not at the end after {limit} instructions")


INSN_LENGTH = RISCV64.insn_length
