"""PLIC: gateways, priorities, claims and completions, and storms of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.errors import SnapshotError
from lamina.devices.plic import CLAIM, CONTEXT, CONTEXT_STRIDE, ENABLE, ENABLE_STRIDE, PENDING, Plic
from lamina.testing.devices import RecordingLine

SOURCES = 96


class Bench:
    """A PLIC with two contexts, and register accesses by name."""

    def __init__(self):
        self.lines = [RecordingLine(), RecordingLine()]
        self.plic = Plic(SOURCES, self.lines)

    def enable(self, context, *sources):
        for word in range(3):
            bits = sum(1 << source % 32 for source in sources if source // 32 == word)
            self.plic.write(ENABLE + ENABLE_STRIDE * context + 4 * word, 4, bits)

    def priority(self, source, value):
        self.plic.write(4 * source, 4, value)

    def threshold(self, context, value):
        self.plic.write(CONTEXT + CONTEXT_STRIDE * context, 4, value)

    def claim(self, context):
        return self.plic.read(CONTEXT + CONTEXT_STRIDE * context + CLAIM, 4)

    def complete(self, context, source):
        self.plic.write(CONTEXT + CONTEXT_STRIDE * context + CLAIM, 4, source)

    def pending(self):
        words = [self.plic.read(PENDING + 4 * word, 4) for word in range(3)]
        return [n for n in range(SOURCES) if words[n // 32] >> n % 32 & 1]

    def levels(self):
        return [line.level for line in self.lines]


@pytest.fixture
def bench():
    return Bench()


def test_an_enabled_source_interrupts_until_it_is_claimed(bench):
    bench.priority(10, 1)
    bench.enable(1, 10)
    bench.plic.source(10).set(True)
    assert bench.levels() == [False, True]
    assert bench.claim(1) == 10
    assert bench.levels() == [False, False]
    assert bench.claim(1) == 0


def test_a_level_that_stays_comes_again_after_completion_only(bench):
    bench.priority(10, 1)
    bench.enable(1, 10)
    line = bench.plic.source(10)
    line.set(True)
    assert bench.claim(1) == 10
    line.set(False)
    line.set(True)
    assert bench.pending() == []
    bench.complete(1, 10)
    assert bench.pending() == [10]
    assert bench.levels() == [False, True]
    assert bench.claim(1) == 10
    line.set(False)
    bench.complete(1, 10)
    assert bench.levels() == [False, False]


def test_a_level_that_merely_stays_is_served_once(bench):
    bench.priority(10, 1)
    bench.enable(1, 10)
    line = bench.plic.source(10)
    line.set(True)
    assert bench.claim(1) == 10
    bench.complete(1, 10)
    assert bench.pending() == [] and line.level


def test_a_level_that_its_device_drives_again_is_served_again(bench):
    bench.priority(10, 1)
    bench.enable(1, 10)
    line = bench.plic.source(10)
    line.set(True)
    assert bench.claim(1) == 10
    line.set(True)
    assert bench.pending() == []
    bench.complete(1, 10)
    assert bench.pending() == [10]
    assert bench.claim(1) == 10
    bench.complete(1, 10)
    assert bench.pending() == []
    line.set(True)
    assert bench.pending() == [10]


def test_a_high_line_is_heard_after_a_reset(bench):
    bench.plic.source(10).set(True)
    bench.plic.reset()
    assert bench.pending() == [10]


def test_what_the_gateway_forwarded_stays_pending_when_the_level_drops(bench):
    bench.priority(3, 1)
    bench.enable(0, 3)
    bench.plic.source(3).set(True)
    bench.plic.source(3).set(False)
    assert bench.claim(0) == 3
    bench.complete(0, 3)
    assert bench.pending() == []


def test_highest_priority_wins_and_lowest_number_among_equals(bench):
    bench.enable(0, 5, 6, 40, 95)
    for source, priority in ((5, 2), (6, 7), (40, 7), (95, 3)):
        bench.priority(source, priority)
        bench.plic.source(source).set(True)
    assert [bench.claim(0) for _ in range(5)] == [6, 40, 95, 5, 0]


def test_threshold_masks_the_line_but_not_the_claim(bench):
    bench.priority(8, 3)
    bench.enable(0, 8)
    bench.threshold(0, 3)
    bench.plic.source(8).set(True)
    assert bench.levels() == [False, False]
    bench.threshold(0, 2)
    assert bench.levels() == [True, False]
    bench.threshold(0, 7)
    assert bench.claim(0) == 8


def test_priority_zero_never_interrupts_nor_is_claimed(bench):
    bench.enable(0, 8)
    bench.plic.source(8).set(True)
    assert bench.pending() == [8]
    assert bench.levels() == [False, False]
    assert bench.claim(0) == 0
    bench.priority(8, 1)
    assert bench.levels() == [True, False]


def test_two_contexts_race_for_one_source(bench):
    bench.priority(8, 1)
    bench.enable(0, 8)
    bench.enable(1, 8)
    bench.plic.source(8).set(True)
    assert bench.levels() == [True, True]
    assert bench.claim(1) == 8
    assert bench.claim(0) == 0
    assert bench.levels() == [False, False]


def test_completion_without_enable_or_claim_is_ignored(bench):
    bench.priority(8, 1)
    bench.enable(0, 8)
    bench.plic.source(8).set(True)
    assert bench.claim(0) == 8
    for source in (0, 7, 95, 96, 1023, 1024, 0xFFFF_FFFF):
        bench.complete(0, source)
    bench.complete(1, 8)
    bench.plic.source(8).set(True)
    assert bench.pending() == []
    bench.complete(0, 8)
    assert bench.pending() == [8]


def test_registers_keep_only_what_exists(bench):
    bench.priority(0, 7)
    bench.priority(1, 0xFFFF_FFFF)
    bench.priority(96, 7)
    bench.threshold(0, 0xFFFF_FFFF)
    for word in range(32):
        bench.plic.write(ENABLE + 4 * word, 4, 0xFFFF_FFFF)
    assert [bench.plic.read(4 * n, 4) for n in (0, 1, 96)] == [0, 7, 0]
    assert bench.plic.read(CONTEXT, 4) == 7
    enables = [bench.plic.read(ENABLE + 4 * word, 4) for word in range(5)]
    assert enables == [0xFFFF_FFFE, 0xFFFF_FFFF, 0xFFFF_FFFF, 0, 0]
    bench.plic.write(PENDING, 4, 0xFFFF_FFFF)
    assert bench.pending() == []


def test_contexts_that_do_not_exist_read_zero(bench):
    for context in (2, 100, 0x3FF):
        bench.complete(context, 1)
        bench.threshold(context, 5)
        assert bench.claim(context) == 0
        assert bench.plic.read(CONTEXT + CONTEXT_STRIDE * context, 4) == 0
    bench.plic.write(ENABLE + ENABLE_STRIDE * 2, 4, 2)
    assert bench.plic.read(ENABLE + ENABLE_STRIDE * 2, 4) == 0


def test_a_claim_storm_hands_out_each_source_once(bench):
    bench.enable(0, *range(1, SOURCES))
    bench.enable(1, *range(1, SOURCES))
    for source in range(1, SOURCES):
        bench.priority(source, 1 + source % 7)
        bench.plic.source(source).set(True)
    claimed = [bench.claim(n % 2) for n in range(1000)]
    assert sorted(filter(None, claimed)) == list(range(1, SOURCES))
    for source in range(1, SOURCES):
        bench.plic.source(source).set(True)
        bench.complete(source % 2, source)
    assert len(bench.pending()) == SOURCES - 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_history_agrees_with_a_plain_model(data):
    """The model: per-source booleans and a search; a source is driven until it is forwarded."""
    bench = Bench()
    bench.enable(0, 1, 2, 33)
    bench.enable(1, 2, 33)
    priority = {1: 1, 2: 3, 33: 3}
    for source, value in priority.items():
        bench.priority(source, value)
    enabled = [{1, 2, 33}, {2, 33}]
    driven, pending, claimed = set(), set(), set()
    steps = st.tuples(st.sampled_from("udcf"), st.sampled_from([1, 2, 33]), st.sampled_from([0, 1]))
    for action, source, context in data.draw(st.lists(steps, max_size=40)):
        if action == "u":
            driven.add(source)
            bench.plic.source(source).set(True)
        elif action == "d":
            driven.discard(source)
            bench.plic.source(source).set(False)
        elif action == "c":
            candidates = sorted(pending & enabled[context], key=lambda n: (-priority[n], n))
            expected = candidates[0] if candidates else 0
            assert bench.claim(context) == expected
            pending.discard(expected)
            claimed |= {expected} - {0}
        else:
            bench.complete(context, source)
            claimed -= {source} & enabled[context]
        pending |= driven - claimed
        driven &= claimed
        assert bench.pending() == sorted(pending)
        assert bench.levels() == [bool(pending & enabled[context]) for context in (0, 1)]


def test_state_survives_save_and_load_in_either_order_of_devices(bench):
    bench.enable(0, 8, 40)
    for source in (8, 40):
        bench.priority(source, 2)
        bench.plic.source(source).set(True)
    bench.claim(0)
    for plic_first in (True, False):
        other = Bench()
        if plic_first:
            other.plic.load(bench.plic.save())
        for source in (8, 40):
            other.plic.source(source).set(True)
        if not plic_first:
            other.plic.load(bench.plic.save())
        assert other.plic.save() == bench.plic.save()
        assert other.levels() == bench.levels() == [True, False]
        assert other.claim(0) == 40


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("priority", [8] * SOURCES),
        ("priority", [0]),
        ("pending", [2**32, 0, 0]),
        ("enable", [[0]]),
        ("threshold", [0, 8]),
        ("claimed", "abc"),
        ("enable", [[0, 0, 0], [0, 0]]),
        ("pending", 0),
    ],
)
def test_bad_state_is_refused_and_changes_nothing(bench, key, value):
    bench.enable(0, 8)
    before = bench.plic.save()
    with pytest.raises(SnapshotError):
        bench.plic.load({**before, key: value})
    with pytest.raises(SnapshotError):
        bench.plic.load({k: v for k, v in before.items() if k != key})
    assert bench.plic.save() == before


def test_source_zero_cannot_be_smuggled_in_by_a_snapshot(bench):
    ones = [0xFFFF_FFFF] * 3
    state = {
        **bench.plic.save(),
        "pending": ones,
        "enable": [ones, ones],
        "priority": [7] * SOURCES,
    }
    bench.plic.load(state)
    assert bench.claim(0) == 1
    assert 0 not in bench.pending()
