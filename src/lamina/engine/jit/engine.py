"""The optimising engine: the threaded engine, with compiled regions where the guest is hot.

A sampler thread asks running vCPUs where they are, up to 250 times a second; what is seen often
is compiled in the background (`service`), and its records then lead into the compiled region.
Nothing else changes: regions are entered by a record and leave to one, and vanish with their page.
Before a region is compiled it stands a trial (`trial`): control has to stay in it for long enough.
"""

import ctypes
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE, U64
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.statistics import EngineStatistics
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.engine.threaded.layout import (
    CODE_PAGE,
    CONTENT_OFFSET,
    GUESSES,
    PAGE_RECORDS,
    RECORD,
)
from lamina.engine.threaded.sampler import SAMPLER, RegionSeen
from lamina.engine.vcpu import REQUEST_SAMPLE, VCpu
from lamina.isa.arch import Arch

if TYPE_CHECKING:  # what regions need is imported at the first sample: no boot waits for it
    from lamina.engine.jit.forms import Forms
    from lamina.engine.jit.hotspots import HotSpots, Spot
    from lamina.engine.jit.library import About, Compiled, RegionLibrary
    from lamina.engine.jit.outline import Step
    from lamina.engine.jit.region import PageView
    from lamina.engine.jit.service import CompilerService
    from lamina.engine.jit.trial import Trials

MAX_REWRITTEN = 16  # times that the code of a page may change and be looked at again at once,
REWRITTEN_SECONDS = 2.0  # and how often after that


