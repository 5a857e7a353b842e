"""Regions on trial: where the vCPU stops, and when it is judged. The engine is a stand-in."""

import pytest
from regions import PAGE_SIZE, region

from lamina.engine.jit import trial
from lamina.engine.jit.hotspots import Spot
from lamina.engine.jit.trial import Trials
from lamina.engine.jit.visits import ENOUGH, LONG

LOOP = "li a0, 3\n 1: addi a0, a0, -1\n bnez a0, 1b\n ret"
HEAD = 4
PAGE, OTHER = 0x1000, 0x2000  # addresses of code pages
PC = 0x8000_0000  # where the guest has the page


class Engine:
    """Notes what trials do."""

    def __init__(self) -> None:
        self.watched: set[tuple[int, int]] = set()
        self.following = False
        self.judged: list[tuple[Spot, float]] = []
        self.compiled = False  # the code is in another region by now

    def watch(self, page: int, offset: int, on: bool) -> None:
        (self.watched.add if on else self.watched.discard)((page, offset))

    def renew(self, page: int) -> None:
        assert page == PAGE

    def follow(self, on: bool) -> None:
        assert self.following is not on
        self.following = on

    def page_at(self, pc: int) -> int:
        return PAGE if pc & -PAGE_SIZE == PC and not self.compiled else 0

    def judge(self, spot: Spot, length: float) -> None:
        self.judged.append((spot, length))


def spot() -> Spot:
    return Spot(region(LOOP), {0: PAGE}, 10)


def visit(trials: Trials, passes: int) -> None:
    """The loop so many times, then elsewhere."""
    trials.enter(PC + HEAD, 0)
    for n in range(1, passes + 1):
        if trials.following:
            trials.step(PC + (HEAD if n < passes else PAGE_SIZE), 2 * n)


def test_a_vcpu_stops_at_entries_and_is_followed_from_there() -> None:
    engine = Engine()
    trials = Trials(engine)
    trials.add(spot())
    assert engine.watched == {(PAGE, o) for o in spot_entries()}
    trials.enter(PC + HEAD, 100)
    assert trials.following
    assert engine.following
    assert engine.watched == set()
    trials.step(PC + HEAD, 102)
    assert trials.following
    trials.step(PC + PAGE_SIZE, 105)
    assert not trials.following
    assert not engine.following
    assert engine.watched == {(PAGE, o) for o in spot_entries()}


def spot_entries() -> tuple[int, ...]:
    found = spot().region
    assert found is not None
    return found.entries


def test_short_visits_are_judged_after_some_and_one_long_visit_at_once() -> None:
    engine, short, long = Engine(), spot(), spot()
    trials = Trials(engine)
    trials.add(short)
    trials.add(long)
    for _ in range(ENOUGH):
        assert engine.judged == []
        visit(trials, 3)
    assert engine.judged == [(short, 6.0)]
    visit(trials, LONG)
    assert engine.judged == [(short, 6.0), (long, float(LONG))]
    assert engine.watched == set()
    assert not engine.following


def test_what_is_not_visited_is_judged_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, rare = Engine(), spot()
    trials = Trials(engine)
    monkeypatch.setattr(trial, "PATIENCE", 0.0)
    trials.add(rare)
    trials.enter(PC + HEAD, 0)
    trials.look()
    assert engine.judged == []  # not during a visit
    trials.leave()
    assert engine.judged == [(rare, 0.0)]


def test_a_visit_ends_where_another_region_takes_over() -> None:
    engine = Engine()
    trials = Trials(engine)
    trials.add(spot())
    trials.enter(PC + HEAD, 0)
    engine.compiled = True
    trials.step(PC + HEAD, 2)
    assert not trials.following


def test_records_of_an_older_trial_are_forgotten_when_the_vcpu_comes_there() -> None:
    engine = Engine()
    trials = Trials(engine)
    engine.watched.add((PAGE, HEAD))
    trials.enter(PC + HEAD, 0)
    assert engine.watched == set()
    assert not trials.following


def test_a_page_that_is_not_known_at_the_moment_is_not_touched() -> None:
    engine = Engine()
    trials = Trials(engine)
    trials.add(spot())
    watched = set(engine.watched)
    engine.compiled = True
    trials.enter(PC + HEAD, 0)
    assert engine.watched == watched
    assert not trials.following


def test_nothing_is_followed_any_more_when_code_pages_are_gone() -> None:
    engine = Engine()
    trials = Trials(engine)
    trials.add(spot())
    trials.enter(PC + HEAD, 0)
    trials.clear()
    assert not engine.following
    assert not trials.following
    trials.look()
    assert engine.judged == []
