"""Where a guest's time goes: samples of its vCPUs, by function and by compiled region.

A `Profile` sees the samples of a machine's engines (`Engine.observe`) between `start` and `stop`,
on the vCPUs' threads; `functions` and `regions` then put names to them. A vCPU is seen at the first
boundary after it was asked, the target of a jump: a short function without a loop is seen where it
returns to. Called by `cli/profile.py`. What it keeps is bounded, whatever the guest does.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from lamina.base.bits import PAGE_SIZE
from lamina.base.errors import ConfigError
from lamina.debug.symbols import Name, Names
from lamina.engine.threaded.sampler import SECONDS_A_SAMPLE, STEADY, RegionSeen, Sample
from lamina.engine.vcpu import VCpu
from lamina.machine import Machine

MAX_RATE = round(STEADY / SECONDS_A_SAMPLE)
MAX_PAGES = 4096  # 16 MiB of guest code that is remembered
MAX_PLACES = 1 << 18
USER = 0
PRIVILEGES = {USER: "user", 1: "kernel", 3: "machine"}


class Place(NamedTuple):
    """Where a vCPU was seen; `page` is the number of its page's contents, 0 if they are unknown."""

    privilege: int
    pc: int
    page: int
    region: RegionSeen | None


@dataclass(slots=True)
class Hot:
    """A function, or a region, and its samples: all, and those in compiled code."""

    name: str
    where: str
    privilege: str
    samples: int = 0
    compiled: int = 0
    code_bytes: int = 0

    @property
    def tier(self) -> str:
        """What ran it: `compiled`, `threaded`, or the share that was compiled."""
        if self.compiled in (0, self.samples):
            return "compiled" if self.compiled else "threaded"
        return f"{100 * self.compiled / self.samples:.0f} % compiled"


class Profile:
    """Counts samples of all vCPUs of a machine."""

    def __init__(self, machine: Machine, rate: int = MAX_RATE) -> None:
        """`rate`: samples a second and vCPU."""
        if not 0 < rate <= MAX_RATE:
            raise ConfigError(f"a rate of {rate} samples a second: 1 to {MAX_RATE} will do")
        self._machine = machine
        self._between = 1.0 / rate
        self._lock = threading.Lock()  # guards all below: each vCPU has a thread
        self._places: Counter[Place] = Counter()
        self._numbers: dict[bytes, int] = {}
        self._pages: list[bytes | None] = [None]
        self._wanted = False
        self.samples = 0

    def start(self) -> None:
        """Watch, from any thread; the machine's engines show their samples from the next run on,
        so `watch` comes before it."""
        self._wanted = True

    def watch(self) -> None:
        """Have the engines show their samples. ConfigError if they take none."""
        for runner in self._machine.runners:
            due = [0.0]
            runner.engine.observe(partial(self._seen, runner.vcpu, due))

    def stop(self) -> None:
        """No more samples."""
        self._wanted = False
        for runner in self._machine.runners:
            runner.engine.observe(None)

    def _seen(self, vcpu: VCpu, due: list[float], sample: Sample) -> None:
        """On a vCPU's thread. `due`: when its next sample is to be counted."""
        now = time.monotonic()
        if not self._wanted or now < due[0]:
            return
        due[0] = max(due[0] + self._between, now - self._between)
        privilege = vcpu.get("priv")
        page = sample.page
        if page is None and privilege == USER:
            page = self._read(vcpu, sample.pc)
        with self._lock:
            self.samples += 1
            place = Place(privilege, sample.pc, self._number(page), sample.region)
            if place in self._places or len(self._places) < MAX_PLACES:
                self._places[place] += 1

    def _read(self, vcpu: VCpu, pc: int) -> bytes | None:
        """The guest page of an address whose code page is not in the TLB just now."""
        gpa = self._machine.translate(pc & -PAGE_SIZE, vcpu.index)
        if gpa is None or self._machine.space.find_ram(gpa, PAGE_SIZE) is None:
            return None
        return self._machine.memory.read(gpa, PAGE_SIZE)

    def _number(self, page: bytes | None) -> int:
        if page is None:
            return 0
        number = self._numbers.get(page, 0)
        if not number and len(self._pages) <= MAX_PAGES:
            number = self._numbers[page] = len(self._pages)
            self._pages.append(page)
        return number

    # -- afterwards ------------------------------------------------------------------------------
    def functions(self, names: Names) -> list[Hot]:
        """The guest's functions, the hottest first."""
        return self._by(self._places, lambda place: self._name(names, place, None))

    def regions(self, names: Names) -> list[Hot]:
        """The compiled regions, the hottest first, by where they begin."""

        def start(place: Place) -> tuple[str, Name]:
            assert place.region is not None
            _, name = self._name(names, place, place.region.gva)
            return str(name), name

        return self._by([p for p in self._places if p.region is not None], start)

    def _name(self, names: Names, place: Place, other: int | None) -> tuple[str, Name]:
        name = names.name(place.pc, self._pages[place.page], place.privilege == USER, other)
        return name.function, name

    def _by(self, places: Iterable[Place], named: Callable[[Place], tuple[str, Name]]) -> list[Hot]:
        found: dict[tuple[str, str, int], Hot] = {}
        # The hottest first: where nothing is known, its instruction stands for its page.
        for place in sorted(places, key=lambda place: -self._places[place]):
            title, name = named(place)
            key = (title, name.where if name.known else "", place.privilege)
            privilege = PRIVILEGES.get(place.privilege, str(place.privilege))
            hot = found.setdefault(key, Hot(title, name.where, privilege))
            hot.samples += self._places[place]
            if place.region is not None:
                hot.compiled += self._places[place]
                hot.code_bytes = max(hot.code_bytes, place.region.code_bytes)
        return sorted(found.values(), key=lambda hot: -hot.samples)
