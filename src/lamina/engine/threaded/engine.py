"""The threaded engine: guest code runs as compiled handlers that tail-call each other.

One `ThreadedEngine` drives one vCPU; code pages are private to it, so that nothing is locked. The
compiled runtime is made once for an architecture (and kept on disk); it holds no machine's state.
`run` is called by the vCPU's host thread, everything else only while it does not run.
"""

import ctypes
import logging
import mmap
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lamina.base import futex
from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE, U64
from lamina.base.clock import NS_PER_SECOND
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.code.arena import CodeArenaFull, process_arena
from lamina.engine.code.perf_map import perf_map
from lamina.engine.statistics import EngineStatistics
from lamina.engine.threaded.baseline import LEAST_PERIOD, PARTS
from lamina.engine.threaded.layout import (
    ARENA_FULL,
    CODE_PAGE,
    COUNTERS,
    ENTERED,
    EVENTS,
    FETCH_ENTRY,
    MAX_REGION,
    MAX_REGIONS,
    MISSING_PACK,
    PAGE_RECORDS,
    REGION,
    SAMPLE,
    SOURCE_OFFSET,
    TLB_ENTRIES,
    ThreadedLayout,
)
from lamina.engine.threaded.onset import Onset
from lamina.engine.threaded.runtime import runtime
from lamina.engine.threaded.sampler import SAMPLER, Observer, RegionSeen, Sample
from lamina.engine.threaded.timer import TimerThread
from lamina.engine.vcpu import ALWAYS_PENDING, REQUEST_STOP, VCpu, reserve
from lamina.isa.arch import Arch

log = logging.getLogger(__name__)

ARENA_BYTES = 384 << 20  # code pages of a machine, 10,000 of them; without room all begin anew
LEAST_ARENA = 96 << 20  # of each vCPU
BASELINE_BYTES = 32 << 20  # of baseline code of a vCPU; without room all begins anew
LEAST_BASELINE = 1 << 20
MAX_PEERS = 64  # the bits of a mask
# Straight code may overshoot a budget by less than this: a page of it, then a region of the
# optimising engine, that goes on elsewhere.
EXACT_MARGIN = PAGE_RECORDS + MAX_REGION + 64

_READ = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p
)
_WRITE = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64
)
_NOTIFY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


