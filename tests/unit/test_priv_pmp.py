"""Physical memory protection: matching, priority, privilege, locks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from priv_hart import MACHINE, RAM, SUPERVISOR, USER, SmallHart, Trapped, run_routine

from lamina.isa.arch import FETCH, READ, WRITE
from lamina.isa.riscv.pmp import pmp_check

R, W, X, L = 1, 2, 4, 0x80
TOR, NA4, NAPOT = 1 << 3, 2 << 3, 3 << 3
RWX = R | W | X
PAGE = RAM + 0x4_0000
Entry = tuple[int, int]  # configuration, pmpaddr


def hart_with(*entries: Entry, **state: int) -> SmallHart:
    hart = SmallHart(**state)
    for i, (configuration, address) in enumerate(entries):
        hart[f"pmpcfg{i // 8 * 2}"] |= configuration << 8 * (i % 8)
        hart[f"pmpaddr{i}"] = address
    return hart


def check(
    hart: SmallHart, gpa: int, size: int = 8, access: int = READ, priv: int = SUPERVISOR
) -> tuple[int, ...]:
    """(ok, whole page)"""
    return run_routine(pmp_check(), hart, gpa, size, access, priv)


def napot(base: int, size: int) -> int:
    return base >> 2 | (size >> 3) - 1


def addresses() -> st.SearchStrategy[int]:
    """pmpaddr values around one page, NAPOT sizes of all kinds, and a few far ones."""
    near = st.integers(PAGE - 0x100 >> 2, PAGE + 0x1100 >> 2)
    blocks = st.integers(0, 16).map(lambda n: PAGE >> 2 & ~((1 << n) - 1) | (1 << n) - 1)
    return st.one_of(near, blocks, st.sampled_from([0, (1 << 54) - 1]))


def test_without_a_match_only_machine_mode_has_access() -> None:
    for hart in (hart_with(), hart_with((RWX | NAPOT, napot(0, 0x1000)))):
        assert check(hart, PAGE, priv=MACHINE) == (1, 1)
        assert check(hart, PAGE, priv=SUPERVISOR) == (0, 1)
        assert check(hart, PAGE, priv=USER) == (0, 1)


@pytest.mark.parametrize("granted", range(8))
def test_each_access_needs_its_bit(granted: int) -> None:
    hart = hart_with((granted | NAPOT, napot(PAGE, 0x1000)))
    for access, bit in ((READ, R), (WRITE, W), (FETCH, X)):
        assert check(hart, PAGE, 4, access) == (int(granted & bit != 0), 1)
        assert check(hart, PAGE, 4, access, MACHINE) == (1, 1)


@pytest.mark.parametrize("granted", range(8))
def test_a_locked_entry_binds_machine_mode(granted: int) -> None:
    hart = hart_with((granted | NAPOT | L, napot(PAGE, 0x1000)))
    for access, bit in ((READ, R), (WRITE, W), (FETCH, X)):
        assert check(hart, PAGE, 4, access, MACHINE) == (int(granted & bit != 0), 1)


@pytest.mark.parametrize("size", [8, 16, 64, 0x1000, 0x1_0000])
def test_napot_matches_its_aligned_block(size: int) -> None:
    hart = hart_with((R | NAPOT, napot(PAGE, size)))
    whole = int(size >= 0x1000)
    assert check(hart, PAGE) == (1, whole)
    assert check(hart, PAGE + size - 8) == (1, whole)
    assert check(hart, PAGE + size)[0] == 0
    assert check(hart, PAGE - 8)[0] == 0


def test_the_largest_napot_covers_everything() -> None:
    hart = hart_with((R | NAPOT, (1 << 54) - 1))
    for gpa in (0, RAM, (1 << 56) - 8):
        assert check(hart, gpa) == (1, 1)


def test_na4_matches_four_bytes() -> None:
    hart = hart_with((R | NA4, PAGE + 8 >> 2))
    assert check(hart, PAGE + 8, 4) == (1, 0)
    assert check(hart, PAGE + 10, 2) == (1, 0)
    assert check(hart, PAGE + 12, 4)[0] == 0
    assert check(hart, PAGE + 4, 4)[0] == 0
    assert check(hart, PAGE + 8, 8)[0] == 0  # only partly inside


def test_tor_reaches_from_the_previous_address() -> None:
    hart = hart_with((0, PAGE >> 2), (R | TOR, PAGE + 0x2000 >> 2))
    assert check(hart, PAGE) == (1, 1)
    assert check(hart, PAGE + 0x1FF8) == (1, 1)
    assert check(hart, PAGE - 8)[0] == 0
    assert check(hart, PAGE + 0x2000)[0] == 0


def test_tor_in_the_first_entry_starts_at_zero() -> None:
    hart = hart_with((R | TOR, PAGE >> 2))
    hart["pmpaddr15"] = (1 << 54) - 1
    assert check(hart, 0) == (1, 1)
    assert check(hart, PAGE - 8) == (1, 1)
    assert check(hart, PAGE)[0] == 0


def test_an_empty_tor_range_matches_nothing() -> None:
    for bottom in (PAGE + 0x10 >> 2, PAGE + 0x100 >> 2):
        hart = hart_with((0, bottom), (TOR, PAGE + 0x10 >> 2), (R | NAPOT, napot(PAGE, 0x1000)))
        assert check(hart, PAGE + 0xC, 8) == (1, 1)
        assert check(hart, PAGE + 0x20) == (1, 1)


def test_the_lowest_numbered_match_decides() -> None:
    everything = (RWX | NAPOT, (1 << 54) - 1)
    closed = (NAPOT, napot(PAGE, 0x1000))
    assert check(hart_with(closed, everything), PAGE) == (0, 1)
    assert check(hart_with(closed, everything), PAGE + 0x1000) == (1, 1)
    assert check(hart_with(everything, closed), PAGE) == (1, 1)


def test_an_access_over_the_edge_of_its_match_fails() -> None:
    hart = hart_with((RWX | NAPOT, napot(PAGE, 0x40)), (RWX | NAPOT, (1 << 54) - 1))
    assert check(hart, PAGE + 0x3C, 4) == (1, 0)
    assert check(hart, PAGE + 0x3C, 8)[0] == 0
    assert check(hart, PAGE - 4, 8)[0] == 0
    assert check(hart, PAGE + 0x3C, 8, priv=MACHINE)[0] == 0


def test_a_page_with_a_finer_entry_is_not_uniform_anywhere() -> None:
    hart = hart_with((NA4, PAGE + 0x800 >> 2), (RWX | NAPOT, (1 << 54) - 1))
    assert check(hart, PAGE) == (1, 0)
    assert check(hart, PAGE + 0x800, 4) == (0, 0)
    assert check(hart, PAGE + 0x1000) == (1, 1)
    assert check(hart, PAGE, priv=MACHINE) == (1, 0)


def test_all_sixteen_entries_count() -> None:
    for i in range(16):
        hart = hart_with(*[(0, 0)] * i, (R | NAPOT, napot(PAGE, 0x1000)))
        assert check(hart, PAGE) == (1, 1)
        assert check(hart, PAGE, access=WRITE) == (0, 1)


@pytest.mark.parametrize("access, cause", [(READ, 5), (WRITE, 7), (FETCH, 1)])
def test_a_denied_access_is_an_access_fault(access: int, cause: int) -> None:
    hart = hart_with((NAPOT, napot(PAGE, 0x1000)), priv=SUPERVISOR)
    with pytest.raises(Trapped) as caught:
        hart.translate(PAGE + 4, access, 4)
    assert (caught.value.cause, caught.value.tval) == (cause, PAGE + 4)


def test_translations_of_mixed_pages_may_not_be_cached() -> None:
    hart = hart_with((RWX | NAPOT, napot(PAGE, 0x800)), priv=SUPERVISOR)
    assert hart.translate(PAGE) == (PAGE, 0x1000, 0)


# -- against a model -------------------------------------------------------------------------
def model_bytes(hart: SmallHart, i: int) -> range:
    """The addresses that entry i matches, straight from the manual's table of encodings."""
    mode = hart[f"pmpcfg{i // 8 * 2}"] >> 8 * (i % 8) + 3 & 3
    address = hart[f"pmpaddr{i}"]
    match mode:
        case 1:
            return range((hart[f"pmpaddr{i - 1}"] if i else 0) << 2, address << 2)
        case 2:
            return range(address << 2, (address << 2) + 4)
        case 3:
            ones = 0
            while address >> ones & 1:
                ones += 1
            base = address >> ones << ones + 2
            return range(base, base + (8 << ones))
    return range(0)


