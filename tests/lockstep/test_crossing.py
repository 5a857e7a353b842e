"""Instructions that begin in the last two bytes of a page, on the threaded engine."""

import pytest

from lamina.base.bits import PAGE_SIZE
from lamina.bus.space import AddressSpace
from lamina.engine.threaded import engine as threaded
from lamina.engine.threaded.engine import EXACT_MARGIN, ThreadedEngine
from lamina.engine.threaded.runtime import Runtime
from lamina.isa.riscv import RISCV64
from lamina.testing.random_layout import assembler

BASE = 0x8000_0000


INSTRUCTIONS = EXACT_MARGIN + 3000  # more than the engine does in single steps


def run_across(lines: str) -> ThreadedEngine:
    """Code that begins two bytes before the end of a page, after so many instructions."""
    space = AddressSpace()
    space.add_ram(BASE, 1 << 20, "ram")
    space.write(BASE + PAGE_SIZE - 2, assembler().program(lines, BASE + PAGE_SIZE - 2).code)
    engine = ThreadedEngine(RISCV64, 0, space)
    engine.vcpu.reset(pc=BASE + PAGE_SIZE - 2)
    engine.state_changed()
    engine.run(INSTRUCTIONS)
    return engine


def test_a_loop_over_the_end_of_a_page() -> None:
    engine = run_across("1: addi a0, a0, 3\n addi a1, a1, 1\n j 1b")
    assert engine.vcpu.reg("x", 10) == 3 * ((INSTRUCTIONS + 2) // 3)
    assert engine.vcpu.reg("x", 11) == (INSTRUCTIONS + 1) // 3
    engine.close()


def test_the_first_instruction_of_a_pack_lies_over_the_end_of_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threaded, "runtime", Runtime)  # which has but the core pack
    engine = run_across("1: sh1add a0, a1, a2\n addi a1, a1, 1\n j 1b")
    assert engine.vcpu.reg("x", 10) == 2 * ((INSTRUCTIONS + 2) // 3 - 1)
    assert engine.vcpu.reg("x", 11) == (INSTRUCTIONS + 1) // 3
    engine.close()
