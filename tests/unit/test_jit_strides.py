"""Which accesses of a loop have constant strides."""

import pytest
from regions import region

from lamina.engine.jit.shape import parts_of
from lamina.engine.jit.strides import MAX_INSTRUCTIONS, MAX_STEP, MAX_STRIDES, Cycle, cycles_of

A0, A1, A2 = ("x", 10), ("x", 11), ("x", 12)


def cycles(source: str) -> list[Cycle]:
    found = region(source)
    return list(dict.fromkeys(cycles_of(found, parts_of(found)).values()))


def only(body: str) -> Cycle:
    """The cycle of a loop that ends with a5."""
    (cycle,) = cycles(f"li a5, 9\n1: {body}\n addi a5, a5, -1\n bnez a5, 1b\n ret")
    return cycle


def strides(body: str) -> dict[tuple[tuple[tuple[str, int], int], ...], int]:
    return {stride.terms: stride.step for stride in only(body).strides}


def test_a_pointer_that_is_moved_on() -> None:
    cycle = only("ld a3, 8(a0)\n addi a0, a0, 16\n sd a3, -16(a0)\n sb a3, 0(a1)")
    first, second = cycle.strides
    assert (first.terms, first.step) == (((A0, 1),), 16)
    # From the pointer as it is at the head: the store is behind the step.
    assert (first.group.low, first.group.high) == (0, 16)
    assert first.group.reads and first.group.writes
    assert (second.terms, second.step) == (((A1, 1),), 0)
    assert (second.group.low, second.group.high) == (0, 1)
    assert not second.group.reads
    assert cycle.length == 6
    assert {distance for _, distance in cycle.accesses.values()} == {0, 8}


@pytest.mark.parametrize(
    ("body", "terms", "step"),
    [
        ("add a3, a0, a1\n ld a4, 0(a3)\n addi a1, a1, 8", ((A0, 1), (A1, 1)), 8),
        ("slli a3, a1, 3\n add a3, a3, a0\n ld a4, 0(a3)\n addi a1, a1, 2", None, 16),
        ("sh2add a3, a1, a0\n lw a4, 0(a3)\n addi a1, a1, -1", ((A0, 1), (A1, 4)), -4),
        ("sub a3, a0, a1\n lw a4, 0(a3)\n addi a1, a1, 8", None, -8),
        ("mv a3, a0\n lw a4, 0(a3)\n addi a0, a3, 4", ((A0, 1),), 4),
    ],
)
def test_sums_of_registers(body: str, terms: object, step: int) -> None:
    ((found, moved),) = strides(body).items()
    assert terms is None or found == terms
    assert moved == step


@pytest.mark.parametrize(
    "body",
    [
        "ld a0, 0(a0)",  # a list
        "ld a3, 0(a0)\n add a0, a0, a3",
        "ld a3, 0(a0)\n add a0, a0, a1\n addi a1, a1, 1",  # faster and faster
        f"li t0, {MAX_STEP + 8}\n ld a3, 0(a0)\n add a0, a0, t0",
        "mul a0, a1, a2\n ld a3, 0(a0)\n addi a1, a1, 1",
        "amoadd.d a3, a4, (a0)\n addi a0, a0, 8",
        "addi a0, a0, 1",  # no access
        "beqz a4, 2f\n addi a0, a0, 8\n2: ld a3, 0(a0)",  # on some passes only
    ],
)
def test_what_has_no_constant_stride(body: str) -> None:
    assert not cycles(f"li a5, 9\n1: {body}\n addi a5, a5, -1\n bnez a5, 1b\n ret")


def test_a_loop_may_be_left_in_its_middle() -> None:
    (cycle,) = cycles("1: lbu a1, 0(a0)\n beqz a1, 2f\n addi a0, a0, 1\n j 1b\n2: ret")
    assert cycle.parts == (0, 8)
    assert cycle.length == 4
    assert [stride.step for stride in cycle.strides] == [1]


def test_of_nested_loops_it_is_the_inner_one() -> None:
    inner = "1: ld a1, 0(a0)\n addi a0, a0, 8\n addi a2, a2, -1\n bnez a2, 1b"
    (cycle,) = cycles(f"2: li a2, 9\n{inner}\n addi a5, a5, -1\n bnez a5, 2b\n ret")
    assert cycle.head == 4


def test_calls_and_long_loops_are_no_cycles() -> None:
    step = "ld a3, 0(a0)\n addi a0, a0, 8\n"
    assert not cycles(f"1: {step} jal 2f\n addi a5, a5, -1\n bnez a5, 1b\n j 3f\n2: ret\n3: ret")
    long = "addi a4, a4, 1\n" * MAX_INSTRUCTIONS
    assert not cycles(f"1: {step} {long} addi a5, a5, -1\n bnez a5, 1b\n ret")


def test_only_some_strides_are_followed_those_with_most_accesses() -> None:
    accesses = "\n".join(f"ld t0, 0(x{r})\n ld t0, 8(x{r})" for r in range(20, 20 + MAX_STRIDES))
    cycle = only(f"lb t0, 0(a0)\n {accesses}")
    assert len(cycle.strides) == MAX_STRIDES
    assert ((A0, 1),) not in {stride.terms for stride in cycle.strides}


def test_what_is_too_far_away_is_checked_as_elsewhere() -> None:
    cycle = only("ld a1, 0(a0)\n ld a2, -2048(a0)\n ld a3, 2040(a0)")
    assert len(cycle.accesses) < 3
    (stride,) = cycle.strides
    assert stride.group.high - stride.group.low <= 2048 + 8


def test_a_pass_that_may_begin_in_its_middle_leaves_nothing_to_its_end() -> None:
    """What comes in there may hold another value in a register that a whole pass computes."""
    loop = "1: srli a3, a1, 8\n ld a4, 0(a0)\n beqz a4, 2f\n addi a0, a0, 8\n bne a0, a2, 1b"
    found = region(f"{loop}\n 2: ret")
    for more, sunk in (((), (0,)), ((12,), ())):
        found.entries = (*found.entries, *more)
        (cycle,) = dict.fromkeys(cycles_of(found, parts_of(found)).values())
        assert cycle.sunk == sunk
