"""The optimising engine: the threaded engine, with compiled regions where the guest is hot.

A sampler thread asks running vCPUs where they are, about 1,000 times a second; what is seen often
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
from lamina.engine.jit.hotspots import SECONDS_A_SAMPLE, HotSpots, Spot
from lamina.engine.jit.region import PageView
from lamina.engine.jit.service import CompilerService
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.engine.threaded.layout import (
    CONTENT_OFFSET,
    FETCH_ENTRY,
    RECORD,
    SOURCE_OFFSET,
    TLB_ENTRIES,
)
from lamina.engine.threaded.runtime import runtime
from lamina.engine.vcpu import REQUEST_SAMPLE
from lamina.isa.arch import Arch

TABLE = 1 << 16  # entries into regions


@cache
def compiler(arch: Arch) -> CompilerService:
    """The process's compiler for an architecture."""
    return CompilerService(arch, runtime(arch).resolve)


class Sampler:
    """Asks every running engine for a sample, again and again."""

    def __init__(self) -> None:
        self._engines: WeakSet[JitEngine] = WeakSet()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the two above

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

    def _run(self) -> None:
        while True:
            time.sleep(SECONDS_A_SAMPLE)
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
        self._generation = 0
        self._compiler = compiler(arch)
        self._spots = HotSpots(self._compiler.decoder, self._view, self.eager)
        super().__init__(arch, index, space, on_notify)
        self._table = (ctypes.c_uint64 * (2 * TABLE))()
        self._numbers: dict[tuple[int, int], int] = {}
        self._ready: deque[tuple[Spot, int, int]] = deque()  # with address, generation
        self._word("region_table", ctypes.addressof(self._table))
        self._region_offset = self._runtime.address("h.region") - self._runtime.decode_address()
        self._arena_start = ctypes.addressof(self._arena_anchor)
        self._arena_bytes = memoryview(self._arena)
        self._arena_words = self._arena_bytes.cast("i")

    def run(self, budget: int) -> Exit:
        self.running = True
        SAMPLER.add(self)
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
        self._spots.clear()
        super()._empty_arena()

    def sample(self) -> None:
        """Link in what has been compiled; look at where the guest is."""
        self.link_ready()
        pc = self.vcpu.pc
        page = self._page_of(pc >> PAGE_SHIFT)
        if page == 0 or self._is_linked(page, pc % PAGE_SIZE):
            return
        spot = self._spots.sample(pc, self._page_of)
        if spot is not None:
            self._submit(spot)

    def link_ready(self) -> None:
        """Lead records into the regions that are compiled."""
        while self._ready:
            spot, address, generation = self._ready.popleft()
            if generation == self._generation:
                self._link(spot, address)

    def _submit(self, spot: Spot) -> None:
        number = self._compiler.contents.number
        generation = self._generation

        def done(address: int) -> None:
            spot.done = True
            if address:
                self._ready.append((spot, address, generation))
                self.vcpu.request(REQUEST_SAMPLE)

        contents = {n: number(source) for n, source in spot.region.pages.items()}
        self._compiler.submit(spot, contents, done)

    def _link(self, spot: Spot, address: int) -> None:
        """Lead the records of a region's entries into it, in pages that are still the same."""
        region, number = spot.region, self._compiler.contents.number
        for distance, page in spot.pages.items():
            at = page - self._arena_start + SOURCE_OFFSET
            source = region.pages[distance]
            if self._arena_bytes[at : at + PAGE_SIZE] != source:
                continue
            ctypes.c_uint64.from_address(page + CONTENT_OFFSET).value = number(source)
            for i, entry in enumerate(region.entries):
                if entry >> PAGE_SHIFT == distance:
                    self._lead(page + entry % PAGE_SIZE // 2 * RECORD, address, i)

    def _lead(self, record: int, address: int, entry: int) -> None:
        """Lead one record into an entry of a region."""
        number = self._numbers.get((address, entry))
        if number is None:
            number = len(self._numbers)
            if number == TABLE:
                return
            self._numbers[address, entry] = number
            self._table[2 * number] = address
            self._table[2 * number + 1] = entry
        ctypes.c_uint32.from_address(record + 8).value = number
        ctypes.c_int32.from_address(record).value = self._region_offset

    # -- code pages ------------------------------------------------------------------------------
    def _page_of(self, number: int) -> int:
        """The address of the code page of a guest page by its number; 0 if the fetch TLB in force
        does not have it."""
        words = self.vcpu.words
        table = words[self.layout.at["tlb_fetch"] // 8] - self.vcpu.address
        gva = number << PAGE_SHIFT & U64
        at = (table + (gva >> PAGE_SHIFT) % TLB_ENTRIES * FETCH_ENTRY) // 8
        return int(words[at + 1]) if words[at] == gva else 0

    def _view(self, page: int) -> PageView:
        at = page - self._arena_start
        words, first = self._arena_words, at // 4
        source = bytes(self._arena_bytes[at + SOURCE_OFFSET : at + SOURCE_OFFSET + PAGE_SIZE])
        return PageView(source, lambda offset: words[first + offset * 2] != 0)

    def _is_linked(self, page: int, offset: int) -> bool:
        first = (page - self._arena_start) // 4
        return bool(self._arena_words[first + offset * 2] == self._region_offset)
