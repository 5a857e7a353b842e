"""Samples of workloads: every subject in turn, round by round, checksums compared.

Called by `__main__.py` and `smp.py`. In a round each emulator is booted once and all stay up, so
that a workload's samples on the different subjects lie seconds apart and a busy machine hurts
them alike. A workload that fails is noted and the others go on.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

from bench.catalogue import Application, Workload
from bench.guest import Answer, Guest
from bench.process import BenchError
from bench.subjects import VECTOR, Emulator, Machine

TIMEOUT = 300.0
NATIVE_SECONDS = 0.3  # a shorter native sample is repeated with a larger scale


class Commands(Protocol):
    """What a guest and the host have in common."""

    def command(self, line: str, timeout: float) -> Answer:
        """The agent's commands."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one workload: what it did, and what that cost the host."""

    scale: int
    units: float
    checksum: str
    cpu: float
    wall: float

    @property
    def rate(self) -> float:
        """Units per CPU second."""
        return self.units / max(self.cpu, 1e-6)


@dataclass
class Results:
    """Samples by workload and subject, what went wrong, and what emulators wrote to their standard
    error though their guest went on."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def add(self, workload: str, subject: str, sample: Sample) -> None:
        """One more sample."""
        self.samples.setdefault(workload, {}).setdefault(subject, []).append(sample)


def sample(subject: Commands, workload: Workload, scale: int, timeout: float = TIMEOUT) -> Sample:
    """Run a workload once; BenchError if it fails."""
    if workload.application is not None:
        return _sample_application(subject, workload.application, scale, timeout)
    answer = subject.command(f"run {workload.name} {scale}", timeout)
    lines = answer.text.strip().splitlines()
    words = lines[-1].split() if lines else []
    if answer.status != 0 or len(words) != 4 or words[0] != workload.name:
        raise BenchError(f"status {answer.status}: {answer.text.strip()[-300:]}")
    return Sample(scale, float(words[1]), words[2], answer.cpu, answer.wall)


def _sample_application(
    subject: Commands, application: Application, scale: int, timeout: float
) -> Sample:
    answer = subject.command(f"sh {application.command(scale)}", timeout)
    if answer.status != 0:
        raise BenchError(f"status {answer.status}: {answer.text.strip()[-300:]}")
    checked = subject.command(f"sh {application.check}", timeout)
    checksum = "-".join(checked.text.split())
    return Sample(scale, application.units * scale, checksum, answer.cpu, answer.wall)


class Suite:
    """Some workloads on some emulators, and natively."""

    def __init__(
        self,
        machine: Machine,
        emulators: Sequence[Emulator],
        natives: Mapping[str, Commands],
        told: Callable[[str], None],
        sampled: Callable[[Workload, str, Sample], None] = lambda workload, name, found: None,
    ) -> None:
        """`told` hears what is going on and what fails, `sampled` of each sample at once."""
        self._machine, self._emulators, self._natives = machine, emulators, natives
        self._told, self._sampled = told, sampled
        self._native_scale: dict[str, int] = {}
        self._checksums: dict[tuple[str, int], tuple[str, str]] = {}
        self.results = Results()

    def round(self, workloads: Sequence[tuple[Workload, int]], number: int) -> None:
        """One sample of each workload, at its scale, on each subject."""
        with ExitStack() as stack:
            guests = {
                e.name: _Bootable(e, self._machine, stack, self._told) for e in self._emulators
            }
            for name, guest in list(guests.items()):
                if not self._boot(name, guest):
                    del guests[name]
            order = [*guests, *self._natives]
            for index, (workload, scale) in enumerate(workloads):
                self._told(f"round {number}: {workload.name} ({index + 1} of {len(workloads)})")
                turn = (index + number) % max(1, len(order))
                for name in order[turn:] + order[:turn]:
                    if name == VECTOR and workload.application is not None:
                        continue  # the host's own programs, once more
                    if name in self._natives:
                        self._native(name, workload, scale)
                    else:
                        self._emulated(name, guests[name], workload, scale)

    def _boot(self, name: str, guest: "_Bootable") -> bool:
        self._told(f"booting {name}")
        try:
            guest.boot()
        except BenchError as error:
            self._fail(f"boot on {name}: {error}")
            return False
        return True

    def _emulated(self, name: str, guest: "_Bootable", workload: Workload, scale: int) -> None:
        try:
            if guest.guest is None:
                guest.boot()
            assert guest.guest is not None
            found = sample(guest.guest, workload, scale)
            if complaints := guest.guest.complaints():
                self._told(f"{name} says at {workload.name}: {complaints}")
                self.results.complaints.append(f"{workload.name} on {name}: {complaints}")
        except BenchError as error:
            self._fail(f"{workload.name} on {name}: {error}")
            guest.drop()
            return
        self._keep(workload, name, found)

    def _native(self, name: str, workload: Workload, scale: int) -> None:
        subject = self._natives[name]
        try:
            first = sample(subject, workload, scale)
            key = f"{name} {workload.name}"
            if key not in self._native_scale:
                factor = ceil(NATIVE_SECONDS / max(first.cpu, NATIVE_SECONDS / 5000))
                self._native_scale[key] = scale * factor
            self._compare(workload, name, first)
            larger = self._native_scale[key]
            self._keep(
                workload, name, first if larger == scale else sample(subject, workload, larger)
            )
        except BenchError as error:
            self._fail(f"{workload.name} on {name}: {error}")

    def _keep(self, workload: Workload, name: str, found: Sample) -> None:
        if self._compare(workload, name, found):
            self.results.add(workload.name, name, found)
            self._sampled(workload, name, found)

    def _compare(self, workload: Workload, name: str, found: Sample) -> bool:
        """Every subject must come to the same checksum at the same scale."""
        first, checksum = self._checksums.setdefault(
            (workload.name, found.scale), (name, found.checksum)
        )
        if checksum != found.checksum:
            self._fail(
                f"{workload.name}: checksum {found.checksum} on {name}, {checksum} on {first}"
            )
        return checksum == found.checksum

    def _fail(self, text: str) -> None:
        self._told(f"FAILED {text}")
        self.results.failures.append(text)


class _Bootable:
    """An emulator's guest, booted again after a failure."""

    def __init__(
        self, emulator: Emulator, machine: Machine, stack: ExitStack, told: Callable[[str], None]
    ) -> None:
        self._emulator, self._machine, self._told = emulator, machine, told
        self.guest: Guest | None = None
        stack.callback(self.drop)

    def boot(self) -> None:
        self.guest = Guest(self._emulator.boot(self._machine), self._emulator.env)
        if complaints := self.guest.complaints():
            self._told(f"{self._emulator.name} says at its boot: {complaints}")

    def drop(self) -> None:
        if self.guest is not None:
            self.guest.close()
        self.guest = None
