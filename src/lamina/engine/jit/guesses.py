"""Accesses in small loops whose page is another one each time, and loops without guesses.

There an access first compares its page with the one that was found last (`access_writer`). Where
the address comes out of data, as in a hash table, that guess is wrong most of the time, which costs
as much as ten instructions. Regions count wrong guesses, on the way that is slow anyway, in
`GUESSES` words of the vCPU. If they cost more than compiling the region once more, that is done,
without guesses for these accesses.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from lamina.engine.threaded.layout import GUESSES

if TYPE_CHECKING:
    from lamina.engine.jit.library import About, Compiled
    from lamina.engine.jit.outline import Step

COST = 12  # instructions that run in the time of a wrong guess
LEAST = 0.05  # of the time: below that nothing is counted
SHARE = 0.08  # of a region's wrong guesses: an access that has so many does without


def guess_numbers(members: Mapping[int, "Step"]) -> dict[int, int]:
    """Which word counts for which instruction that accesses memory, by offset: each its own, as
    long as there are words."""
    places = [offset for offset in sorted(members) if members[offset].touches]
    return {offset: i % GUESSES for i, offset in enumerate(places)}


class Home(Protocol):
    """What guesses ask of an engine."""

    def wrong_guesses(self) -> tuple[int, Sequence[int], int]:
        """Since this was asked last: the region that guessed wrong last, by address, how often each
        word of GUESSES was counted, and the instructions that were retired."""

    def region_here(self) -> "tuple[Compiled, int] | None":
        """The region that the vCPU is about to enter, and the guest page number of its page 0."""

    def worth(self, region: "Compiled") -> float:
        """How many samples justify compiling it once more."""

    def members_of(self, region: "Compiled", first: int) -> "Mapping[int, Step]":
        """Its instructions by offset; none, if other code lies there by now."""

    def compile_as(self, about: "About", first: int, heat: int) -> None:
        """Have another form of a region compiled."""


@dataclass(slots=True)
class _Seen:
    counts: Counter[int] = field(default_factory=Counter)
    lost: float = 0.0  # samples


class Guesses:
    """Looks at one engine's wrong guesses."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._seen: dict[int, _Seen] = {}  # by the region's address
        self._asked: set[int] = set()

    def clear(self) -> None:
        """All regions were given up."""
        self._seen.clear()
        self._asked.clear()

    def look(self, weight: int) -> None:
        """At a sample that stands for so many."""
        address, counts, instructions = self._home.wrong_guesses()
        lost = COST * sum(counts) / max(1, instructions + COST * sum(counts))
        here = self._home.region_here() if lost >= LEAST else None
        if here is None or here[0].address != address or address in self._asked:
            return
        seen = self._seen.setdefault(address, _Seen())
        seen.counts.update(dict(enumerate(counts)))
        seen.lost += weight * lost
        if seen.lost >= self._home.worth(here[0]):
            self._asked.add(address)
            self._again(*here, self._seen.pop(address))

    def _again(self, region: "Compiled", first: int, seen: _Seen) -> None:
        numbers = guess_numbers(self._home.members_of(region, first))
        known = region.about.scattered
        more = tuple(sorted({*known, *scattered(numbers, seen.counts)}))
        if more != known:
            about = replace(region.about, scattered=more)
            self._home.compile_as(about, first, int(seen.lost) + 1)


def scattered(numbers: Mapping[int, int], counts: Mapping[int, int]) -> list[int]:
    """The offsets of accesses that guess wrong often."""
    least = SHARE * sum(counts.values())
    return [offset for offset, number in numbers.items() if counts.get(number, 0) > least]
