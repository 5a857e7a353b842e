"""Samples of where vCPUs are: one thread asks all of them, up to 250 times a second; four times as
often for somebody who counts the samples.

A vCPU answers at its next boundary, where its pc is exact: the target of a jump, so straight code
is seen where it goes to next. One that sleeps is not asked. The optimising engine looks for hot
code in this way, and whoever profiles a guest sees the same samples (`Engine.observe`). While its
machine boots a vCPU is left alone, unless somebody counts its samples (`onset`).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol
from weakref import WeakSet

from lamina.engine.threaded.onset import Onset
from lamina.engine.vcpu import REQUEST_SAMPLE, REQUEST_STOP, VCpu

SECONDS_A_SAMPLE = 0.004
STEADY = 4  # samples in that time for who counts them
FEW, MANY = 2, 40  # useful samples that make them come more often, useless ones less often
MAX_USELESS = 4  # the weight of samples that are useless but cost nothing
SHARE = 0.02  # of a vCPU's time that samples may take
MAX_WEIGHT = 16  # whatever they take
LATELY = 8  # samples over which it is told what one takes
IDLE_SECONDS = 0.02  # between looks whether a vCPU runs


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
    onset: Onset

    def retired(self) -> int:
        """By all vCPUs of its machine, about right while they run."""

    @property
    def overdue(self) -> bool:
        """Whether it has to come out of guest code, even if it sleeps there."""

    def __hash__(self) -> int:
        """By identity."""


class Sampler:
    """Asks every running engine for a sample, again and again: the more often, the more of them
    find something to do and the less time they take. `steady`: there are more samples, because
    somebody counts them; of these only one in STEADY is `due`, that is, for the engine itself."""

    def __init__(self) -> None:
        self._engines: WeakSet[Sampled] = WeakSet()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the two above
        self.steady = False
        self.due = True
        self._turn = 0
        self._least = 1  # what the weight is at least, by what samples find
        self._useful = self._useless = 0  # samples since that was changed
        self._cost = 0.0  # seconds that one takes, on average of the last ones

    @property
    def weight(self) -> int:
        """The time between samples, in SECONDS_A_SAMPLE."""
        if self.steady:
            return 1
        affordable = ceil(self._cost / (SHARE * SECONDS_A_SAMPLE))
        return max(self._least, min(affordable, MAX_WEIGHT))

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

    def running(self) -> list[Sampled]:
        """The engines that run now."""
        with self._lock:
            return [engine for engine in self._engines if engine.running]

    def note(self, useful: bool) -> None:
        """Whether a sample found something to do. Called by all engines; a lost count does no
        harm."""
        if useful:
            self._useful += 1
        else:
            self._useless += 1
        if self._useful >= FEW:
            self._least = max(1, self._least // 2)
        elif self._useless >= MANY:
            self._least = min(MAX_USELESS, self._least * 2)
        else:
            return
        self._useful = self._useless = 0

    def took(self, seconds: float) -> None:
        """What a sample has cost its vCPU. Called by all engines; a lost one does no harm."""
        self._cost += (seconds - self._cost) / LATELY

    def _run(self) -> None:
        while True:
            due = any(not e.vcpu.asleep and self._is_due(e) for e in self.running())
            often = self.weight if not self.steady else 1 / STEADY
            pause = often * SECONDS_A_SAMPLE if due else IDLE_SECONDS
            time.sleep(pause)
            if not self._ask(pause):
                return

    def _is_due(self, engine: Sampled) -> bool:
        """Whether a vCPU is asked at all."""
        return self.steady or engine.onset.past

    def _ask(self, seconds: float) -> bool:
        """Ask all that run, `seconds` after the last time; whether there is any engine left. Holds
        none of them afterwards."""
        self._turn = (self._turn + 1) % STEADY
        self.due = not self.steady or self._turn == 0
        with self._lock:
            engines = list(self._engines)
            if not engines:
                self._thread = None
        for engine in engines:
            if not engine.running:
                continue
            if not engine.vcpu.asleep:
                if not engine.onset.past:
                    engine.onset.look(seconds, engine.vcpu.last_seen(), engine.retired())
                if self._is_due(engine):
                    engine.asked = True
                    engine.vcpu.request(REQUEST_SAMPLE)
            elif engine.overdue:
                engine.vcpu.request(REQUEST_STOP)
        return bool(engines)


SAMPLER = Sampler()
