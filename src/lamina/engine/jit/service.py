"""Hot addresses in, machine code out: what the compiler process makes of regions, placed here.

Engines submit the bytes of a page and an offset; the same bytes are compiled once, whoever asks.
One for a process; answers come on the compiler client's thread.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from lamina.base.errors import CodeError
from lamina.engine.code.arena import Placed, process_arena
from lamina.engine.code.image import CodeImage
from lamina.engine.compiler.client import compiler_process
from lamina.engine.compiler.protocol import Kind, Request
from lamina.engine.jit.request import ENTRY, encode
from lamina.isa.arch import Arch

log = logging.getLogger(__name__)
MAX_REGIONS = 2_000  # a process; then the threaded engine does the rest


@dataclass(frozen=True, slots=True)
class Job:
    """Compile the region at `offset` of a page with these bytes; `done` gets its address or 0."""

    source: bytes
    offset: int
    loops_only: bool
    done: Callable[[int], None]


class CompilerService:
    """Has regions of one architecture compiled in the background."""

    def __init__(self, arch: Arch, resolve: Callable[[str], int]) -> None:
        self._arch = arch
        self._resolve = resolve
        self._known: dict[bytes, int] = {}
        self._asked: dict[bytes, list[Job]] = {}
        self._placed: list[Placed] = []
        self._changed = threading.Condition()  # guards the three above

    def submit(self, job: Job) -> bool:
        """Have a job done, at once if its region is known; False if there is too much to do."""
        request = encode(job.source, job.offset, job.loops_only)
        key = hashlib.blake2b(request).digest()
        with self._changed:
            address = self._known.get(key)
            waiting = self._asked.get(key)
            if waiting is not None:
                waiting.append(job)
                return True
            if address is None:
                if len(self._placed) + len(self._asked) >= MAX_REGIONS:
                    return False
                self._asked[key] = [job]
        if address is not None:
            job.done(address)
            return True
        wanted = Request(Kind.REGION, self._arch.source, region=request)
        if compiler_process().submit(wanted, lambda image: self._answered(key, image)):
            return True
        with self._changed:
            del self._asked[key]
        return False

    def wait(self) -> None:
        """Until everything submitted so far is done; for tests."""
        with self._changed:
            self._changed.wait_for(lambda: not self._asked)

    def _answered(self, key: bytes, image: bytes | None) -> None:
        address = 0
        if image is not None:
            try:
                placed = process_arena().place(CodeImage.decode(image), self._resolve)
                self._placed.append(placed)
                address = placed.address_of(ENTRY)
            except CodeError as error:
                log.warning("a region is not used: %s", error)
        with self._changed:
            self._known[key] = address
            jobs = self._asked.pop(key, [])
            for job in jobs:
                job.done(address)
            self._changed.notify_all()