def model_allows(hart: SmallHart, gpa: int, size: int, access: int, priv: int) -> bool:
    for i in range(16):
        match = model_bytes(hart, i)
        hits = [byte in match for byte in range(gpa, gpa + size)]
        if any(hits):
            configuration = hart[f"pmpcfg{i // 8 * 2}"] >> 8 * (i % 8) & 0xFF
            free = priv == MACHINE and not configuration & L
            return all(hits) and (free or bool(configuration >> access & 1))
    return priv == MACHINE


entries = st.lists(
    st.tuples(st.sampled_from([c | lock for c in range(32) for lock in (0, L)]), addresses()),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    entries,
    st.integers(PAGE - 64, PAGE + 0x1040).map(lambda v: v & ~7),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([READ, WRITE, FETCH]),
    st.sampled_from([USER, SUPERVISOR, MACHINE]),
)
def test_the_check_agrees_with_a_model_byte_by_byte(
    setup: list[Entry], gpa: int, size: int, access: int, priv: int
) -> None:
    hart = hart_with(*setup)
    ok, whole = check(hart, gpa, size, access, priv)
    assert ok == model_allows(hart, gpa, size, access, priv)
    if whole:
        page = gpa & ~0xFFF
        edges = {
            b for i in range(16) for b in (model_bytes(hart, i).start, model_bytes(hart, i).stop)
        }
        places = {page, page + 0xFF8} | {(e & ~7) + d for e in edges for d in (-8, 0)}
        for place in places:
            if place & ~0xFFF == page:
                assert model_allows(hart, place, 8, access, priv) == ok


