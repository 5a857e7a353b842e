"""SMP: the same work on one vCPU and on two.

Two threads that compute should take half the time (wall: the host needs two free CPUs). Work of
the operating system should cost no more CPU time than on one. Called by `whole.py`.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bench.catalogue import Workload
from bench.figures import quantity, times
from bench.report import Section
from bench.sampling import Sample, Suite
from bench.subjects import LAMINA, Emulator, Machine
from bench.tables import Target

BY_WALL = frozenset({"thr2"})
COMPUTE_TARGET, SYSTEM_TARGET = 1.9, 0.95
WORKLOADS = ("thr2", "amo2", "pipe", "mprotect", "mprotect2", "fork")
MUST = ("thr2", "pipe", "mprotect")  # what the targets name
SUFFIXES = {1: "", 2: ", 2 vCPUs"}

Medians = Mapping[str, Mapping[str, float]]


def measure(
    machine: Machine,
    emulators: Sequence[Emulator],
    workloads: Sequence[tuple[Workload, int]],
    rounds: int,
    told: Callable[[str], None],
) -> tuple[dict[str, dict[str, list[Sample]]], list[str]]:
    """Samples by workload and subject (`qemu`, `qemu, 2 vCPUs`), and failures."""
    samples: dict[str, dict[str, list[Sample]]] = {}
    failures: list[str] = []
    suites = {n: Suite(replace(machine, cpus=n), emulators, {}, told) for n in SUFFIXES}
    for number in range(rounds):
        for suite in suites.values():
            suite.round(workloads, number)
    for cpus, suite in suites.items():
        failures += [f"{cpus} vCPUs: {text}" for text in suite.results.failures]
        for name, each in suite.results.samples.items():
            for subject, found in each.items():
                samples.setdefault(name, {})[subject + SUFFIXES[cpus]] = found
    return samples, failures


def medians(samples: Mapping[str, Mapping[str, Sequence[Sample]]]) -> dict[str, dict[str, float]]:
    """Units per second, of the wall's clock or of CPU time."""

    def rate(name: str, found: Sample) -> float:
        return found.units / found.wall if name in BY_WALL else found.rate

    return {
        name: {s: statistics.median(rate(name, x) for x in found) for s, found in each.items()}
        for name, each in samples.items()
    }


def section(rates: Medians, subjects: Sequence[str], names: Mapping[str, str]) -> Section:
    """The table: for each emulator one vCPU, two, and their ratio."""
    columns = ["workload", "units per"]
    for subject in subjects:
        columns += [f"{names.get(subject, subject)}, 1 vCPU", "2 vCPUs", "ratio"]
    note = "The same work on one and on two vCPUs."
    found = Section("Two vCPUs", note, columns, unit="speed with 2 vCPUs / with 1")
    for name, each in rates.items():
        row = [name, "wall s" if name in BY_WALL else "CPU-s"]
        for subject in subjects:
            one, two = each.get(subject), each.get(subject + SUFFIXES[2])
            row += ["-" if one is None else quantity(one), "-" if two is None else quantity(two)]
            row.append(times(two / one if one and two else None))
            if subject == LAMINA and one and two:
                found.values[name] = two / one
        found.rows.append(row)
    return found


def targets(rates: Medians) -> list[Target]:
    """Of Lamina."""
    result = []
    for name in MUST:
        one = rates.get(name, {}).get(LAMINA)
        two = rates.get(name, {}).get(LAMINA + SUFFIXES[2])
        ratio = two / one if one and two else None
        least = COMPUTE_TARGET if name in BY_WALL else SYSTEM_TARGET
        wanted = f"at least {least:g}" if name in BY_WALL else f"not slower (at least {least:g})"
        result.append(
            Target(
                f"Two vCPUs against one: {name}",
                times(ratio),
                wanted,
                None if ratio is None else ratio >= least,
            )
        )
    return result