class ThreadedEngine:
    """Runs one vCPU in the RAM and devices of `space`."""

    name = "threaded"
    sampled = False  # whether it looks at samples of its own accord

    def __init__(
        self,
        arch: Arch,
        index: int,
        space: AddressSpace,
        on_notify: Callable[[str, int], None] = lambda event, value: None,
    ) -> None:
        self.arch = arch
        self.layout = ThreadedLayout(arch)
        self.vcpu = VCpu(arch, index, self.layout.extra_bytes)
        self._space = space
        self._on_notify = on_notify
        self._runtime = runtime(arch)
        self._arena = reserve(ARENA_BYTES, "code arena")
        self._arena_size = ARENA_BYTES  # what is used of it
        self._arena_anchor = (ctypes.c_char * ARENA_BYTES).from_buffer(self._arena)
        self._arena_start = ctypes.addressof(self._arena_anchor)
        self._arena_bytes = memoryview(self._arena)
        self._code_maps: list[mmap.mmap] = []
        self._anchors: list[ctypes.Array[ctypes.c_char]] = []
        self.running = self.asked = False
        self.onset = Onset()
        self._vcpus = [self.vcpu]  # of the machine
        self.keeps_time = False
        self._has_peers = False
        self._real_time, self._time_divisor = True, 1
        self._end_timer: Callable[[], object] | None = None
        self._observer: Observer | None = None
        self._exits: Counter[str] = Counter()
        self._device_reads = self._device_writes = self._device_nanoseconds = 0
        self._callbacks = (_READ(self._read), _WRITE(self._write), _NOTIFY(self._notify))
        self._baseline_size = BASELINE_BYTES
        self._release: Callable[[], object] | None = None
        self._baseline = self._reserve_baseline()
        self._set_up()

    def _reserve_baseline(self) -> int:
        """Memory for baseline code, less than usual where many vCPUs want some; 0 if there is
        none, which only makes the guest slower."""
        while self._baseline_size >= LEAST_BASELINE:
            with suppress(CodeArenaFull):
                start = process_arena().reserve(self._baseline_size)
                # The process's, not the machine's: it comes back from an engine that nobody closes.
                release = process_arena().release
                self._release = weakref.finalize(self, release, start, self._baseline_size)
                self._release.atexit = False  # a vCPU may still run then
                perf_map().add(start, self._baseline_size, "lamina baseline code")
                return start
            self._baseline_size //= 2
        log.warning("no memory for baseline code; CPU %d does without", self.vcpu.index)
        return 0

    # -- set-up --------------------------------------------------------------------------------
    def _word(self, name: str, value: int) -> None:
        self.vcpu.words[self.layout.at[name] // 8] = value

    def _set_up(self) -> None:
        for name, callback in zip(
            ("mmio_read", "mmio_write", "notify"), self._callbacks, strict=True
        ):
            self._word(name, ctypes.cast(callback, ctypes.c_void_p).value or 0)
        libc = ctypes.CDLL(None)
        self._word("clock_gettime", ctypes.cast(libc.clock_gettime, ctypes.c_void_p).value or 0)
        self._word("sched_yield", ctypes.cast(libc.sched_yield, ctypes.c_void_p).value or 0)
        self._word("mprotect", ctypes.cast(libc.mprotect, ctypes.c_void_p).value or 0)
        self._word("syscall", ctypes.cast(libc.syscall, ctypes.c_void_p).value or 0)
        self._word("futex", futex.call_number())
        self._word("slice_end", U64)
        self._word("pack_tables", self._runtime.tables)
        self.set_baseline(LEAST_PERIOD)
        self.set_time(offset=0, divisor=100, deterministic=False)
        self._map_regions()
        self._runtime.tlb_begin(self.vcpu.address)
        self._empty_arena()
        self.state_changed()

    def _map_regions(self) -> None:
        regions = self._space.ram_regions
        if len(regions) > MAX_REGIONS:
            raise ValueError(f"{len(regions)} memory regions; the engine takes {MAX_REGIONS}")
        # The largest first: nearly all look-ups end there.
        for i, region in enumerate(sorted(regions, key=lambda r: -r.size)):
            cells = reserve(max(region.size // PAGE_SIZE * 8, PAGE_SIZE), "code map")
            anchor = (ctypes.c_char * len(cells)).from_buffer(cells)
            self._code_maps.append(cells)
            self._anchors.append(anchor)
            values = (
                region.base,
                region.size,
                region.host_address,
                ctypes.addressof(anchor),
                0 if region.readonly else 1,
            )
            at = (self.layout.regions + i * REGION) // 8
            for k, value in enumerate(values):
                self.vcpu.words[at + k] = value
        self._word("region_count", len(regions))

    def _empty_arena(self) -> None:
        """Forget every code page and give its memory back."""
        self._arena.madvise(mmap.MADV_DONTNEED)
        for cells in self._code_maps:
            cells.madvise(mmap.MADV_DONTNEED)
        if self._baseline:
            process_arena().open(self._baseline, self._baseline_size)
        self._word("baseline_start", self._baseline)
        self._word("baseline_next", self._baseline)
        self._word("baseline_end", self._baseline and self._baseline + self._baseline_size)
        start = ctypes.addressof(self._arena_anchor)
        self._word("arena_next", start)
        self._word("arena_end", start + self._arena_size - CODE_PAGE)
        self._runtime.tlb_flush(self.vcpu.address)

    def set_baseline(self, period: int | None) -> None:
        """Have baseline code made, with so many instructions between two looks at least; None:
        none is made any more."""
        templates = self._runtime.templates
        on = period is not None and self._baseline
        self._word("templates", templates.address if on else 0)
        for name in PARTS:
            self._word(f"template_{name.replace(' ', '_')}", templates.part(name))
        self._word("baseline_least", period or 0)
        self._word("baseline_period", period or 0)

    def set_time(self, offset: int, divisor: int, deterministic: bool) -> None:
        """Timebase ticks = base / divisor + offset; base is CLOCK_MONOTONIC in nanoseconds, or
        in deterministic mode the retired instructions."""
        self._word("time_offset", offset & U64)
        self._word("time_divisor", divisor)
        self._word("time_deterministic", int(deterministic))
        self._real_time, self._time_divisor = not deterministic, divisor
        if self.running:  # what is waited for was reckoned with the old offset
            self.vcpu.request(REQUEST_STOP)

    def limit_slice(self, seconds: float) -> None:
        """Come out with Exit.REQUEST once, when the guest sets its timer and so much time has
        passed. Only where the engine keeps the time (`keeps_time`), and only on its thread."""
        end = (time.monotonic_ns() + int(seconds * NS_PER_SECOND)) // self._time_divisor
        self._word("slice_end", end)

    def set_peers(self, vcpus: list[VCpu]) -> None:
        """All vCPUs of the machine, this one too, each run by an engine of this kind: fences for
        them need not leave compiled code."""
        self._vcpus = vcpus
        # A guest's pages come to hold code and cease to: code pages would fill all of the arenas.
        self._arena_size = min(max(ARENA_BYTES // len(vcpus), LEAST_ARENA), ARENA_BYTES)
        self._word("arena_end", self._arena_start + self._arena_size - CODE_PAGE)
        if len(vcpus) <= MAX_PEERS:
            self._peers = (ctypes.c_uint64 * len(vcpus))(*(vcpu.address for vcpu in vcpus))
            self._word("peers", ctypes.addressof(self._peers))
            self._word("peer_count", len(vcpus))
            self._has_peers = True

    def watch_traps(self, on: bool) -> None:
        """Whether each trap taken ends a run with Exit.TRAP."""
        self._word("watch_traps", int(on))

    # -- callbacks from compiled code; no exception may leave them --------------------------------
    def _read(self, opaque: int, gpa: int, size: int, out: int) -> int:
        begun = time.perf_counter_ns()
        value = self._space.mmio_read(gpa, size)
        self._device_reads += 1
        self._device_nanoseconds += time.perf_counter_ns() - begun
        if value is None:
            return 0
        ctypes.c_uint64.from_address(out).value = value
        return 1

    def _write(self, opaque: int, gpa: int, size: int, value: int) -> int:
        begun = time.perf_counter_ns()
        taken = self._space.mmio_write(gpa, size, value)
        self._device_writes += 1
        self._device_nanoseconds += time.perf_counter_ns() - begun
        return int(taken)

    def _notify(self, opaque: int, event: int, value: int) -> int:
        self._on_notify(EVENTS[event], value)
        return 0

    # -- running -------------------------------------------------------------------------------
    def state_changed(self) -> None:
        """Registers or memory were changed from outside: nothing derived from them is kept."""
        self._runtime.tlb_flush(self.vcpu.address)
        self._runtime.tlb_space(self.vcpu.address)
        self.vcpu.words[self.arch.layout.index["pending"]] = ALWAYS_PENDING

    def run(self, budget: int) -> Exit:
        """Run until exactly `budget` instructions have retired, or something else ends it."""
        if self.sampled or self._observer is not None:
            SAMPLER.add(self)
        self.running = True
        try:
            self._word("own_waits", int(self._keep_time()))
            return self._run(budget)
        finally:
            self.running = False
            self._word("own_waits", 0)

    def _keep_time(self) -> bool:
        """Whether waits and the timer are the engine's own business in this run."""
        self.keeps_time = self._has_peers and self._real_time
        if self.keeps_time and self._end_timer is None:
            timer = TimerThread(self._runtime, self.layout, self.vcpu)
            self._end_timer = weakref.finalize(self, timer.close)
        return self.keeps_time

    def _run(self, budget: int) -> Exit:
        pending = self.arch.layout.index["pending"]
        end = self.vcpu.icount + budget
        while True:
            self.vcpu.words[pending] = ALWAYS_PENDING
            left = end - self.vcpu.icount
            if left > EXACT_MARGIN:
                most = self._until_look(left - EXACT_MARGIN)
                code = self._runtime.run_fast(self.vcpu.address, most)
            else:
                code = self._runtime.run_steps(self.vcpu.address, left)
            if not self._served(code) and (code != Exit.LIMIT or self.vcpu.icount == end):
                self._exits[Exit(code).name] += 1
                return Exit(code)

    def _until_look(self, most: int) -> int:
        """How many instructions to run before the next look from outside, at most so many."""
        return most

    def _entered(self) -> None:
        """The vCPU came to an entry of a region on trial. For the optimising engine."""

    def _served(self, code: int) -> bool:
        """Whether an exit was the runtime's own: what it wants is done, and the guest goes on."""
        if code == ARENA_FULL:
            self._exits["ARENA_FULL"] += 1
            self._empty_arena()
        elif code == SAMPLE:
            self._exits["SAMPLE"] += 1
            if self.asked and self._observer is not None:
                self._observer(self._seen())
            if SAMPLER.due:
                self.sample()
            self.asked = False
        elif code == ENTERED:
            self._exits["ENTERED"] += 1
            self._entered()
        elif code == MISSING_PACK:
            self._exits["MISSING_PACK"] += 1
            self._runtime.load_pack(self.vcpu.words[self.layout.at["missing_pack"] // 8])
        else:
            return False
        return True

    @property
    def overdue(self) -> bool:
        """Whether it has to come out of guest code, even if it sleeps there."""
        return False

    def retired(self) -> int:
        """Instructions of all vCPUs of the machine, about right while they run."""
        return sum(vcpu.retired() for vcpu in self._vcpus)

    def sample(self) -> None:
        """Somebody asked where the vCPU is; its pc is exact. For the optimising engine."""

    # -- looking inside --------------------------------------------------------------------------
    def observe(self, observer: Observer | None) -> None:
        """Have samples shown to somebody, on the vCPU's thread; None ends it."""
        self._observer = observer
        SAMPLER.steady = observer is not None

    def statistics(self) -> EngineStatistics:
        """What has been counted; about right while the vCPU runs."""
        words, at = self.vcpu.words, self.layout.at
        counted: dict[str, Any] = {name: int(words[at[name] // 8]) for name in COUNTERS}
        return EngineStatistics(
            instructions=self.vcpu.icount,
            exits=dict(self._exits),
            device_reads=self._device_reads,
            device_writes=self._device_writes,
            device_seconds=self._device_nanoseconds / 1e9,
            **counted,
        )

    def _seen(self) -> Sample:
        pc = self.vcpu.pc
        page = self._page_of(pc >> PAGE_SHIFT)
        return Sample(pc, self._source(page) if page else None, self._region_at(pc))

    def _region_at(self, pc: int) -> RegionSeen | None:
        """The compiled region that the record of an address leads into."""
        return None

    def _page_of(self, number: int) -> int:
        """The address of the code page of a guest page by its number; 0 if the fetch TLB in force
        does not have it."""
        words = self.vcpu.words
        table = words[self.layout.at["tlb_fetch"] // 8] - self.vcpu.address
        gva = number << PAGE_SHIFT & U64
        at = (table + (gva >> PAGE_SHIFT) % TLB_ENTRIES * FETCH_ENTRY) // 8
        return (gva - int(words[at + 1])) << 3 & U64 if words[at] == gva else 0

    def _is_baseline(self, address: int) -> bool:
        """Whether a record that leads to an address leads into baseline code."""
        return 0 <= address - self._baseline < self._baseline_size

    def _source(self, page: int) -> bytes:
        """The guest's bytes that a code page was decoded from."""
        at = page - self._arena_start + SOURCE_OFFSET
        return bytes(self._arena_bytes[at : at + PAGE_SIZE])

    def step(self) -> Exit:
        """Run one instruction, or take one trap."""
        while True:
            self.vcpu.words[self.arch.layout.index["pending"]] = ALWAYS_PENDING
            code = self._runtime.run_steps(self.vcpu.address, 1)
            if not self._served(code):
                return Exit(code)

    def close(self) -> None:
        """Release host memory; the engine must not run any more."""
        if self._release is not None:
            self._release()
        if self._end_timer is not None:
            self._end_timer()
        self.vcpu.close()
        self._arena_bytes.release()
        del self._arena_anchor
        self._anchors.clear()
        for cells in (*self._code_maps, self._arena):
            cells.close()
