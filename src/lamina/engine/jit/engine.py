"""The optimising engine: the threaded engine, with compiled regions where the guest is hot.

A sampler thread asks running vCPUs where they are, up to 1,000 times a second; what is seen often
is compiled in the background (`service`), and its records then lead into the compiled region.
Nothing else changes: regions are entered by a record and leave to one, and vanish with their page.
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from weakref import WeakSet

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE, U64
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.code.store import code_folder, code_store
from lamina.engine.jit.heat import Heat
from lamina.engine.jit.hotspots import SECONDS_A_SAMPLE, HotSpots, Spot
from lamina.engine.jit.library import Compiled, RegionLibrary
from lamina.engine.jit.region import PageView
from lamina.engine.jit.service import CompilerService
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.engine.threaded.layout import (
    CODE_PAGE,
    CONTENT_OFFSET,
    FETCH_ENTRY,
    PAGE_RECORDS,
    RECORD,
    SOURCE_OFFSET,
    TLB_ENTRIES,
)
from lamina.engine.threaded.runtime import code_version, runtime
from lamina.engine.vcpu import REQUEST_SAMPLE
from lamina.isa.arch import Arch

FEW, MANY = 4, 40  # useful samples that make them come more often, useless ones less often
MAX_WEIGHT = 16
MAX_REWRITTEN = 16  # times that the code of a page may change and be compiled again


@cache
def compiler(arch: Arch) -> CompilerService:
    """The process's compiler for an architecture."""
    store = code_store("regions")
    library = RegionLibrary(code_version(arch), runtime(arch).resolve, store)
    return CompilerService(arch, library, Heat(code_folder() / f"heat-{arch.name}"))


