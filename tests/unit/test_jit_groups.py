"""Neighbouring accesses that share one look into the TLB."""

from regions import FILES, region

from lamina.engine.jit.groups import MAX_SPAN, Group, groups_of
from lamina.engine.jit.region import Region
from lamina.engine.jit.shape import parts_of


def groups(source: str, first: int = 4) -> dict[int, Group]:
    """The groups of the block at `first`; an instruction of no account is put in front, because
    nothing at an entry is in a group."""
    r = region("nop\n" + source + "\n ret")
    return groups_of(r, parts_of(r)[first - 4], FILES)


def test_accesses_by_one_register_share_a_group() -> None:
    found = groups("ld a0, 8(sp)\n sd a1, -16(sp)\n lbu a2, 100(sp)")
    assert list(found) == [4, 8, 12]
    g = found[4]
    assert found[8] is found[12] is g
    assert (g.low, g.high, g.count) == (-16, 101, 3)
    assert g.reads
    assert g.writes


def test_what_stands_alone_is_in_no_group() -> None:
    assert groups("ld a0, 8(sp)\n sd a1, 0(a3)") == {}


def test_bases_are_told_apart() -> None:
    found = groups("ld a0, 8(s0)\n ld a1, 8(s1)\n ld a2, 0(s0)\n ld a3, 0(s1)")
    assert found[4] is found[12]
    assert found[8] is found[16]
    assert found[4] is not found[8]


def test_another_value_of_the_base_begins_another_group() -> None:
    found = groups("ld a0, 0(sp)\n ld a0, 8(sp)\n addi sp, sp, 16\n ld a0, 0(sp)\n ld a0, 8(sp)")
    assert found[4] is found[8] is not found[16]
    assert found[16] is found[20]


def test_a_load_may_change_its_own_base() -> None:
    found = groups("ld a0, 0(a0)\n ld a1, 8(a0)\n ld a2, 16(a0)")
    assert 4 not in found
    assert found[8] is found[12]


def test_a_register_that_may_be_written_ends_the_group() -> None:
    assert groups("ld a1, 0(a0)\n sc.d a0, a2, (a3)\n ld a1, 8(a0)") == {}


def test_a_group_has_a_span() -> None:
    found = groups(f"ld a0, 0(sp)\n ld a1, {MAX_SPAN - 8}(sp)")
    assert found[4].high - found[4].low == MAX_SPAN
    assert groups(f"ld a0, -8(sp)\n ld a1, {MAX_SPAN - 8}(sp)") == {}
    found = groups(f"ld a0, -8(sp)\n ld a1, {MAX_SPAN - 8}(sp)\n ld a2, {MAX_SPAN - 16}(sp)")
    assert list(found) == [8, 12]


def test_entries_are_in_no_group() -> None:
    r = region("1: ld a0, 0(sp)\n ld a1, 8(sp)\n ld a2, 16(sp)\n bnez a2, 1b\n ret")
    assert list(groups_of(r, parts_of(r)[0], FILES)) == [4, 8]


def test_groups_that_often_lie_over_the_end_of_a_page() -> None:
    r = region("nop\n ld a0, 0(sp)\n lw a1, 8(sp)\n ld a2, 12(sp)\n lbu a3, 3(sp)\n ret")
    apart = Region(r.members, r.entries, r.pages, grouped=False)
    assert list(groups_of(r, parts_of(r)[0], FILES)) == [4, 8, 12, 16]
    found = groups_of(apart, parts_of(apart)[0], FILES)
    assert list(found) == [4, 8, 16]  # the third may lie in both pages
    assert found[4].paired
    assert found[4].align == 8
    assert found[4].span == 12


def test_atomics_are_in_no_group() -> None:
    assert groups("amoadd.w a0, a1, (a2)\n amoadd.w a0, a1, (a2)") == {}
