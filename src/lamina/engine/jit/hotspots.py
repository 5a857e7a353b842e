"""Deciding what is worth compiling: samples of where a vCPU is, and the regions around them.

A place is looked at when it was seen a few times. Then what its pages' records remember of which
code ran is forgotten, so that only what runs in the next milliseconds is taken into the region. The
region is compiled if what was seen of it has cost twice what its compilation will, and more where
control does not stay in it for long (`visits`). One object for
an engine; on the vCPU's thread.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.engine.jit.library import About
from lamina.engine.jit.outline import OutlineDecoder, Step
from lamina.engine.jit.region import (
    MAX_LENGTH,
    PageView,
    Region,
    form_region,
    instruction_at,
    instructions_at,
    settled,
)
from lamina.engine.jit.visits import STAYS, gain
from lamina.engine.threaded.sampler import SECONDS_A_SAMPLE

WORTH = 2.0
FIRST_LOOK = 3  # samples
RECURRING = 2  # samples that one in an earlier run counts for: what comes back will come again
SMALL = 30  # instructions: no region is worth a look before one of these would be compiled
OLD_ENOUGH, TOO_OLD = 4, 1000  # times SECONDS_A_SAMPLE since a page's records were forgotten
REFUSED = 4  # times as hot: when a region that was not worth it is looked at again, at the latest
NEVER = 1 << 30
SHORTEST = 32  # instructions of a region that has no loop
MAX_CALLS = 4096  # of which the bytes are remembered
MAX_STEPS = 200  # pages of which the instructions are remembered
MAX_CALLED = 8  # places that a call by a pointer is remembered to go to


def samples_worth(seconds: float) -> float:
    """How many samples justify so many seconds of compiling."""
    return WORTH * seconds / SECONDS_A_SAMPLE


PageOf = Callable[[int], int]  # the address of a code page by its guest page number; 0: unknown


def is_worth_entering(region: Region[Step]) -> bool:
    """Whether a region gains more than it costs to come into it and out again, which takes as long
    as some ten instructions of baseline code."""
    return region.loops or len(region.members) >= SHORTEST


@dataclass(eq=False, slots=True)
class Spot:
    """A region to be compiled, and the code pages that it was made from, by distance. `heat`: the
    samples of its instructions so far; `done`: it is compiled, or will never be; `again`: so many
    samples have it looked at again, as it was not worth compiling; `takes_over`: from one that was
    good enough, but left in its middle. `covers`: which half-words of each code page begin its
    instructions, as bits."""

    region: Region[Step] | None  # None when it is done
    pages: dict[int, int]
    heat: int
    done: bool = False
    again: int = NEVER
    takes_over: bool = False
    covers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.region is not None
        for offset in self.region.members:
            page = self.pages[offset >> PAGE_SHIFT]
            self.covers[page] = self.covers.get(page, 0) | 1 << offset % PAGE_SIZE // 2

    def finish(self) -> None:
        """It is compiled, or will never be."""
        self.done, self.region = True, None


class HotSpots:
    """Counts samples by code page and offset."""

    def __init__(
        self,
        decoder: OutlineDecoder,
        view: Callable[[int], PageView],
        forget: Callable[[int], None],
        cost: Callable[[int], float],
        eager: bool,
        before: Callable[[int, int], int] = lambda page, offset: 0,
    ) -> None:
        self._decoder = decoder
        self._view = view
        self._forget = forget  # decode a code page anew: which of its code ran is not known then
        self._before = before  # samples of a code page at an offset in earlier runs
        self._cost = cost  # seconds to compile so many instructions
        self._forgotten: dict[int, int] = {}  # when, by page
        self._now = 0  # counts samples by their weights
        self._eager = eager
        self._seen: dict[tuple[int, int], int] = {}
        self._due: dict[tuple[int, int], int] = {}  # the count at which to look
        self._wait: dict[tuple[int, int], int] = {}  # not before that sample
        self._spots: dict[int, list[Spot]] = {}  # by code page
        # Where calls by a pointer went, by the code page and offset of the call: the code page, its
        # distance in guest pages, the offset.
        self._called: dict[tuple[int, int], dict[tuple[int, int, int], None]] = {}
        self._steps: dict[bytes, dict[int, Step | None]] = {}  # by a page's bytes
        self._calls: dict[bytes, Step | None] = {}  # the call that some bytes end with

    def clear(self) -> None:
        """All code pages are gone."""
        self._seen.clear()
        self._due.clear()
        self._wait.clear()
        self._spots.clear()
        self._forgotten.clear()
        self._called.clear()

    def note_call(self, pc: int, back: int, page_of: PageOf) -> None:
        """The vCPU was seen at an address, with another in a register for return addresses: if a
        call by a pointer lies before that, it may have gone here."""
        number = (back - 1) >> PAGE_SHIFT
        here, page = page_of(pc >> PAGE_SHIFT), page_of(number)
        if not here or not page or pc == back:  # which is a return
            return
        found = self._call_before(page, back)
        if found is not None and found[1].computed:
            known = self._called.setdefault((page, found[0]), {})
            if len(known) < MAX_CALLED:
                known[here, (pc >> PAGE_SHIFT) - number, pc % PAGE_SIZE] = None

    def returned_from(self, back: int, page_of: PageOf) -> int | None:
        """The function that has returned to an address, if it is known where the call before that
        goes. A vCPU is seen at the next taken jump, so the time before was this function's."""
        number = (back - 1) >> PAGE_SHIFT
        page = page_of(number)
        found = self._call_before(page, back) if page else None
        if found is None:
            return None
        offset, call = found
        if call.target is not None:
            return (number << PAGE_SHIFT) + offset + call.target
        called = self._called.get((page, offset), {})
        if len(called) != 1:
            return None
        ((_, distance, where),) = called
        return (number + distance << PAGE_SHIFT) + where

    def _call_before(self, page: int, back: int) -> tuple[int, Step] | None:
        """The call that ends at an address, in a code page, and its offset."""
        if back % 2:
            return None
        end = back % PAGE_SIZE or PAGE_SIZE
        before = self._view(page).source[max(0, end - 2 * MAX_LENGTH) : end]
        if before not in self._calls:
            if len(self._calls) >= MAX_CALLS:
                self._calls.clear()
            self._calls[before] = _last_call(self._decoder, before)
        found = self._calls[before]
        return None if found is None else (end - found.length, found)

    def sample(
        self,
        pc: int,
        page_of: PageOf,
        weight: int = 1,
        middle: bool = False,
    ) -> Spot | None:
        """Count a sample at a guest-virtual address that no region begins at; the region to
        compile, if it is time. `weight`: it stands for so many times SECONDS_A_SAMPLE;
        `middle`: a region was left to there in its middle."""
        first, offset = pc >> PAGE_SHIFT, pc % PAGE_SIZE
        page = page_of(first)
        if page == 0:
            return None
        key = (page, offset)
        covering = self._covering(page, offset)
        count = self._samples(page, offset) + weight
        self._seen[key] = count
        if covering is not None and not covering.done:
            covering.heat += weight
            if covering.heat < covering.again:
                return None
            self._drop(covering)
            covering = None
        self._now += weight
        if not self._eager:
            least = max(FIRST_LOOK, int(samples_worth(self._cost(SMALL))))
            if count < self._due.get(key, least) or self._now < self._wait.get(key, 0):
                return None
        pages: dict[int, int] = {}

        def find(number: int) -> PageView | None:
            page = pages[number] = page_of(first + number)
            if not page:
                return None
            view = self._view(page)
            if len(self._steps) >= MAX_STEPS:
                self._steps.clear()
            return replace(view, steps=self._steps.setdefault(view.source, {}))

        def called(call: int) -> list[int]:
            at = first + (call >> PAGE_SHIFT)
            known = self._called.get((page_of(at), call % PAGE_SIZE), ())
            return [
                (call >> PAGE_SHIFT) + distance << PAGE_SHIFT | where
                for target, distance, where in known
                if page_of(at + distance) == target
            ]

        region = form_region(self._decoder, find, offset, called)
        if region is None:
            self._due[key] = NEVER
            return None
        head = None if middle or self._eager else region.head()
        if head is not None:  # it is the same loop from there, and one entry less
            begun, first, pages = pages, first + (head >> PAGE_SHIFT), {}
            whole = form_region(self._decoder, find, head % PAGE_SIZE, called)
            if whole is not None and offset - (head & -PAGE_SIZE) in whole.members:
                region = whole
            else:
                first, pages = pc >> PAGE_SHIFT, begun
        places = [(pages[o >> PAGE_SHIFT], o % PAGE_SIZE) for o in region.members]
        if not (self._eager or is_worth_entering(region)):
            self._due.update(dict.fromkeys(places, NEVER))
            return None
        samples = [self._samples(*place) for place in places]
        heat = sum(samples)
        if not self._eager:
            wanted = samples_worth(self._cost(len(region.members)))
            if heat < wanted:
                times = max(2.0, wanted / max(heat, 1))  # it may owe some
                self._put_off(places, samples, times)
                self._due[key] = int(count * times)
                return None
            if not self._fresh([pages[n] for n in region.pages]):
                self._wait.update(dict.fromkeys(places, self._now + OLD_ENOUGH))
                return None
        if region.cut is not None and (rest := pages.get(region.cut >> PAGE_SHIFT)):
            # No jump leads there but the region's own end: it is as hot as the region.
            key_rest = (rest, region.cut % PAGE_SIZE)
            self._seen[key_rest] = self._seen.get(key_rest, 0) + heat
        self._due[key] = 8 * count  # in case that it gets lost with its page
        # Where a region was left in its middle, what takes over is all of it again: control would
        # go from one to the other at each entry.
        takes_over = covering is not None or middle
        pages = {n: pages[n] for n in {o >> PAGE_SHIFT for o in region.members} | {*region.pages}}
        spot = Spot(region, pages, heat, takes_over=takes_over)
        for covered in spot.covers:
            self._spots.setdefault(covered, []).append(spot)
        return spot

    def steps_of(self, about: About, pages: dict[int, int]) -> dict[int, Step]:
        """The instructions of a region, from code pages by distance; none, if one is missing."""
        return self._steps_in(about, self._sources(pages))

    def again(self, about: About, pages: dict[int, int], heat: int) -> Spot | None:
        """What is described as a region, from code pages by distance, to be compiled."""
        sources = self._sources(pages)
        steps = self._steps_in(about, sources)
        if not steps:
            return None
        region = Region(steps, about.entries, sources, about.grouped, about.stays)
        region.jumps, region.scattered = about.jumps, about.scattered
        return Spot(region, pages, heat)

    def _sources(self, pages: dict[int, int]) -> dict[int, bytes]:
        return {number: self._view(page).source for number, page in pages.items()}

    def _steps_in(self, about: About, sources: dict[int, bytes]) -> dict[int, Step]:
        decode: Callable[[int, int], Step | None] = self._decoder.decode
        length = self._decoder.arch.insn_length
        steps = instructions_at(decode, length, sources.get, about.members)
        return steps if len(steps) == len(about.members) else {}

    def _put_off(self, places: list[tuple[int, int]], samples: list[int], times: float) -> None:
        """The region that begins at any of these is about the same: to form it takes as long as
        runs between two samples."""
        for place, seen in zip(places, samples, strict=True):
            due = int(max(FIRST_LOOK, seen) * times)
            self._due[place] = max(due, self._due.get(place, 0))

    def is_worth(self, spot: Spot, length: float) -> bool:
        """Whether a region whose visits have so many instructions pays for its compiling. It is
        compiled for visits that long."""
        assert spot.region is not None
        spot.region.stays = length >= STAYS
        return spot.heat * gain(length) >= self._wanted(spot)

    def refuse(self, spot: Spot, length: float) -> Iterator[tuple[int, int, int]]:
        """A region is not worth it, until it is hotter: the places of its samples, as code pages
        and offsets, and how many more each has to have in a later run."""
        part = gain(length)
        enough = self._wanted(spot) / part if part > 0 else REFUSED * spot.heat
        spot.again = int(min(enough, REFUSED * spot.heat)) + 1
        more = spot.again / max(spot.heat, 1) - 1
        assert spot.region is not None
        for member in spot.region.members:
            place = spot.pages[member >> PAGE_SHIFT], member % PAGE_SIZE
            samples = self._samples(*place)
            if samples > 0:
                yield *place, int(more * samples)

    def is_refused(self, page: int, offset: int) -> bool:
        """Whether a place belongs to a region that is not worth it."""
        covering = self._covering(page, offset)
        return covering is not None and covering.again < NEVER

    def _wanted(self, spot: Spot) -> float:
        assert spot.region is not None
        return samples_worth(self._cost(len(spot.region.members)))

    def _drop(self, spot: Spot) -> None:
        """Its places are looked at anew."""
        for page in spot.covers:
            self._spots[page].remove(spot)

    def _samples(self, page: int, offset: int) -> int:
        """Of a place, in this run and in earlier ones."""
        known = self._seen.get((page, offset))
        if known is not None:
            return known
        before = self._before(page, offset)
        return RECURRING * before if before > 0 else before

    def _covering(self, page: int, offset: int) -> Spot | None:
        """The newest spot whose region holds the instruction there."""
        for spot in reversed(self._spots.get(page, ())):
            if spot.covers[page] >> offset // 2 & 1:
                return spot
        return None

    def _fresh(self, pages: list[int]) -> bool:
        """Whether the records of all pages tell of the last milliseconds; if not, they will."""
        ages = []
        for page in pages:
            age = self._now - self._forgotten.get(page, -TOO_OLD)
            if age >= TOO_OLD:
                self._forget(page)
                self._forgotten[page] = self._now
                age = 0
            ages.append(age)
        return min(ages) >= OLD_ENOUGH


def _last_call(decoder: OutlineDecoder, code: bytes) -> Step | None:
    """The call that some bytes end with."""

    def at(offset: int) -> Step | None:
        if offset < 0:
            return None
        return instruction_at(decoder.decode, decoder.arch.insn_length, {0: code}.get, offset)

    for offset in range(len(code) - 2, max(0, len(code) - MAX_LENGTH) - 1, -2):
        m = at(offset)
        if m is not None and offset + m.length == len(code) and m.links:
            return settled(offset, m, at)
    return None
