"""Which instructions make a region, and where it is entered."""

import pytest
from regions import ASSEMBLER, DECODER, form, pages_of_code, region, x

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit import region as limits
from lamina.engine.jit.region import PageView, form_region

LOOP = """
    li a0, 10
1:  addi a1, a1, 1
    addi a0, a0, -1
    bnez a0, 1b
    ret
"""


def test_a_loop_and_what_is_around_it() -> None:
    r = region(LOOP)
    assert sorted(r.members) == [0, 4, 8, 12, 16]
    assert r.entries == (0, 4)  # the start, and the head of the loop
    assert r.loops
    assert list(r.pages) == [0]


def test_straight_code_is_no_loop() -> None:
    assert not region("li a0, 1\n ret").loops


def test_code_that_never_ran_is_left_out() -> None:
    source = "beqz a0, 1f\n li a1, 1\n ret\n1: li a1, 2\n ret"
    assert sorted(region(source, ran={0, 12, 16}).members) == [0, 12, 16]
    assert sorted(region(source, ran={0, 4, 8}).members) == [0, 4, 8]


def test_there_is_no_region_where_nothing_ran_or_nothing_decodes() -> None:
    assert form(LOOP, ran={4}) is None
    assert form(".half 0") is None
    assert form(LOOP, start=5 * PAGE_SIZE) is None


def test_calls_are_followed_and_what_comes_behind_them() -> None:
    r = region("call_it: jal ra, f\n addi a0, a0, 1\n j call_it\n f: addi a1, a1, 1\n ret")
    assert sorted(r.members) == [0, 4, 8, 12, 16]
    assert r.entries == (0, 12)
    assert r.returns == (4,)  # the region's own


def test_what_comes_back_from_elsewhere_comes_in_behind_its_call() -> None:
    r = region("jal ra, .+0x100\n addi a0, a0, 1\n jalr ra, 0(a5)\n addi a0, a0, 2\n ret")
    assert r.entries == (0, 4, 12)
    assert r.returns == ()


def test_behind_a_fence_of_instructions_is_an_entry() -> None:
    r = region("addi a0, a0, 1\n fence.i\n addi a0, a0, 1\n ret")
    assert r.entries == (0, 8)
    assert 12 in r.members


def test_a_region_goes_over_the_end_of_a_page() -> None:
    r = region(LOOP, at=PAGE_SIZE - 8)
    assert sorted(r.pages) == [0, 1]
    assert sorted(r.members) == [PAGE_SIZE - 8 + 4 * i for i in range(5)]
    assert r.entries == (PAGE_SIZE - 8, PAGE_SIZE - 4)


def test_a_page_before_the_start_has_a_negative_distance() -> None:
    r = region(LOOP, at=-8, start=0)
    assert sorted(r.pages) == [-1, 0]
    assert -4 in r.members
    assert r.entries == (0,)


def test_jumps_back_that_make_no_loop_of_their_own_are_no_entries() -> None:
    """Blocks may lie in another order than they run: with two ways in LLVM sees no loop."""
    source = "j 2f\n 1: addi a1, a1, 1\n bnez a1, 3f\n 2: addi a0, a0, -1\n bnez a0, 1b\n 3: ret"
    r = region(source)
    assert r.entries == (0, 12)  # the head, as control comes to it, and not the jump's target
    assert r.returns == (4,)
    nested = region("1: addi a1, a1, 1\n 2: addi a0, a0, 1\n bnez a0, 2b\n bnez a1, 1b\n ret")
    assert nested.entries == (0, 4)


def test_an_instruction_in_two_pages_is_a_member_but_no_entry() -> None:
    r = region("nop\n c.nop\n1: addi a1, a1, 1\n bnez a1, 1b\n ret", at=PAGE_SIZE - 8)
    crossing = PAGE_SIZE - 2
    assert crossing in r.members
    assert r.entries == (PAGE_SIZE - 8,)
    assert sorted(r.pages) == [0, 1]


def test_no_region_starts_at_an_instruction_in_two_pages() -> None:
    assert form("1: addi a1, a1, 1\n bnez a1, 1b", at=PAGE_SIZE - 2) is None


FORK = "beqz a0, .+4\n"


def test_the_size_is_limited() -> None:
    r = region("addi a0, a0, 1\n" * (limits.MAX_STRAIGHT + 100) + "ret")
    assert len(r.members) == limits.MAX_STRAIGHT
    assert r.cut == 4 * limits.MAX_STRAIGHT, "where the rest of it begins"


def test_code_with_jumps_has_less_room() -> None:
    r = region(FORK * (limits.MAX_INSTRUCTIONS + 100) + "ret")
    assert len(r.members) == limits.MAX_INSTRUCTIONS


def test_a_function_that_found_no_room_is_no_cut() -> None:
    function = FORK * limits.MAX_INSTRUCTIONS + "ret"
    r = region(f"jal ra, f\n addi a0, a0, 1\n ret\n f: {function}")
    assert (len(r.members), r.cut) == (3, None)


def test_room_is_left_for_what_a_large_function_calls() -> None:
    r = region("jal ra, f\n" + FORK * limits.MAX_INSTRUCTIONS + "f: ret")
    assert len(r.members) == limits.MAX_OWN + 1