class Sampler:
    """Asks every running engine for a sample, again and again: the more often, the more of them
    find something to do."""

    def __init__(self) -> None:
        self._engines: WeakSet[JitEngine] = WeakSet()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the two above
        self.weight = 1  # the time between samples, in SECONDS_A_SAMPLE
        self._useful = self._useless = 0  # samples since the weight was changed

    def add(self, engine: "JitEngine") -> None:
        """From now on, until the engine is gone. Cheap if it is known already."""
        if engine in self._engines:
            return
        with self._lock:
            self._engines.add(engine)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="lamina-sampler", daemon=True
                )
                self._thread.start()

    def running(self) -> "list[JitEngine]":
        """The engines that run now."""
        with self._lock:
            return [engine for engine in self._engines if engine.running]

    def note(self, useful: bool) -> None:
        """Whether a sample found code that is not compiled. Called by all engines; a lost count
        does no harm."""
        if useful:
            self._useful += 1
        else:
            self._useless += 1
        if self._useful >= FEW:
            self.weight = max(1, self.weight // 2)
        elif self._useless >= MANY:
            self.weight = min(MAX_WEIGHT, self.weight * 2)
        else:
            return
        self._useful = self._useless = 0

    def _run(self) -> None:
        while True:
            time.sleep(self.weight * SECONDS_A_SAMPLE)
            with self._lock:
                engines = list(self._engines)
                if not engines:
                    self._thread = None
                    return
            for engine in engines:
                if engine.running:
                    engine.vcpu.request(REQUEST_SAMPLE)


SAMPLER = Sampler()


class JitEngine(ThreadedEngine):
    """Runs one vCPU in the RAM and devices of `space`."""

    name = "jit"
    eager = False

    def __init__(
        self,
        arch: Arch,
        index: int,
        space: AddressSpace,
        on_notify: Callable[[str, int], None] = lambda event, value: None,
    ) -> None:
        self.running = False
        self._generation = 0  # counts how often the code pages went
        self._rewritten: dict[int, int] = {}  # how often code pages were given a number
        self._compiler = compiler(arch)
        self._spots = HotSpots(
            self._compiler.decoder,
            self._view,
            self._forget,
            self._compiler.cost,
            self._before,
            self.eager,
        )
        super().__init__(arch, index, space, on_notify)
        self._ready: deque[tuple[Spot, Compiled, int]] = deque()  # with its generation
        self._regions_of = self._compiler.library.generation
        self._known_pages = 0  # up to this address pages were looked at
        self._decode = self._runtime.decode_address()
        self._arena_start = ctypes.addressof(self._arena_anchor)
        self._arena_bytes = memoryview(self._arena)
        self._arena_words = self._arena_bytes.cast("i")

    def run(self, budget: int) -> Exit:
        self.running = True
        SAMPLER.add(self)
        self._leave_old_regions()
        try:
            return super().run(budget)
        finally:
            self.running = False

    def close(self) -> None:
        self._arena_words.release()
        self._arena_bytes.release()
        super().close()

    def _empty_arena(self) -> None:
        self._generation += 1
        self._known_pages = 0
        self._rewritten.clear()
        self._spots.clear()
        super()._empty_arena()

    def sample(self) -> None:
        """Link in what has been compiled; look at where the guest is."""
        self._leave_old_regions()
        self.link_ready()
        self._look_at_new_pages()
        pc = self.vcpu.pc
        page = self._page_of(pc >> PAGE_SHIFT)
        linked = page == 0 or self._is_linked(page, pc % PAGE_SIZE)
        SAMPLER.note(not linked)
        if linked:
            return
        if self._content(page) == 0:
            times = self._rewritten[page] = self._rewritten.get(page, 0) + 1
            if times > MAX_REWRITTEN:
                return  # compiling would not come to an end
            self._identify(page)
            if self._is_linked(page, pc % PAGE_SIZE):
                return
        spot = self._spots.sample(pc, self._page_of, SAMPLER.weight)
        if not self.eager:
            self._compiler.heat.add(self._digest(page), pc % PAGE_SIZE, SAMPLER.weight)
        if spot is not None:
            self._submit(spot)

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

    def _submit(self, spot: Spot) -> None:
        generation = self._generation

        start = spot.region.entries[0] if spot.region is not None else 0
        digest = self._digest(spot.pages[start >> PAGE_SHIFT])

        def done(compiled: Compiled | None) -> None:
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
        self._regions_of = generation
        library.free(min(e._regions_of for e in SAMPLER.running() if e._compiler is self._compiler))

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
        for compiled in library.at(content):
            self._lead(page, content, compiled)

    def _forget(self, page: int) -> None:
        """Decode a code page anew as it runs."""
        ctypes.memset(page, 0, PAGE_RECORDS * RECORD)
        self._identify(page)

    def _lead(self, page: int, content: int, compiled: Compiled) -> None:
        """Lead the records of a region's entries in a page into it."""
        distance = compiled.address - self._decode
        for number, offset in compiled.entries_in(content):
            record = page + offset // 2 * RECORD
            ctypes.c_uint32.from_address(record + 8).value = number
            ctypes.c_int32.from_address(record).value = distance

    # -- code pages ------------------------------------------------------------------------------
    def _page_of(self, number: int) -> int:
        """The address of the code page of a guest page by its number; 0 if the fetch TLB in force
        does not have it."""
        words = self.vcpu.words
        table = words[self.layout.at["tlb_fetch"] // 8] - self.vcpu.address
        gva = number << PAGE_SHIFT & U64
        at = (table + (gva >> PAGE_SHIFT) % TLB_ENTRIES * FETCH_ENTRY) // 8
        return int(words[at + 1]) if words[at] == gva else 0

    def _source(self, page: int) -> bytes:
        at = page - self._arena_start + SOURCE_OFFSET
        return bytes(self._arena_bytes[at : at + PAGE_SIZE])

    def _content(self, page: int) -> int:
        return ctypes.c_uint64.from_address(page + CONTENT_OFFSET).value

    def _view(self, page: int) -> PageView:
        words, first = self._arena_words, (page - self._arena_start) // 4
        return PageView(self._source(page), lambda offset: words[first + offset * 2] != 0)

    def _is_linked(self, page: int, offset: int) -> bool:
        first = (page - self._arena_start) // 4
        return not self._runtime.holds(self._decode + self._arena_words[first + offset * 2])
