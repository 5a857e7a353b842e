"""How many passes of a loop are sure to be followed by another."""

import pytest
from regions import region

from lamina.base.bits import U64
from lamina.engine.jit.counted import MAX_STEP, Count
from lamina.engine.jit.shape import parts_of
from lamina.engine.jit.strides import cycles_of

A0, A1, A2 = 10, 11, 12


def count(body: str, branch: str) -> Count | None:
    found = region(f"1: {body}\n {branch}, 1b\n ret")
    (cycle,) = dict.fromkeys(cycles_of(found, parts_of(found)).values())
    return cycle.count


def passes(found: Count | None, registers: dict[int, int]) -> int:
    assert found is not None
    margin = found.margin.constant
    for (file, index), times in found.margin.terms:
        assert file == "x"
        margin += registers.get(index, 0) * times
    return (margin & U64) // found.step


WALK = "lw a3, 0(a0)\n addi a0, a0, 4"
BACK = "lw a3, 0(a0)\n addi a0, a0, -4"


@pytest.mark.parametrize(
    ("body", "branch", "a0", "a2", "more"),
    [
        # At the head of a pass; `more`: as many passes end with a branch that is taken.
        (WALK, "bne a0, a2", 0, 40, 9),
        (WALK, "bne a2, a0", 0, 40, 9),
        (WALK, "bne a0, a2", 0, 38, 9),  # which it never meets: then it is not the last time
        (BACK, "bne a0, a2", 40, 0, 9),
        (WALK, "bne a0, a2", U64 - 3, 36, 9),  # past zero
        (WALK, "bltu a0, a2", 0, 40, 9),
        (WALK, "bltu a0, a2", 0, 41, 10),
        (WALK, "bgtu a2, a0", 0, 41, 10),
        (WALK, "blt a0, a2", -20 & U64, 20, 9),
        (WALK, "bge a2, a0", -20 & U64, 20, 10),
        (WALK, "bgeu a2, a0", 0, 40, 10),
        (BACK, "bgeu a0, a2", 40, 0, 10),
        (BACK, "bltu a2, a0", 40, 0, 9),
        (WALK + "\n addi a2, a2, -4", "bltu a0, a2", 0, 80, 9),
        (WALK + "\n addi a2, a2, 3", "bne a0, a2", 0, 10, 9),
        (WALK + "\n addi a2, a2, -1", "bnez a2", 0, 10, 9),
        (WALK + "\n addi a2, a2, -1", "bgtz a2", 0, 10, 9),
        (WALK + "\n addi a2, a2, -1", "bgez a2", 0, 10, 10),
    ],
)
def test_passes_to_come(body: str, branch: str, a0: int, a2: int, more: int) -> None:
    assert passes(count(body, branch), {A0: a0, A2: a2}) == more


@pytest.mark.parametrize(
    ("body", "branch"),
    [
        (WALK, "beq a0, a2"),
        (WALK, "bltu a2, a0"),  # away from each other, until one wraps around
        (WALK, "bgeu a0, a2"),
        (WALK + "\n addi a2, a2, 2", "bltu a0, a2"),  # both up: the other may wrap around first
        (BACK + "\n addi a2, a2, -8", "bltu a0, a2"),
        (WALK + "\n addi a2, a2, 4", "bne a0, a2"),  # no nearer
        (WALK, "bnez a3"),  # by what was loaded
        (WALK + "\n addiw a2, a2, -1", "bnez a2"),  # of 32 bits
        (WALK + f"\n li a4, {MAX_STEP + 1}\n sub a2, a2, a4", "bnez a2"),
        (WALK + "\n lw a4, 0(a3)", "bne a0, a2"),  # an access without a stride
        (WALK + "\n csrr a4, sscratch", "bne a0, a2"),
        (WALK + "\n fadd.d fa0, fa0, fa1", "bne a0, a2"),
        (WALK + "\n beqz a3, 2f\n addi a1, a1, 1\n2: nop", "bne a0, a2"),
    ],
)
def test_what_is_not_counted(body: str, branch: str) -> None:
    found = region(f"1: {body}\n {branch}, 1b\n ret")
    assert not [c for c in cycles_of(found, parts_of(found)).values() if c.count is not None]