def test_a_function_that_is_called_is_taken_as_a_whole_or_not_at_all() -> None:
    for room, whole in ((0, True), (1, False)):
        length = limits.MAX_INSTRUCTIONS - limits.MAX_OWN + 1 + room
        own = FORK * (limits.MAX_OWN - 4)
        function = FORK * (length - 1) + "ret"
        r = region(f"jal ra, f\n jal ra, g\n {own} ret\n f: {function}\n g: ret")
        f, g = 4 * (limits.MAX_OWN - 1), 4 * (limits.MAX_OWN - 1 + length)
        assert (f in r.members) == (f + 4 in r.members) == whole
        assert (f in r.entries) == whole
        assert g in r.members or whole


def test_the_number_of_pages_is_limited() -> None:
    jumps = "\n".join(f"jal zero, .+{PAGE_SIZE}\n .zero {PAGE_SIZE - 4}" for _ in range(20))
    r = region(jumps)
    assert len(r.pages) == limits.MAX_PAGES
    assert len(r.members) == limits.MAX_PAGES


def test_the_number_of_entries_is_limited() -> None:
    r = region("jalr ra, 0(a5)\n" * (limits.MAX_ENTRIES + 30) + "ret")
    assert len(r.entries) == limits.MAX_ENTRIES
    assert r.entries[0] == 0
    assert len(set(r.entries)) == len(r.entries)


def test_overlapping_instructions_are_members_of_their_own() -> None:
    word = ASSEMBLER.line("addi s1, sp, 0")
    assert word[2:] == ASSEMBLER.line("c.nop")
    r = region("beqz a0, .+6\n addi s1, sp, 0\n addi a1, a1, 1\n ret")
    assert sorted(r.members) == [0, 4, 6, 8, 12]
    assert r.members[4].writes == x(9)
    assert r.members[6].length == 2


@pytest.mark.parametrize("at", [0, 2, PAGE_SIZE - 2, PAGE_SIZE - 4])
def test_entries_are_members_that_lie_in_one_page(at: int) -> None:
    source = LOOP.replace("ret", "jal ra, .-16\n c.nop\n jal ra, .+20\n c.nop\n j .-18")
    r = form(source, at=at)
    if r is None:
        assert at == PAGE_SIZE - 2
        return
    for e in r.entries:
        assert e in r.members
        assert e % PAGE_SIZE + r.members[e].length <= PAGE_SIZE


SWITCH = """
1:  jr a1
    nop
    addi a2, a2, 1
    j 2f
    addi a3, a3, 1
2:  addi a0, a0, -1
    bnez a0, 1b
    ret
"""


def test_what_ran_near_a_computed_jump_may_be_where_it_goes() -> None:
    ran = {0, 8, 12, 16, 20, 24, 28}  # but for the nop
    r = region(SWITCH, ran=ran)
    assert set(r.members) == ran
    assert r.jumps == (0, 8, 16)
    assert set(r.jumps) <= set(r.entries)


def test_a_return_is_no_computed_jump() -> None:
    r = region(SWITCH.replace("jr a1", "ret"), ran={0, 8, 12, 16, 20, 24, 28})
    assert set(r.members) == {0}
    assert r.jumps == ()


def test_the_entry_of_another_region_is_not_where_a_computed_jump_goes() -> None:
    """Its record leads there, but nothing behind it ran."""
    assert set(region(SWITCH, ran={0, 8, 16, 20, 24, 28}).members) == {0, 16, 20, 24, 28}


def test_far_calls_are_followed() -> None:
    source = (
        f"auipc ra, 2\n jalr ra, -8(ra)\n ret\n .zero {2 * PAGE_SIZE - 20}\n addi a0, a0, 1\n ret"
    )
    r = region(source)
    assert set(r.members) == {0, 4, 8, 2 * PAGE_SIZE - 8, 2 * PAGE_SIZE - 4}
    assert r.members[4].target == 2 * PAGE_SIZE - 12
    # By another register it goes anywhere.
    assert set(region(source.replace("auipc ra", "auipc a0")).members) == {0, 4, 8}


def test_calls_by_pointers_go_to_where_they_were_seen_to() -> None:
    source = f"jalr ra, 0(a5)\n ret\n .zero {PAGE_SIZE}\n addi a0, a0, 1\n ret"
    pages = pages_of_code(source)

    def find(number: int) -> PageView | None:
        return PageView(pages[number], lambda offset: True) if number in pages else None

    function = 8 + PAGE_SIZE
    r = form_region(DECODER, find, 0, lambda call: [function] if call == 0 else [])
    assert r is not None
    assert set(r.members) == {0, 4, function, function + 4}
    assert r.jumps == (function,)


def test_what_is_called_too_far_away_is_no_part_of_it() -> None:
    page = PageView(pages_of_code("jalr ra, 0(a0)\n ret")[0], lambda offset: True)
    for distance in (limits.MAX_DISTANCE * PAGE_SIZE, -limits.MAX_DISTANCE * PAGE_SIZE, 1 << 60):
        r = form_region(DECODER, lambda number: page, 0, lambda call, d=distance: [d])
        assert r is not None
        assert max(map(abs, (*r.members, *r.jumps, *r.entries))) < PAGE_SIZE
