"""The optimising engine: the threaded engine, with compiled regions where the guest is hot.

A sampler thread asks running vCPUs where they are, about 500 times a second; an address seen twice
is compiled in the background, and its record then leads into the compiled region. Nothing else
changes: regions are entered by a record and leave to one, and vanish with their code page.
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from weakref import WeakSet

from lamina.base.bits import PAGE_SIZE
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.jit.service import CompilerService, Job
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.engine.threaded.layout import FETCH_ENTRY, RECORD, SOURCE_OFFSET, TLB_ENTRIES
from lamina.engine.threaded.runtime import runtime
from lamina.engine.vcpu import REQUEST_SAMPLE
from lamina.isa.arch import Arch

SAMPLE_SECONDS = 0.002
TABLE = 1 << 16


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
            time.sleep(SAMPLE_SECONDS)
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
    hot_samples = 2
    loops_only = True

    def __init__(
        self,
        arch: Arch,
        index: int,
        space: AddressSpace,
        on_notify: Callable[[str, int], None] = lambda event, value: None,
    ) -> None:
        self._generation = 0
        self._samples: dict[tuple[int, int], int] = {}
        super().__init__(arch, index, space, on_notify)
        self._table = (ctypes.c_uint64 * TABLE)()
        self._used = 0
        self._numbers: dict[int, int] = {}
        self._ready: deque[tuple[int, int, int, int, bytes]] = deque()
        self._word("region_table", ctypes.addressof(self._table))
        self._compiler = compiler(arch)
        self._region_offset = self._runtime.address("h.region") - self._runtime.decode_address()
        self.running = False

    def run(self, budget: int) -> Exit:
        self.running = True
        SAMPLER.add(self)
        try:
            return super().run(budget)
        finally:
            self.running = False

    def _empty_arena(self) -> None:
        self._generation += 1
        self._samples.clear()
        super()._empty_arena()

    def sample(self) -> None:
        """Count where the guest is; link in what the compiler has finished."""
        self.link_ready()
        pc = self.vcpu.pc
        page = self._code_page(pc)
        if page == 0:
            return
        offset = pc % PAGE_SIZE
        key = (page, offset)
        count = self._samples.get(key, 0) + 1
        self._samples[key] = count
        if count == self.hot_samples:
            self._submit(page, offset)

    def link_ready(self) -> None:
        """Lead records into the regions that are compiled."""
        while self._ready:
            self._link(*self._ready.popleft())

    def _code_page(self, pc: int) -> int:
        """The address of the code page of a guest address, from the fetch TLB; 0 if unknown."""
        words = self.vcpu.words
        table = words[self.layout.at["tlb_fetch"] // 8] - self.vcpu.address
        at = (table + (pc >> 12) % TLB_ENTRIES * FETCH_ENTRY) // 8
        return int(words[at + 1]) if words[at] == pc & ~(PAGE_SIZE - 1) else 0

    def _submit(self, page: int, offset: int) -> None:
        source = ctypes.string_at(page + SOURCE_OFFSET, PAGE_SIZE)
        generation = self._generation

        def done(address: int) -> None:
            if address:
                self._ready.append((page, offset, address, generation, source))

        if not self._compiler.submit(Job(source, offset, self.loops_only, done)):
            self._samples.pop((page, offset), None)

    def _link(self, page: int, offset: int, address: int, generation: int, source: bytes) -> None:
        """Lead a record into its region, if its page is still the one that was compiled."""
        if generation != self._generation:
            return
        if ctypes.string_at(page + SOURCE_OFFSET, PAGE_SIZE) != source:
            self._samples.pop((page, offset), None)
            return
        number = self._numbers.get(address)
        if number is None:
            if self._used == TABLE:
                return
            number = self._numbers[address] = self._used
            self._table[number] = address
            self._used += 1
        record = page + offset // 2 * RECORD
        ctypes.c_uint32.from_address(record + 8).value = number
        ctypes.c_int32.from_address(record).value = self._region_offset
