"""SBI: the call convention, BASE, TIME, IPI, RFENCE, and calls that make no sense."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sbi_bench import ALL, RAM, RAM_END, Bench

BASE, TIME, IPI, RFENCE, HSM = 0x10, 0x54494D45, 0x735049, 0x52464E43, 0x48534D
SRST, DBCN, SUSP, STA = 0x53525354, 0x4442434E, 0x53555350, 0x535441
EXTENSIONS = [BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN, SUSP, STA]
NOT_SUPPORTED, INVALID_PARAM = -2, -3


@pytest.fixture
def bench():
    return Bench()


def test_base_tells_version_2_0_and_an_implementation_of_its_own(bench):
    assert bench.call(BASE, 0) == (0, 0x0200_0000)
    assert bench.call(BASE, 1) == (0, 0x4C4D4E41)
    assert bench.call(BASE, 2)[0] == 0
    assert [bench.call(BASE, n) for n in (4, 5, 6)] == [(0, 0)] * 3


@pytest.mark.parametrize("eid", [*EXTENSIONS, *range(9)])
def test_probe_finds_what_is_there(bench, eid):
    assert bench.call(BASE, 3, eid) == (0, 1)


@pytest.mark.parametrize("eid", [9, 0xF, 0x504D55, 0x4E41434C, HSM | 1 << 32, ALL])
def test_unknown_extensions_are_neither_found_nor_answered(bench, eid):
    assert bench.call(BASE, 3, eid) == (0, 0)
    assert bench.call(eid, 0) == (NOT_SUPPORTED, 0)
    assert bench.host.log == []


@pytest.mark.parametrize("eid", EXTENSIONS)
@pytest.mark.parametrize("fid", [7, 1 << 32, ALL])
def test_unknown_functions_are_not_supported_and_change_nothing(bench, eid, fid):
    saved = bench.sbi.save()
    assert bench.call(eid, fid, 0, 0, 0) == (NOT_SUPPORTED, 0)
    assert bench.host.log == [] and bench.sbi.save() == saved


def test_a_call_changes_only_a0_and_a1(bench):
    before = None
    for _ in range(2):
        bench.request(2, IPI, 0, 1, 0)
        vcpu = bench.host.vcpus[2]
        after = {k: v for k, v in vcpu.items() if k not in ("x10", "x11")}
        assert before in (None, after)
        before = after
    assert before["x12"] == 0x5A5A_0002 and before["x17"] == IPI


def test_timer_is_armed_for_the_hart_that_calls(bench):
    assert bench.call(TIME, 0, 1234, hart=2) == (0, 0)
    assert bench.call(TIME, 0, ALL, hart=0) == (0, 0)
    assert bench.host.timers == {2: 1234, 0: ALL}


@pytest.mark.parametrize(
    ("mask", "base", "targets"),
    [
        (0b1011, 0, [0, 1, 3]),
        (0b1, 3, [3]),
        (0b11, 2, [2, 3]),
        (0, ALL, [0, 1, 2, 3]),
        (ALL, ALL, [0, 1, 2, 3]),
        (0, 0, []),
    ],
)
def test_masks_name_harts_from_their_base_on(bench, mask, base, targets):
    for hart in (1, 2, 3):
        bench.start(hart)
    assert bench.call(IPI, 0, mask, base) == (0, 0)
    assert bench.logged("raise") == [(hart,) for hart in targets]
    assert bench.call(RFENCE, 0, mask, base) == (0, 0)
    assert bench.logged("fence") == ([(targets, False, True)] if targets else [])


@pytest.mark.parametrize(
    ("mask", "base"), [(0b10000, 0), (1, 4), (0b11, 3), (ALL, 0), (1, ALL - 1), (1 << 63, 1 << 63)]
)
def test_masks_with_harts_that_are_not_there_do_nothing(bench, mask, base):
    assert bench.call(IPI, 0, mask, base) == (INVALID_PARAM, 0)
    assert bench.call(RFENCE, 1, mask, base, 0, 0) == (INVALID_PARAM, 0)
    assert bench.host.log == []


@pytest.mark.parametrize("fid", [1, 2])
@pytest.mark.parametrize("span", [(0, 0), (0, ALL), (0x1000, 0x1000), (ALL, ALL)])
def test_fences_of_any_range_flush_the_tlb_of_harts_that_run(bench, fid, span):
    bench.start(2)
    assert bench.call(RFENCE, fid, 0b1111, 0, *span, 7) == (0, 0)
    assert bench.logged("fence") == [([0, 2], True, False)]


@pytest.mark.parametrize("fid", [3, 4, 5, 6])
def test_hypervisor_fences_are_not_supported(bench, fid):
    assert bench.call(RFENCE, fid, 1, 0, 0, 0) == (NOT_SUPPORTED, 0)


def test_stopped_harts_are_not_interrupted(bench):
    bench.start(3)
    bench.call(IPI, 0, 0, ALL, hart=3)
    assert bench.logged("raise") == [(0,), (3,)]


NUMBERS = st.one_of(
    st.integers(0, ALL),
    st.integers(0, 8),
    st.sampled_from([RAM, RAM_END - 1, RAM_END - 64, 1 << 31, 1 << 63, ALL, ALL - 1, 0x1000]),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.one_of(st.sampled_from([*EXTENSIONS, *range(10)]), NUMBERS),
            NUMBERS,
            st.lists(NUMBERS, min_size=6, max_size=6),
        ),
        max_size=12,
    )
)
def test_no_sequence_of_calls_raises_or_leaves_a_state_that_cannot_be_restored(calls):
    bench = Bench()
    for hart, eid, fid, args in calls:
        bench.request(hart, eid, fid, *args)
        bench.sbi.update_steal(hart)
    saved = bench.sbi.save()
    bench.sbi.load(saved)
    assert bench.sbi.save() == saved
