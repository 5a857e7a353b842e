"""Regions in two forms, and which of them control is led into.

Where neighbouring accesses share a check (`groups`), a region is compiled for the case that they
lie in one page, or in two that follow each other in the host. Where they do not, as in one run of a
program in thirty, whose frame chance has put over the end of a page, it is left in its middle each
time that control comes there. If that is seen often, its *twin* with pairs is compiled of the same
instructions and led into; and the first form again, once the twin finds no group that is apart.
"""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lamina.engine.jit.library import About, Compiled, RegionLibrary

OFTEN = 2  # samples behind a region that was left in its middle: its twin is led into


class Home(Protocol):
    """What twins ask of an engine."""

    @property
    def library(self) -> "RegionLibrary": ...

    def left_from(self) -> tuple[int, int]:
        """The address of the region that was left last because a check failed that accesses share,
        if no region was entered since, else 0; and the guest page number of its page 0."""

    def found_apart(self) -> bool:
        """Whether a region with pairs has found a group in two pages since this was asked last."""

    def region_here(self) -> "tuple[Compiled, int] | None":
        """The region that the vCPU is about to enter, and the guest page number of its page 0."""

    def worth(self, region: "Compiled") -> float:
        """How many samples justify compiling it once more."""

    def lead_into(self, region: "Compiled", first: int) -> None:
        """Lead its entries' records into a region that has its page 0 there."""

    def compile_as(self, about: "About", first: int, heat: int) -> None:
        """Have another form of a region compiled."""


class Twins:
    """Decides for one engine."""

    def __init__(self, home: Home) -> None:
        self._home = home
        # Samples for which the other form would have been right, by the address of the region.
        self._wrong: Counter[int] = Counter()
        self._asked: set[int] = set()

    def clear(self) -> None:
        """All regions were given up."""
        self._wrong.clear()
        self._asked.clear()

    def look(self, weight: int) -> bool:
        """At a sample that stands for so many; True if it says nothing but this: the time was that
        of the rest of a region that was left in its middle."""
        apart = self._home.found_apart()
        address, first = self._home.left_from()
        region = self._home.library.by_address.get(address)
        if region is not None and region.grouped:
            self._change(region, first, weight, OFTEN)
            return True
        here = None if apart else self._home.region_here()
        if here is not None and not here[0].grouped:
            self._change(*here, weight, 1)
        return False

    def _change(self, region: "Compiled", first: int, weight: int, least: int) -> None:
        """The other form of a region would have been right: lead into it, after `least` samples of
        that kind; or have it compiled, when they are worth it."""
        self._wrong[region.address] += weight
        count, twin = self._wrong[region.address], self._home.library.twin(region)
        if twin is not None:
            if count >= least:
                self._wrong[region.address] = 0
                self._home.lead_into(twin, first)
        elif region.address not in self._asked and count >= self._home.worth(region):
            self._asked.add(region.address)
            about = replace(region.about, grouped=not region.grouped)
            self._home.compile_as(about, first, count)
