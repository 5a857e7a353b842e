"""Regions on trial: before one is compiled it is seen how long control would stay in it.

The records of its entries lead to `region_entered`, as they would lead into the region: the vCPU
runs at full speed until it comes there. Then they lead nowhere, and it goes on from taken jump to
taken jump, each a boundary that there is anyway, until it is where the region would have been left.
That takes a millisecond or two. One trial at a time for an engine; on the vCPU's thread.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.engine.jit.visits import Visits

if TYPE_CHECKING:
    from lamina.engine.jit.hotspots import Spot

PATIENCE = 0.3  # seconds until a region that is hardly visited is judged all the same


class Court(Protocol):
    """What trials ask of an engine."""

    def watch(self, page: int, offset: int, on: bool) -> None:
        """Lead the record there of a code page to `region_entered`, unless it leads into a region;
        or no more, if it does."""

    def renew(self, page: int) -> None:
        """Have a code page decoded anew."""

    def follow(self, on: bool) -> None:
        """Whether a visit is followed: no baseline code is made of its pieces."""

    def page_at(self, pc: int) -> int:
        """The code page of an address, if control there is in no compiled region; else 0."""

    def judge(self, spot: "Spot", length: float) -> None:
        """A trial is over: the mean length of visits."""


@dataclass(slots=True)
class _Trial:
    spot: "Spot"
    visits: Visits
    end: float  # by time.monotonic()


class Trials:
    """The trials of one engine."""

    def __init__(self, court: Court) -> None:
        self._court = court
        self._waiting: deque[Spot] = deque()
        self._trial: _Trial | None = None
        self._first = 0  # in this visit, the guest page number of the region's page 0
        self._at = 0, 0  # where what is to be followed began: the pc, the retired instructions

    @property
    def following(self) -> bool:
        """Whether the vCPU is to stop at the next taken jump, and be looked at."""
        return self._trial is not None and self._trial.visits.inside

    def add(self, spot: "Spot") -> None:
        """One more region, when those before it are done."""
        self._waiting.append(spot)
        self.look()

    def clear(self) -> None:
        """All code pages are gone."""
        self._waiting.clear()
        if self.following:
            self._court.follow(False)
        self._trial = None

    def look(self) -> None:
        """Between visits: end a trial that has lasted long enough, and begin the next one."""
        if self.following:
            return
        trial = self._trial
        if trial is not None and (trial.visits.enough or time.monotonic() >= trial.end):
            self._watch(False)
            for page in trial.spot.covers:
                self._court.renew(page)
            self._trial = None
            self._court.judge(trial.spot, trial.visits.length)
        if self._trial is None and self._waiting:
            spot = self._waiting.popleft()
            assert spot.region is not None
            self._trial = _Trial(spot, Visits(spot.region), time.monotonic() + PATIENCE)
            for page in spot.covers:
                self._court.renew(page)
            self._watch(True)

    def enter(self, pc: int, count: int) -> None:
        """The vCPU has come to `region_entered`, after so many instructions in all."""
        page = self._court.page_at(pc)
        if page == 0:  # out of the fetch TLB by now: the vCPU will come here again
            return
        numbers = [] if self._trial is None else self._numbers(self._trial.spot, page, pc)
        if self._trial is None or not numbers:
            self._court.watch(page, pc % PAGE_SIZE, False)  # what led there is no entry any more
            return
        self._first = (pc >> PAGE_SHIFT) - numbers[0]
        self._at = pc, count
        self._trial.visits.begin()
        self._watch(False)
        self._court.follow(True)

    def step(self, pc: int, count: int) -> None:
        """During a visit: the vCPU has come to a pc, after so many instructions in all."""
        trial, (was, before) = self._trial, self._at
        assert trial is not None
        trial.visits.follow(self._offset(was), count - before)
        page = trial.spot.pages.get((pc >> PAGE_SHIFT) - self._first)
        if page is None or page != self._court.page_at(pc):
            trial.visits.leave()
        self._at = pc, count
        if not trial.visits.inside or trial.visits.is_long:
            self.leave()

    def leave(self) -> None:
        """A visit is over, or is not followed any further."""
        assert self._trial is not None
        self._trial.visits.leave()
        self._court.follow(False)
        self._watch(True)
        self.look()

    def _offset(self, pc: int) -> int:
        return pc - (self._first << PAGE_SHIFT)

    def _watch(self, on: bool) -> None:
        assert self._trial is not None
        spot = self._trial.spot
        assert spot.region is not None
        for offset in spot.region.entries:
            self._court.watch(spot.pages[offset >> PAGE_SHIFT], offset % PAGE_SIZE, on)

    def _numbers(self, spot: "Spot", page: int, pc: int) -> list[int]:
        """The region's pages, by their numbers, that a code page is and that have an entry there:
        one, unless it has a page twice."""
        assert spot.region is not None
        entries = spot.region.entries
        known = (n for n, other in spot.pages.items() if other == page)
        return [n for n in known if (n << PAGE_SHIFT) + pc % PAGE_SIZE in entries]
