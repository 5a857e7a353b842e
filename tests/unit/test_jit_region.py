"""What the optimising engine takes into a region, and what it leaves out."""

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.region import Lowerable, Region, form_region
from lamina.isa.asm import Assembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect

BASE = 0x8000_0000
LOWERABLE = Lowerable(RISCV64)


def region(source: str, start: str = "start") -> Region | None:
    program = Assembler(RISCV64.table, dialect()).program(source, BASE)
    page = program.code.ljust(PAGE_SIZE, b"\0")
    return form_region(RISCV64, LOWERABLE, page, program.symbols[start] - BASE)


def test_a_loop_is_taken_whole_and_known_as_one() -> None:
    found = region("start:\n addi a0, a0, -1\n bnez a0, start\n ecall\n")
    assert found is not None
    assert sorted(found.members) == [0, 4]
    assert found.loops


def test_straight_code_is_no_loop() -> None:
    found = region("start:\n addi a0, a0, 1\n addi a1, a1, 1\n ecall\n")
    assert found is not None
    assert sorted(found.members) == [0, 4]
    assert not found.loops


def test_both_sides_of_a_branch_and_what_follows_a_call_belong_to_it() -> None:
    found = region(
        "start:\n beqz a0, other\n jal ra, f\n j start\nother:\n j start\nf:\n jalr zero, 0(ra)\n"
    )
    assert found is not None
    assert sorted(found.members) == [0, 4, 8, 12, 16]
    assert found.returns == {8}
    assert found.leaders >= {0, 4, 8, 12, 16}


def test_what_changes_translation_is_left_to_the_threaded_engine() -> None:
    assert region("start:\n sfence.vma\n") is None
    assert region("start:\n fence.i\n") is None
    assert region("start:\n csrrw a0, satp, a1\n") is None
    assert region("start:\n ecall\n") is None


def test_data_and_the_end_of_the_page_are_no_instructions() -> None:
    assert region("start:\n .word 0\n") is None
    crossing = region(f"start:\n j last\n .zero {PAGE_SIZE - 6}\nlast:\n .half 0x0013\n")
    assert crossing is not None
    assert sorted(crossing.members) == [0]