class JitEngine(ThreadedEngine):
    """Runs one vCPU in the RAM and devices of `space`."""

    name = "jit"
    sampled = True
    eager = False

    def __init__(
        self,
        arch: Arch,
        index: int,
        space: AddressSpace,
        on_notify: Callable[[str, int], None] = lambda event, value: None,
    ) -> None:
        self._generation = 0  # counts how often the code pages went
        self._rewritten: dict[int, tuple[int, float]] = {}  # code pages: how often, when last
        self._again = False  # the last sample found no code page
        self._sample_seconds = 0.0
        self._tiers: Counter[str] = Counter()  # samples, by what the record there leads to
        self._alone = False  # until it is known to be
        self._retired = 0  # instructions, when wrong guesses were looked at last
        self._service: CompilerService | None = None  # from the first sample on
        super().__init__(arch, index, space, on_notify)
        self._ready: deque[tuple[Spot, Compiled, int]] = deque()  # with its generation
        self._known_pages = 0  # up to this address pages were looked at
        self._decode = self._runtime.decode_address()
        self._entered_at = self._runtime.address("region_entered")
        self._templates = 0  # what was in that word before a visit was followed
        self._arena_words = self._arena_bytes.cast("i")

    @property
    def _compiler(self) -> "CompilerService":
        """What compiles its regions, and knows those that are compiled."""
        if self._service is None:
            from lamina.engine.jit.service import compiler_service

            service = compiler_service(self.arch, self._alone)
            self._regions_of = service.library.generation  # before others see that there is one
            self._service = service
        return self._service

    @cached_property
    def _spots(self) -> "HotSpots":
        from lamina.engine.jit.hotspots import HotSpots

        compiler = self._compiler
        return HotSpots(
            compiler.decoder, self._view, self._forget, compiler.cost, self.eager, self._before
        )

    @cached_property
    def _trials(self) -> "Trials":
        from lamina.engine.jit.trial import Trials

        return Trials(self)

    @cached_property
    def _forms(self) -> "Forms":
        from lamina.engine.jit.forms import Forms

        return Forms(self)

    def set_peers(self, vcpus: list[VCpu]) -> None:
        super().set_peers(vcpus)
        self._alone = len(vcpus) == 1

    def run(self, budget: int) -> Exit:
        self.running = True  # before it is looked at what is given up
        if self._service is not None:
            self._leave_old_regions()
            if self._trials.following:  # state may have been changed from outside
                self._trials.leave()
        return super().run(budget)

    def close(self) -> None:
        if self._service is not None:
            self._service.heat.save()
        self._arena_words.release()
        super().close()

    def _empty_arena(self) -> None:
        self._generation += 1
        self._known_pages = 0
        self._rewritten.clear()
        if self._service is not None:
            self._spots.clear()
            self._trials.clear()
            self._forms.clear()
        super()._empty_arena()

    def statistics(self) -> EngineStatistics:
        """The threaded engine's, with samples and regions."""
        return replace(
            super().statistics(),
            threaded_samples=self._tiers["threaded"],
            baseline_samples=self._tiers["baseline"],
            compiled_samples=self._tiers["region"],
            sample_seconds=self._sample_seconds,
            regions=self._compiler.statistics(),
        )

    @property
    def overdue(self) -> bool:
        """Its records lead into regions that were given up, and are freed once it leaves them."""
        return self._service is not None and self._regions_of != self._compiler.library.generation

    def sample(self) -> None:
        """Link in what has been compiled; look at where the guest is."""
        begun = time.perf_counter()
        pc = self._spent_at()
        if self.asked:
            self._tiers[self._tier_at(pc)] += SAMPLER.weight
        self._sample(pc)
        took = time.perf_counter() - begun
        self._sample_seconds += took
        SAMPLER.took(took)

    def _sample(self, pc: int) -> None:
        self._leave_old_regions()
        self.link_ready()
        self._compiler.look_again()
        self._look_at_new_pages()
        self._trials.look()
        if not self.eager and self._forms.look(SAMPLER.weight):
            SAMPLER.note(True)
            return
        page = self._page_of(pc >> PAGE_SHIFT)
        linked = page == 0 or self._is_linked(page, pc % PAGE_SIZE)
        if linked:
            SAMPLER.note(False)
            if page == 0 and not self._again:  # not in the fetch TLB: look at what runs next
                self.vcpu.request(REQUEST_SAMPLE)
            self._again = page == 0
            return
        self._again = False
        if self._content(page) == 0:
            if not self._settled(page):
                return
            self._identify(page)
            if self._is_linked(page, pc % PAGE_SIZE):
                return
        to, middle = self._left()
        left, library = to == pc, self._compiler.library
        if left and not middle and library.comes_back(self._content(page), pc % PAGE_SIZE):
            SAMPLER.note(False)  # it is inside of a region, which was left for the sample
            return
        spot = self._spots.sample(pc, self._page_of, SAMPLER.weight, left and middle)
        SAMPLER.note(spot is not None)
        if not self.eager and not self._spots.is_refused(page, pc % PAGE_SIZE):
            self._compiler.heat.add(self._digest(page), pc % PAGE_SIZE, SAMPLER.weight)
        if spot is None or spot.region is None:
            return
        if spot.takes_over:
            region = spot.region
            start = region.entries[0]
            content = self._content(spot.pages[start >> PAGE_SHIFT])
            stays = self._compiler.library.inside(content, stays=True)
            region.stays = stays >> start % PAGE_SIZE // 2 & 1 != 0
        if self.eager or spot.takes_over:
            self._submit(spot)
        else:
            self._trials.add(spot)

    def _spent_at(self) -> int:
        """The guest-virtual address of the code that a sample's time goes to, as far as that is
        not compiled: where the vCPU is; or, if it has just come back from a call, the function that
        was called; or what has run since the last region was left."""
        pc = self.vcpu.pc
        for file, index in self.arch.link_registers:
            back = self.vcpu.reg(file, index)
            self._spots.note_call(pc, back, self._page_of)
            called = self._spots.returned_from(back, self._page_of) if pc == back else None
            if called is not None and self._is_to_be_compiled(called):
                return called
        left, _ = self._left()
        if left and self._leads_into_region(pc) and self._is_to_be_compiled(left):
            return left
        return pc

    def _left(self) -> tuple[int, bool]:
        """Where a region was left to since the last one was entered, and whether in its middle:
        where a rare case came up, or a check that accesses share failed."""
        left = int(self.vcpu.words[self.layout.at["left_to"] // 8])
        return left & -2, left & 1 != 0

    def _leads_into_region(self, pc: int) -> bool:
        page = self._page_of(pc >> PAGE_SHIFT)
        return page != 0 and self._is_linked(page, pc % PAGE_SIZE)

    def _is_to_be_compiled(self, pc: int) -> bool:
        """Whether the code there is known, and in no region yet."""
        return self._page_of(pc >> PAGE_SHIFT) != 0 and not self._leads_into_region(pc)

    def _settled(self, page: int) -> bool:
        """Whether a page whose bytes are new is worth a look: if it changes all the time, compiling
        would not come to an end."""
        times, last = self._rewritten.get(page, (0, 0.0))
        now = time.monotonic()
        if times >= MAX_REWRITTEN and now - last < REWRITTEN_SECONDS:
            return False
        self._rewritten[page] = (times + 1, now)
        return True

    def link_ready(self) -> None:
        """Lead records into the regions that are compiled."""
        while self._ready:
            spot, compiled, generation = self._ready.popleft()
            if (generation, compiled.generation) != (self._generation, self._regions_of):
                continue
            for page in spot.pages.values():
                content = self._content(page)
                if content == 0:
                    self._identify(page)
                else:
                    self._lead(page, content, compiled)

    def _digest(self, page: int) -> str:
        return self._compiler.library.digest(self._content(page))

    def _before(self, page: int, offset: int) -> int:
        return self._compiler.heat.before(self._digest(page), offset)

    def _submit(self, spot: "Spot") -> None:
        generation = self._generation

        start = spot.region.entries[0] if spot.region is not None else 0
        digest = self._digest(spot.pages[start >> PAGE_SHIFT])

        def done(compiled: "Compiled | None") -> None:
            spot.finish()
            if compiled is not None:
                self._compiler.heat.drop(digest, start % PAGE_SIZE)
                self._ready.append((spot, compiled, generation))
                self.vcpu.request(REQUEST_SAMPLE)

        number = self._compiler.library.number
        assert spot.region is not None
        contents = {n: number(source) for n, source in spot.region.pages.items()}
        if 0 in contents.values():
            done(None)
        else:
            self._compiler.submit(spot, contents, done)

    def _leave_old_regions(self) -> None:
        """If all regions were given up, lead no record into them any more; the last of the running
        vCPUs to do so frees them."""
        library = self._compiler.library
        generation = library.generation
        if self._regions_of == generation:
            return
        end = self.vcpu.words[self.layout.at["arena_next"] // 8]
        for page in range(self._arena_start, end, CODE_PAGE):
            ctypes.memset(page, 0, PAGE_RECORDS * RECORD)
            ctypes.c_uint64.from_address(page + CONTENT_OFFSET).value = 0
        self._ready.clear()
        self._spots.clear()
        self._trials.clear()
        self._forms.clear()
        self._regions_of = generation
        mine = [e for e in SAMPLER.running() if isinstance(e, JitEngine)]
        others = (e._regions_of for e in mine if e._service is self._service)
        library.free(min(others, default=generation))

    # -- trials ----------------------------------------------------------------------------------
    def _entered(self) -> None:
        self._trials.enter(self.vcpu.pc, self.vcpu.icount)

    def _until_look(self, most: int) -> int:
        if self._service is None or not self._trials.following:
            return most
        self._trials.step(self.vcpu.pc, self.vcpu.icount)
        return 1 if self._trials.following else most  # one: until the next taken jump

    def watch(self, page: int, offset: int, on: bool) -> None:
        """For `trial`, as what follows."""
        record = ctypes.c_int32.from_address(page + offset // 2 * RECORD)
        entered = self._entered_at - self._decode
        if on and not self._is_linked(page, offset):
            record.value = entered
        elif not on and record.value == entered:
            record.value = 0

    def renew(self, page: int) -> None:
        """Baseline code of the page would not look at records in its middle; and what ran during
        a trial is not what runs when the region is there."""
        self._forget(page)

    def follow(self, on: bool) -> None:
        """Baseline code of what lies between two looks would be in pieces."""
        at = self.layout.at["templates"] // 8
        if on:
            self._templates = self.vcpu.words[at]
        self.vcpu.words[at] = 0 if on else self._templates

    def page_at(self, pc: int) -> int:
        """The code page there, 0 if control is in a region."""
        return 0 if self._leads_into_region(pc) else self._page_of(pc >> PAGE_SHIFT)

    def judge(self, spot: "Spot", length: float) -> None:
        """Have a region compiled if its visits are long enough for what it will cost."""
        if self._spots.is_worth(spot, length):
            self._submit(spot)
            return
        for page, offset, samples in self._spots.refuse(spot, length):
            self._compiler.heat.owe(self._digest(page), offset, samples)

    # -- linking ---------------------------------------------------------------------------------
    def _look_at_new_pages(self) -> None:
        """Lead code pages that were made since the last time into the regions that are known."""
        at = self._known_pages or self._arena_start
        end = self.vcpu.words[self.layout.at["arena_next"] // 8]
        while at < end:
            self._identify(at)
            at += CODE_PAGE
        self._known_pages = at

    def _identify(self, page: int) -> None:
        """Give a code page the number of its contents, and lead it into what is compiled of it."""
        library = self._compiler.library
        content = library.number(self._source(page))
        ctypes.c_uint64.from_address(page + CONTENT_OFFSET).value = content
        self._lead(page, content, *library.at(content))

    def _forget(self, page: int) -> None:
        """Decode a code page anew as it runs."""
        ctypes.memset(page, 0, PAGE_RECORDS * RECORD)
        self._identify(page)

    def _lead(self, page: int, content: int, *regions: "Compiled") -> None:
        """Lead the records of regions' entries in a page into them. Baseline code of the page may
        hold the same loops, and would not look at these records."""
        if regions:
            self._runtime.baseline_leave(self.vcpu.address, page)
        for compiled in regions:
            distance = compiled.address - self._decode
            for number, offset in compiled.entries_in(content):
                record = page + offset // 2 * RECORD
                ctypes.c_uint32.from_address(record + 8).value = number
                ctypes.c_int32.from_address(record).value = distance

    # -- code pages ------------------------------------------------------------------------------
    def _content(self, page: int) -> int:
        return ctypes.c_uint64.from_address(page + CONTENT_OFFSET).value

    def _view(self, page: int) -> "PageView":
        from lamina.engine.jit.region import PageView

        words, first = self._arena_words, (page - self._arena_start) // 4
        inside = self._compiler.library.inside(self._content(page))

        def ran(offset: int) -> bool:  # what is in a region already may leave no trace
            return words[first + offset * 2] != 0 or inside >> offset // 2 & 1 != 0

        return PageView(self._source(page), ran)

    def _is_linked(self, page: int, offset: int) -> bool:
        address = self._leads_to(page, offset)
        return not self._runtime.holds(address) and not self._is_baseline(address)

    def _leads_to(self, page: int, offset: int) -> int:
        """The address of the code that the record at an offset of a code page leads to."""
        first = (page - self._arena_start) // 4
        return int(self._decode + self._arena_words[first + offset * 2])

    def _tier_at(self, pc: int) -> str:
        """What runs at an address where a sample was taken: a region, baseline code, handlers."""
        if self._leads_into_region(pc):
            return "region"
        page, offset = self._page_of(pc >> PAGE_SHIFT), pc % PAGE_SIZE
        baseline = page and self._is_baseline(self._leads_to(page, offset))
        return "baseline" if baseline else "threaded"

    # -- other forms of regions -------------------------------------------------------------------
    @property
    def library(self) -> "RegionLibrary":
        """For `forms`, as what follows."""
        return self._compiler.library

    def left_from(self) -> tuple[int, int]:
        words, at = self.vcpu.words, self.layout.at
        middle = self._left()[1]
        address = int(words[at["left_from"] // 8]) if middle else 0
        return address, int(words[at["left_page"] // 8]) >> PAGE_SHIFT

    def found_apart(self) -> bool:
        at = self.layout.at["apart"] // 8
        found = int(self.vcpu.words[at])
        self.vcpu.words[at] = 0
        return found != 0

    def region_here(self) -> "tuple[Compiled, int] | None":
        found = self._compiled_at(self.vcpu.pc)
        return None if found is None else (found[0], found[1] >> PAGE_SHIFT)

    def worth(self, region: "Compiled") -> float:
        from lamina.engine.jit.hotspots import samples_worth

        return samples_worth(self._compiler.cost(len(region.about.members)))

    def lead_into(self, region: "Compiled", first: int) -> None:
        for number, content in region.contents.items():
            page = self._page_of(first + number)
            if page and self._content(page) == content:
                self._lead(page, content, region)

    def compile_as(self, about: "About", first: int, heat: int) -> None:
        pages = self._pages_of(about, first)
        spot = self._spots.again(about, pages, heat) if pages else None
        if spot is not None:
            self._submit(spot)

    def members_of(self, region: "Compiled", first: int) -> "dict[int, Step]":
        pages = self._pages_of(region.about, first)
        return self._spots.steps_of(region.about, pages) if pages else {}

    def wrong_guesses(self) -> tuple[int, list[int], int]:
        words, at = self.vcpu.words, self.layout.guesses // 8
        counts = words[at : at + GUESSES].tolist()
        if any(counts):
            words[at : at + GUESSES] = memoryview(bytes(8 * GUESSES)).cast("Q")
        retired = self.vcpu.icount - self._retired
        self._retired = self.vcpu.icount
        return int(words[self.layout.at["guessed_from"] // 8]), counts, retired

    def _pages_of(self, about: "About", first: int) -> dict[int, int]:
        """The code pages of a region, by distance; none, if other code lies there."""
        pages = {number: self._page_of(first + number) for number in about.pages}
        same = (page and self._digest(page) == about.pages[n] for n, page in pages.items())
        return pages if all(same) else {}

    def _compiled_at(self, pc: int) -> "tuple[Compiled, int] | None":
        """The region that begins at an address, and the address of its page 0."""
        page, offset = self._page_of(pc >> PAGE_SHIFT), pc % PAGE_SIZE
        if page == 0 or not self._is_linked(page, offset):
            return None
        first = (page - self._arena_start) // 4 + offset * 2
        region = self._compiler.library.by_address.get(self._decode + self._arena_words[first])
        if region is None:
            return None
        return region, pc - region.entries[self._arena_words[first + 2]] & U64

    def _region_at(self, pc: int) -> RegionSeen | None:
        found = self._compiled_at(pc)
        if found is None:
            return None
        region, first = found
        return RegionSeen(first + region.entries[0] & U64, region.code_bytes)
