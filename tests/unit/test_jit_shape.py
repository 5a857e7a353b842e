"""Basic blocks of a region, and what is known at their beginnings."""

import random

import pytest
from regions import decoded, region, x

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.region import Region
from lamina.engine.jit.shape import (
    JUMPS,
    MAX_LOOP,
    MAX_LOOP_STORES,
    RETURNS,
    Part,
    late_stores,
    parts_of,
)

LOOP = """
    li a0, 10
1:  add a1, a1, a2
    sd a1, 0(a3)
    addi a0, a0, -1
    bnez a0, 1b
    mv a4, a1
    ret
"""


def starts(parts: dict[int, Part]) -> list[int]:
    return [first for first in parts if first < RETURNS]


def test_blocks_begin_where_control_comes_in() -> None:
    parts = parts_of(region(LOOP))
    assert starts(parts) == [0, 4, 20]
    assert parts[0].successors == [4]
    assert parts[4].successors == [4, 20]
    assert parts[20].successors == [RETURNS]


def test_registers_that_are_read_before_they_are_written_are_live() -> None:
    parts = parts_of(region(LOOP))
    # A loop keeps what it writes at hand, so that all of that is live in it.
    assert parts[4].live == x(1, 10, 11, 12, 13)
    assert parts[0].live == x(1, 11, 12, 13)
    assert parts[20].live == x(1, 11)


def test_small_loops_are_set_apart() -> None:
    parts = parts_of(region(LOOP))
    assert parts[0].loop is None
    assert parts[20].loop is None
    loop = parts[4].loop
    assert loop is not None
    assert loop.parts == {4}
    assert loop.writes == x(10, 11)


def test_of_nested_loops_the_outer_one_is_taken_if_it_is_small() -> None:
    inner = "addi a1, a1, 1\n" * 10 + "addi a0, a0, -1\n bnez a0, 1b\n"
    source = "2: li a0, 9\n1: " + inner + "addi a2, a2, -1\n" * 3 + "bnez a2, 2b\n ret"
    parts = parts_of(region(source))
    assert parts[4].loop is parts[0].loop is not None
    # Too large to be set apart as a whole: only the inner one is.
    source = source.replace("addi a2, a2, -1\n" * 3, "addi a2, a2, -1\n" * MAX_LOOP)
    parts = parts_of(region(source))
    assert parts[0].loop is None
    assert parts[4].loop is not None


def test_a_loop_with_many_registers_and_many_ways_out_is_not_set_apart() -> None:
    registers = [5, 6, 7, *range(10, 32)]
    writes = "".join(f"addi x{r}, x{r}, 1\n" for r in registers)
    most = MAX_LOOP_STORES // len(registers) - 2  # beside the loop's own end
    for accesses, apart in ((most, True), (most + 1, False)):
        body = writes + "ld x0, 0(sp)\n" * accesses
        parts = parts_of(region(f"1: {body} bnez x31, 1b\n ret"))
        assert (parts[0].loop is not None) == apart


def test_a_loop_with_a_return_in_it_is_not_set_apart() -> None:
    parts = parts_of(region("1: jal ra, f\n bnez a0, 1b\n ret\n f: addi a0, a0, -1\n ret"))
    assert all(part.loop is None for part in parts.values())


def test_returns_go_behind_the_calls_of_the_region() -> None:
    parts = parts_of(region("jal ra, f\n jal ra, f\n j .+0\n f: addi a0, a0, -1\n ret"))
    assert list(parts)[-2:] == [RETURNS, JUMPS]
    assert parts[RETURNS].successors == [4, 8]
    assert parts[12].successors == [RETURNS]


def test_what_was_written_may_be_kept_until_the_region_is_left() -> None:
    r = region(LOOP)
    parts = parts_of(r, late=True)
    assert parts[0].dirty == 0
    assert parts[4].dirty == x(10, 11)
    assert parts[20].dirty == x(10, 11)
    assert parts[RETURNS].dirty == x(10, 11, 14)
    # Where the region is left it is stored, so whoever comes in at the loop loads it.
    assert parts[4].live == x(1, 10, 11, 12, 13)
    assert late_stores(parts) == 1 + 2 * 2 + 3 + 3
    assert parts_of(r)[20].dirty == 0


def test_the_page_of_an_entry_is_known_and_others_are_checked_once() -> None:
    start = PAGE_SIZE - 8
    parts = parts_of(
        region("1: addi a0, a0, 1\n addi a0, a0, 1\n addi a0, a0, 1\n bnez a0, 1b", start)
    )
    assert parts[start].known == {0}
    # From the loop's end the way leads back with both pages known, from outside with one.
    assert parts[PAGE_SIZE].known == {0, 1}


def test_a_crossing_instruction_is_a_block_of_both_pages() -> None:
    parts = parts_of(region("c.nop\n addi a0, a0, 1\n addi a0, a0, 1\n ret", PAGE_SIZE - 4))
    assert parts[PAGE_SIZE - 2].pages == {0, 1}
    assert parts[PAGE_SIZE - 4].pages == {0}
    assert parts[PAGE_SIZE + 2].pages == {1}


def test_a_way_into_an_instruction_leads_to_a_block() -> None:
    """At 4 an instruction, of which the second half, at 6, is c.nop."""
    parts = parts_of(region("beqz a0, .+6\n addi s1, sp, 0\n addi a1, a1, 1\n ret"))
    assert parts[0].successors == [6, 4]
    assert parts[4].successors == [8]
    assert parts[6].successors == [8]


@pytest.mark.parametrize("seed", range(100))
def test_blocks_of_any_code_fit_together(seed: int) -> None:
    """Random members at random places, overlapping too: each lies in one block, each way leads to
    the beginning of one, and what is known of pages holds on every way."""
    rng = random.Random(seed)
    words = [
        decoded(line)
        for line in (
            *(
                "addi a0, a0, 1",
                "c.nop",
                "beqz a0, .+6",
                "bnez a1, .-10",
                "jal zero, .+12",
                "c.j .-4",
            ),
            *("jal ra, .-20", "jalr zero, 0(ra)", "ld a0, 0(sp)", "fence.i"),
        )
    ]
    places = rng.sample(range(PAGE_SIZE - 60, PAGE_SIZE + 60, 2), 30)
    members = {o: rng.choice(words) for o in places}
    inside = [o for o, m in members.items() if o % PAGE_SIZE + m.length <= PAGE_SIZE]
    entries = tuple(rng.sample(inside, 3))
    r = Region(members, entries, {0: bytes(PAGE_SIZE), 1: bytes(PAGE_SIZE)})
    parts = parts_of(r, late=seed % 2 == 0)
    assert sorted(o for p in parts.values() for o in p.offsets) == sorted(members)
    for part in parts.values():
        for a, b in zip(part.offsets, part.offsets[1:], strict=False):
            assert a + members[a].length == b
        for s in part.successors:
            assert s in parts
            assert parts[s].known <= part.known | part.pages | parts[s].pages
            assert not part.live ^ (part.live | parts[s].live & ~part.writes)
            assert seed % 2 or not (part.dirty | part.changes) & ~parts[s].dirty
    for e in entries:
        assert parts[e].known == parts[e].pages == {e // PAGE_SIZE}
