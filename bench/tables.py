"""From samples to tables: rates, ratios, means by set, and which targets are met. Pure.

Called by `whole.py`. A rate is the median of the rounds. A ratio above 1 against QEMU, and one near
1 against native, is good.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.catalogue import GROUPS, NATIVE_TARGET, SUITES, Group, Workload
from bench.figures import geometric_mean, quantity, times
from bench.report import Section
from bench.sampling import Sample
from bench.subjects import LAMINA, NATIVE, QEMU, VECTOR

Samples = Mapping[str, Mapping[str, Sequence[Sample]]]
SUITES_GROUP = Group(SUITES, "CoreMark, Dhrystone, Embench", 3.0, True)
MET, MISSED, UNKNOWN = "met", "**missed**", "not measured"


@dataclass(frozen=True, slots=True)
class Line:
    """One workload's median rates by subject."""

    workload: Workload
    rates: Mapping[str, float]

    def over(self, subject: str, other: str) -> float | None:
        """How many times the speed of `other` a subject has."""
        if subject not in self.rates or other not in self.rates:
            return None
        return self.rates[subject] / self.rates[other]


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the targets' table: what, the figure, what it should be, and whether it is."""

    what: str
    figure: str
    target: str
    met: bool | None

    def row(self) -> list[str]:
        """The cells."""
        verdict = UNKNOWN if self.met is None else MET if self.met else MISSED
        return [self.what, self.figure, self.target, verdict]


def lines(workloads: Sequence[Workload], samples: Samples) -> list[Line]:
    """The measured workloads, in order."""
    found = []
    for workload in workloads:
        rates = {
            subject: statistics.median(sample.rate for sample in rounds)
            for subject, rounds in samples.get(workload.name, {}).items()
        }
        if rates:
            found.append(Line(workload, rates))
    return found


def first_round(workloads: Sequence[Workload], samples: Samples) -> list[Line]:
    """The first samples alone: Lamina's code cache was empty."""
    return lines(
        workloads,
        {name: {s: rounds[:1] for s, rounds in each.items()} for name, each in samples.items()},
    )


def mean(found: Sequence[Line], subject: str, other: str) -> float | None:
    """The geometric mean of a ratio over those lines that have it."""
    return geometric_mean([r for line in found if (r := line.over(subject, other)) is not None])


def group_section(group: Group, found: Sequence[Line], names: Mapping[str, str]) -> Section:
    """A set's table. `names` are what subjects are called in it."""
    lamina, qemu = names.get(LAMINA, LAMINA), names.get(QEMU, QEMU)
    columns: tuple[str, ...] = ("workload", "unit", "native", "vectorised", qemu, "x native")
    columns += (lamina, "x native", "Lamina / QEMU", "ahead")
    section = Section(group.title, "Units per CPU second.", columns, unit="times QEMU's speed")
    section.mark = group.target
    for line in found:
        ratio = line.over(LAMINA, QEMU)
        cells = [_rate(line, subject) for subject in (NATIVE, VECTOR, QEMU, LAMINA)]
        cells.insert(3, times(line.over(NATIVE, QEMU)))
        cells += [times(line.over(NATIVE, LAMINA)), times(ratio), _verdict(ratio, 1.0)]
        section.rows.append([line.workload.name, line.workload.unit, *cells])
        if ratio is not None:
            section.values[line.workload.name] = ratio
    ratio = mean(found, LAMINA, QEMU)
    summary = ["*geometric mean*", "", "", "", "", times(mean(found, NATIVE, QEMU)), ""]
    section.rows.append([*summary, times(mean(found, NATIVE, LAMINA)), times(ratio), ""])
    return section


def _rate(line: Line, subject: str) -> str:
    return quantity(line.rates[subject]) if subject in line.rates else "-"


def _verdict(ratio: float | None, target: float) -> str:
    return "-" if ratio is None else "yes" if ratio >= target else "**no**"


def targets(found: Sequence[Line], first: Sequence[Line]) -> list[Target]:
    """Those that the workloads' figures decide."""
    result = [_of_group(group, found, first) for group in GROUPS]
    result.append(_every_one(found))
    compute = {group.name for group in GROUPS if group.compute}
    slower = mean([x for x in found if x.workload.group in compute], NATIVE, LAMINA)
    result.append(
        Target(
            "All compute sets, geometric mean",
            f"{times(slower)} x native",
            f"at most {NATIVE_TARGET:g} x native",
            None if slower is None else slower <= NATIVE_TARGET,
        )
    )
    return result


def suite_targets(found: Sequence[Line]) -> list[Target]:
    """Those of CoreMark, Dhrystone and Embench."""
    return [_of_group(SUITES_GROUP, found, []), _every_one(found)]


def _of_group(group: Group, found: Sequence[Line], first: Sequence[Line]) -> Target:
    ratio = mean([x for x in found if x.workload.group == group.name], LAMINA, QEMU)
    cold = mean([x for x in first if x.workload.group == group.name], LAMINA, QEMU)
    figure = f"{times(ratio)} x QEMU"
    if cold is not None:
        figure += f" ({times(cold)} with an empty code cache)"
    return Target(
        f"{group.title}, geometric mean",
        figure,
        f"at least {group.target:g} x QEMU",
        None if ratio is None else ratio >= group.target,
    )


def _every_one(found: Sequence[Line]) -> Target:
    ratios = {line.workload.name: line.over(LAMINA, QEMU) for line in found}
    behind = [f"{name} {times(r)}" for name, r in ratios.items() if r is not None and r < 1]
    known = [r for r in ratios.values() if r is not None]
    figure = f"{len(behind)} of {len(known)} below" + (f": {', '.join(behind)}" if behind else "")
    return Target("Every single workload", figure, "none below QEMU", not behind if known else None)


def boot_targets(cpu: Mapping[str, float], memory: Mapping[str, float]) -> list[Target]:
    """From medians at the first line of init: CPU seconds, resident bytes. Subjects: boot.py's."""
    cold, warm, other = (cpu.get(name) for name in ("lamina, cold", "lamina, warm", "qemu"))
    result = []
    for what, own, part in (("empty", cold, 1.0), ("warm", warm, 0.5)):
        known = own is not None and other is not None
        result.append(
            Target(
                f"Boot to init, {what} code cache",
                f"{own:.2f} CPU-s, QEMU {other:.2f}" if known else "-",
                "at most QEMU's" if part == 1 else "at most half of QEMU's",
                own <= part * other if own is not None and other is not None else None,
            )
        )
    mine, theirs = memory.get("lamina, cold"), memory.get("qemu")
    mib = 1 << 20
    known = mine is not None and theirs is not None
    result.append(
        Target(
            "Resident memory at init, empty code cache",
            f"{(mine or 0) / mib:.0f} MiB, QEMU {(theirs or 0) / mib:.0f}" if known else "-",
            "at most QEMU's",
            mine <= theirs if mine is not None and theirs is not None else None,
        )
    )
    return result