# -- the registers ---------------------------------------------------------------------------
def test_locked_entries_keep_configuration_and_address() -> None:
    hart = hart_with((R | NA4, 1), (R | NA4 | L, 2), (R | NA4, 3))
    assert hart.write("pmpcfg0", 0) == (R | NA4 | L) << 8
    assert hart.write("pmpcfg0", 0x1F1F1F) == 0x1F << 16 | (R | NA4 | L) << 8 | 0x1F
    assert hart.write("pmpaddr0", 99) == 99
    assert hart.write("pmpaddr1", 99) == 2
    assert hart.write("pmpaddr2", 99) == 99


def test_a_locked_tor_entry_locks_the_address_before_it() -> None:
    hart = hart_with((0, 1), (R | TOR | L, 2))
    assert hart.write("pmpaddr0", 99) == 1
    assert hart.write("pmpcfg0", RWX | NAPOT) == (R | TOR | L) << 8 | RWX | NAPOT
    hart = hart_with((0, 1), (R | TOR, 2))
    assert hart.write("pmpaddr0", 99) == 99


def test_the_lock_reaches_over_the_register_boundary() -> None:
    hart = hart_with()
    hart["pmpcfg2"], hart["pmpaddr7"] = R | TOR | L, 7
    assert hart.write("pmpaddr7", 99) == 7
    assert hart.write("pmpaddr15", 99) == 99


def test_changes_flush_translations() -> None:
    hart = hart_with()
    hart.write("pmpaddr3", 5)
    hart.write("pmpcfg2", RWX | NAPOT)
    assert hart.events == ["flush", "flush"]
