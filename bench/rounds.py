"""Rounds: the subjects of a benchmark in turn, so that a busy machine hurts all of them alike."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.process import Sample

T = TypeVar("T")


def in_turn(
    subjects: Mapping[str, Callable[[], T]], rounds: int, told: Callable[[str], None]
) -> dict[str, list[T]]:
    """`rounds` samples of each subject, one of each a round."""
    found: dict[str, list[T]] = {name: [] for name in subjects}
    for number in range(rounds):
        for name, sample in subjects.items():
            told(f"{name}: {number + 1} of {rounds}")
            found[name].append(sample())
    return found


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians of samples, and the least CPU time: the one that noise disturbed least."""

    wall: float
    cpu: float
    least_cpu: float
    peak: float | None
    resident: float | None
    count: int


def summary(samples: Sequence[Sample]) -> Summary:
    """What a table shows of a subject."""
    peaks = [s.peak for s in samples if s.peak is not None]
    resident = [s.resident for s in samples if s.resident is not None]
    return Summary(
        statistics.median(s.wall for s in samples),
        statistics.median(s.cpu for s in samples),
        min(s.cpu for s in samples),
        statistics.median(peaks) if peaks else None,
        statistics.median(resident) if resident else None,
        len(samples),
    )
