"""Samples of where vCPUs are: one thread asks all of them, about 1,000 times a second.

A vCPU answers at its next boundary, where its pc is exact: the target of a jump, so straight code
is seen where it goes to next. The optimising engine looks for hot code in this way, and whoever
profiles a guest sees the same samples (`Engine.observe`).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

from lamina.engine.vcpu import REQUEST_SAMPLE, VCpu

SECONDS_A_SAMPLE = 0.001


@dataclass(frozen=True, slots=True)
class RegionSeen:
    """A compiled region that begins, or is entered, where a vCPU was seen."""

    gva: int  # of its first instruction
    code_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Where a vCPU was seen. `page`: the bytes of the guest page, if they are known; `region`: the
    compiled region that goes on from here, if there is one."""

    pc: int
    page: bytes | None
    region: RegionSeen | None


Observer = Callable[[Sample], None]


class Sampled(Protocol):
    """An engine that takes samples; `asked` is set with each request of the sampler's."""

    vcpu: VCpu
    running: bool
    asked: bool

    def __hash__(self) -> int:
        """By identity."""


class Sampler:
    """Asks every running engine for a sample, again and again."""

    def __init__(self) -> None:
        self._engines: WeakSet[Sampled] = WeakSet()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the two above

    def add(self, engine: Sampled) -> None:
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
            if not self._ask():
                return

    def _ask(self) -> bool:
        """Ask all that run; whether there is any engine left. Holds none of them afterwards."""
        with self._lock:
            engines = list(self._engines)
            if not engines:
                self._thread = None
        for engine in engines:
            if engine.running:
                engine.asked = True
                engine.vcpu.request(REQUEST_SAMPLE)
        return bool(engines)


SAMPLER = Sampler()
