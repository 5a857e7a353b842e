"""The compiler thread: hot addresses in, machine code out. One for a process.

Engines submit the bytes of a page and an offset; the same bytes are compiled once, whoever asks.
llvmlite compiles one module at a time and holds no interpreter lock while it does.
"""

import atexit
import contextlib
import hashlib
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from lamina.engine.code.arena import CodeArenaFull, Placed, process_arena
from lamina.engine.jit.region import Lowerable, form_region
from lamina.engine.jit.writer import region_module
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch

log = logging.getLogger(__name__)
MAX_REGIONS = 2_000  # a process: then the threaded engine does the rest
MAX_QUEUE = 2_000


@dataclass(frozen=True, slots=True)
class Job:
    """Compile the region at `offset` of a page with these bytes; `done` gets its address or 0."""

    source: bytes
    offset: int
    loops_only: bool
    done: Callable[[int], None]


class CompilerService:
    """Compiles regions of one architecture in the background."""

    def __init__(self, arch: Arch, resolve: Callable[[str], int]) -> None:
        self._arch = arch
        self._layout = ThreadedLayout(arch)
        self._lowerable = Lowerable(arch)
        self._resolve = resolve
        self._queue: queue.Queue[Job] = queue.Queue(MAX_QUEUE)
        self._known: dict[bytes, int] = {}
        self._placed: list[Placed] = []
        self._count = 0
        self._closing = False
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> bool:
        """Queue a job; False if there is too much to do already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lamina-compiler", daemon=True)
            self._thread.start()
            # LLVM must not be at work while the process takes its libraries down.
            atexit.register(self.close)
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def wait(self) -> None:
        """Until everything submitted so far is done; for tests."""
        self._queue.join()

    def close(self) -> None:
        """Forget what is queued and wait for the compilation under way."""
        self._closing = True
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(Job(b"", 0, True, lambda address: None))
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            job = self._queue.get()
            if self._closing:
                return
            try:
                job.done(self._compile(job))
            except Exception:
                log.exception("a region could not be compiled")
                job.done(0)
            finally:
                self._queue.task_done()

    def _compile(self, job: Job) -> int:
        where = bytes([job.loops_only]) + job.offset.to_bytes(2, "little")
        key = hashlib.blake2b(job.source + where).digest()
        if key in self._known:
            return self._known[key]
        if self._count >= MAX_REGIONS:
            return 0
        address = 0
        region = form_region(self._arch, self._lowerable, job.source, job.offset)
        if region is not None and (region.loops or not job.loops_only):
            self._count += 1
            name = f"region{self._count}"
            address = self._place(name, region_module([name], [region], self._arch, self._layout))
        self._known[key] = address
        return address

    def _place(self, name: str, text: str) -> int:
        """The address of a compiled module's function; 0 if there is no room for it."""
        from lamina.engine.llvm.compiler import compile_image  # LLVM costs 45 MB

        image = compile_image(text, passes="region")
        try:
            placed = process_arena().place(image, self._resolve)
        except CodeArenaFull:
            return 0
        self._placed.append(placed)
        return placed.address_of(name)
