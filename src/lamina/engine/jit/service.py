"""The compiler thread: regions in, machine code out. One for a process and architecture.

A region is compiled once for all vCPUs and virtual machines of the process that run the same bytes.
"""

import atexit
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from lamina.engine.code.image import CodeImage
from lamina.engine.compiler.client import compiler_process
from lamina.engine.compiler.protocol import Kind, Request
from lamina.engine.jit.flow import Decoder
from lamina.engine.jit.hotspots import Spot
from lamina.engine.jit.library import FUNCTION, Compiled, RegionLibrary
from lamina.engine.jit.region import Region
from lamina.engine.jit.request import encode
from lamina.engine.jit.writer import region_module
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch

log = logging.getLogger(__name__)

Done = Callable[[Compiled | None], None]


@dataclass(frozen=True, slots=True)
class Job:
    """Compile a spot's region; `done` gets it, or None. `contents`: the numbers of its pages."""

    spot: Spot
    contents: dict[int, int]
    done: Done


class CompilerService:
    """Compiles regions of one architecture in the background."""

    def __init__(self, arch: Arch, library: RegionLibrary) -> None:
        self._arch = arch
        self._layout = ThreadedLayout(arch)
        self.decoder = Decoder(arch)
        self.library = library
        self._jobs: list[Job] = []
        self._wake = threading.Condition()  # guards the list
        self._busy = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def submit(self, spot: Spot, contents: dict[int, int], done: Done) -> None:
        """Queue a region; the hottest is compiled first."""
        if self.library.knows(spot.region, contents):
            done(None)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lamina-compiler", daemon=True)
            self._thread.start()
            # No region is begun while the process is taken down.
            atexit.register(self.close)
        with self._wake:
            self._jobs.append(Job(spot, contents, done))
            self._wake.notify_all()

    def wait(self) -> None:
        """Until everything submitted so far is done; for tests."""
        with self._wake:
            self._wake.wait_for(lambda: not self._jobs and not self._busy)

    def close(self) -> None:
        """Forget what is queued and wait for the compilation under way."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._jobs or self._closing)
                if self._closing:
                    return
                job = max(self._jobs, key=lambda job: job.spot.heat)
                self._jobs.remove(job)
                self._busy = True
            compiled = None
            try:
                image = self._compile(job.spot.region)
                if image is not None:
                    compiled = self.library.add(job.spot.region, job.contents, image)
            except Exception:
                log.exception("a region could not be compiled")
            job.done(compiled)

    def _compile(self, region: Region) -> CodeImage | None:
        text = region_module(FUNCTION, region, self._arch, self._layout)
        wanted = Request(Kind.REGION, self._arch.source, region=encode(text))
        answer = compiler_process().compile(wanted)
        return None if answer is None else CodeImage.decode(answer)
