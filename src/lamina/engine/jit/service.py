"""Regions to machine code: what is to be compiled waits here, the hottest first.

The compiler process does the work, a few regions at a time, so that what turns out to be hotter
can overtake. Answers come on its client's thread. One service for a process and architecture.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage
from lamina.engine.code.store import code_folder, code_store
from lamina.engine.compiler.client import compiler_process
from lamina.engine.compiler.protocol import Kind, Request
from lamina.engine.jit.heat import Heat
from lamina.engine.jit.hotspots import Spot, samples_worth
from lamina.engine.jit.library import Compiled, RegionLibrary
from lamina.engine.jit.outline import Step, outline_decoder
from lamina.engine.jit.region import Region
from lamina.engine.jit.request import encode
from lamina.engine.statistics import RegionStatistics
from lamina.engine.threaded.runtime import code_version, runtime
from lamina.isa.arch import Arch

log = logging.getLogger(__name__)
AHEAD = 2  # regions that the compiler process has at a time
MAX_JOBS = 500  # that wait
INSTRUCTIONS_A_REGION = 25  # what a region costs beside its instructions, in instructions
STARTUP_SECONDS = 0.35  # of CPU time, until a compiler process is ready
FIRST_GUESS = 0.0002  # seconds an instruction
LEARNED = 1000  # instructions that make the first guess forgotten
_MAKING = threading.Lock()  # guards the making of services: vCPUs may want theirs at once

Done = Callable[[Compiled | None], None]


@dataclass(frozen=True, slots=True)
class Job:
    """Compile a spot's region; `done` gets it, or None. `contents`: the numbers of its pages."""

    key: str  # of the region in the library
    spot: Spot
    region: Region[Step]
    contents: dict[int, int]
    done: Done


@cache
def _heat(arch: Arch) -> Heat:
    return Heat(code_folder() / f"heat-{arch.name}")


@cache
def _service(arch: Arch, alone: bool) -> "CompilerService":
    version = code_version(arch) + (" alone" if alone else "")
    library = RegionLibrary(version, runtime(arch).resolve, code_store("regions"))
    return CompilerService(arch, library, _heat(arch), alone)


def compiler_service(arch: Arch, alone: bool) -> "CompilerService":
    """The process's service, with the library of the user's; `alone`: for machines of one vCPU. Any
    thread may call it."""
    with _MAKING:
        return _service(arch, alone)


class CompilerService:
    """Has regions of one architecture compiled in the background."""

    def __init__(
        self, arch: Arch, library: RegionLibrary, heat: Heat | None = None, alone: bool = False
    ) -> None:
        self._arch = arch
        self.decoder = outline_decoder(arch)
        self.library = library
        self.heat = heat or Heat()
        self._alone = alone
        self._jobs: list[Job] = []
        self._others: dict[str, list[Done]] = {}  # who else waits for what is asked for, by key
        self._asked = 0
        self._spent, self._compiled = FIRST_GUESS * LEARNED, LEARNED  # seconds, instructions
        self._done, self._refused, self._instructions = 0, 0, 0  # regions, those not; in the first
        self._changed = threading.Condition()  # guards all above but the library

    def submit(self, spot: Spot, contents: dict[int, int], done: Done) -> None:
        """Queue a region; `done` is called on any thread. If too many wait, the coldest goes.
        What was asked for before, by another vCPU, is not compiled twice."""
        region = spot.region
        if region is None:
            done(None)
            return
        key = self.library.key(region, contents)
        dropped = None
        with self._changed:
            if key in self._others:
                self._others[key].append(done)
                return
            known = self.library.knows(region, contents)
            if not known:
                self._others[key] = []
                self._jobs.append(Job(key, spot, region, contents, done))
            if len(self._jobs) > MAX_JOBS:
                dropped = min(self._jobs, key=lambda job: job.spot.heat)
                self._jobs.remove(dropped)
        if known:
            done(self.library.compiled(key))
        if dropped is not None:
            self.library.forget(dropped.region, dropped.contents)
            self._tell(dropped, None)
        self._ask()

    def cost(self, instructions: int) -> float:
        """Seconds of CPU time that it will take to compile so many instructions, by what it took
        so far."""
        return (instructions + INSTRUCTIONS_A_REGION) * self._spent / self._compiled

    def statistics(self) -> RegionStatistics:
        """What was compiled, and what it took."""
        return RegionStatistics(
            compiled=self._done,
            from_disk=self.library.from_disk,
            refused=self._refused,
            given_up=self.library.generation,
            instructions=self._instructions,
            code_bytes=self.library.code_bytes,
            compile_seconds=max(0.0, self._spent - FIRST_GUESS * LEARNED),
        )

    def wait(self) -> None:
        """Until everything submitted so far is done; for tests."""
        self._ask(surely=True)
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs and not self._asked)

    def look_again(self) -> None:
        """What waits for a compiler process may have become hot enough to start one."""
        if self._jobs and not self._asked:
            self._ask()

    def _is_worth_starting(self) -> bool:
        """Whether what waits is worth a compiler process; one that runs costs nothing more."""
        if self._asked or compiler_process().running:
            return True
        seconds = sum(self.cost(len(job.region.members)) for job in self._jobs)
        heat = sum(job.spot.heat for job in self._jobs)
        return heat >= samples_worth(seconds + STARTUP_SECONDS)

    def _ask(self, surely: bool = False) -> None:
        """Give the compiler process what is hottest, if it is not busy."""
        while True:
            with self._changed:
                if not self._jobs or self._asked >= AHEAD:
                    return
                if not surely and not self._is_worth_starting():
                    return
                job = max(self._jobs, key=lambda job: job.spot.heat)
                self._jobs.remove(job)
                self._asked += 1
            request = Request(
                Kind.REGION, self._arch.source, region=encode(job.region, self._alone)
            )
            if not compiler_process().submit(request, partial(self._answered, job)):
                self._finish(job, None)

    def _answered(self, job: Job, image: bytes | None) -> None:
        compiled = None
        if image is not None:
            try:
                decoded = CodeImage.decode(image)
                compiled = self.library.add(job.region, job.contents, decoded)
            except CodeError as error:
                log.warning("a region is not used: %s", error)
        with self._changed:
            self._spent += compiler_process().answer_seconds
            self._compiled += len(job.region.members) + INSTRUCTIONS_A_REGION
        self._finish(job, compiled)
        self._ask()

    def _finish(self, job: Job, compiled: Compiled | None) -> None:
        self._tell(job, compiled)
        with self._changed:
            self._asked -= 1
            if compiled is None:
                self._refused += 1
            else:
                self._done += 1
                self._instructions += len(job.region.members)
            self._changed.notify_all()

    def _tell(self, job: Job, compiled: Compiled | None) -> None:
        """All who wait for a region."""
        with self._changed:
            others = self._others.pop(job.key, [])
        for done in (job.done, *others):
            done(compiled)
