"""`python -m bench`: every workload on Lamina, QEMU and the host, boots, SMP: one page of tables.

Called by `__main__.py`. Owns the page `docs/benchmarks/workloads.md`, its plot, and the file of
raw figures that `--json` asks for.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import smp, tables
from bench.boot import BootBench
from bench.catalogue import GROUPS, SMP, Workload, chosen
from bench.process import BenchError, Sample
from bench.report import Section, host, markdown, process_section, show, versions
from bench.rounds import in_turn
from bench.run import EVERYTHING, Prepared, prepare, scales, told
from bench.sampling import Results, Suite
from bench.subjects import LAMINA, NATIVE, QEMU, VECTOR, Emulator, lamina_environment, qemu_version

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "workloads.md"
BOOT = "boot"
TITLE = "Lamina beside QEMU and native"
INTRODUCTION = """\
Made by `python -m bench` (see [README](README.md)): work per second of the host's CPU time, of all
threads and child processes of an emulator, median of the rounds. Every emulator runs the same
Debian guest. Lamina's code cache is empty in the first round and warm in those after it."""


@dataclass
class Outcome:
    """All that was found."""

    sections: list[Section] = field(default_factory=list)
    targets: list[tables.Target] = field(default_factory=list)
    samples: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def keep(self, part: str, samples: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Raw figures, for the file; each sample is a dataclass."""
        for name, each in samples.items():
            self.samples[f"{part}/{name}"] = {
                s: [asdict(x) for x in all] for s, all in each.items()
            }


def run(given: argparse.Namespace, qemu_program: str | None, folder: Path) -> int:
    """Measure, show, keep; the exit status."""
    workloads = _workloads(given.names)
    wanted = set(given.names) or {BOOT, SMP}
    natives = [NATIVE, VECTOR] if any(w.group != "apps" for w in workloads) else [NATIVE]
    emulators = [Emulator(LAMINA, None, given.engine, lamina_environment(folder / "cache"))]
    names = {LAMINA: f"Lamina{f' ({given.engine})' if given.engine else ''}"}
    if qemu_program:
        emulators.append(Emulator(QEMU, qemu_program))
        names[QEMU] = qemu_version(qemu_program)
    rounds = 1 if given.quick else given.rounds
    prepared = prepare(workloads, folder, natives)
    outcome = Outcome()
    if workloads:
        _measure_workloads(outcome, prepared, emulators, names, workloads, rounds, given.quick)
    if SMP in wanted:
        _measure_smp(outcome, prepared, emulators, names, rounds, given.quick)
    if BOOT in wanted:
        _measure_boot(outcome, given.engine, qemu_program, names, rounds, folder)
    engine = f"Lamina's engine: {given.engine or 'the default'}; rounds: {rounds}"
    facts = [host(), *versions(), *([names[QEMU]] if qemu_program else []), engine]
    facts.append("Debian: " + ", ".join(prepared.packages))
    report(outcome, facts, given)
    return 1 if outcome.failures else 0


def _workloads(names: Sequence[str]) -> list[Workload]:
    """Those of the main tables."""
    others = [name for name in names if name not in (BOOT, SMP)]
    found = chosen(others, EVERYTHING) if others or not names else []
    return [workload for workload in found if workload.group != SMP]


def _measure_workloads(
    outcome: Outcome,
    prepared: Prepared,
    emulators: Sequence[Emulator],
    names: Mapping[str, str],
    workloads: Sequence[Workload],
    rounds: int,
    quick: bool,
) -> None:
    with prepared.hosts() as hosts:
        suite = Suite(prepared.machine, emulators, hosts, told)
        for number in range(rounds):
            suite.round(scales(workloads, quick), number)
    results: Results = suite.results
    outcome.keep("workloads", results.samples)
    outcome.failures += results.failures
    outcome.complaints += results.complaints
    found = tables.lines(workloads, results.samples)
    for group in GROUPS:
        own = [line for line in found if line.workload.group == group.name]
        if own:
            outcome.sections.append(tables.group_section(group, own, names))
    outcome.targets += tables.targets(found, tables.first_round(workloads, results.samples))


def _measure_smp(
    outcome: Outcome,
    prepared: Prepared,
    emulators: Sequence[Emulator],
    names: Mapping[str, str],
    rounds: int,
    quick: bool,
) -> None:
    workloads = scales(chosen(smp.WORKLOADS, EVERYTHING), quick)
    samples, failures = smp.measure(prepared.machine, emulators, workloads, rounds, told)
    outcome.keep("smp", samples)
    outcome.failures += failures
    rates = smp.medians(samples)
    outcome.sections.append(smp.section(rates, [e.name for e in emulators], names))
    outcome.targets += smp.targets(rates)


def _measure_boot(
    outcome: Outcome,
    engine: str | None,
    qemu_program: str | None,
    names: Mapping[str, str],
    rounds: int,
    folder: Path,
) -> None:
    from lamina.cli.progress import progress_on_stderr
    from lamina.images import debian

    image = debian.ensure(progress_on_stderr())
    bench = BootBench(folder, folder / "cache", qemu_program, image, engine=engine)
    try:
        bench.subjects["lamina, warm"]()  # fills the cache that is called warm
        found = in_turn(bench.subjects, rounds, told)
    except BenchError as error:
        outcome.failures.append(f"boot: {error}")
        return
    outcome.keep("boot", {"init": found})
    note = f"From process start; {image.packages[0]}, one hart, 1 GiB, the same files for all."
    outcome.sections.append(process_section("Boot to the first line of init", note, found, names))
    cpu = {name: statistics.median(s.cpu for s in samples) for name, samples in found.items()}
    memory = {name: _resident(samples) for name, samples in found.items()}
    outcome.targets += tables.boot_targets(cpu, memory)


def _resident(samples: Sequence[Sample]) -> float:
    return statistics.median([sample.resident or 0 for sample in samples])


def report(outcome: Outcome, facts: Sequence[str], given: argparse.Namespace) -> None:
    """On the terminal, and in the files that were asked for."""
    columns = ("what", "measured", "target", "")
    goals = Section("Targets", "", columns, [target.row() for target in outcome.targets])
    sections = [goals, *outcome.sections]
    for section in sections:
        show(section)
    for text in outcome.failures:
        print(f"FAILED {text}")
    for text in outcome.complaints:
        print(f"SAID {text}")
    if given.json:
        kept: dict[str, Any] = {"facts": list(facts), "failures": outcome.failures}
        kept |= {"complaints": outcome.complaints, "samples": outcome.samples}
        Path(given.json).write_text(json.dumps(kept, indent=1))
    if getattr(given, "write", False):
        from bench.plots import ratios

        picture = PAGE.with_suffix(".svg")
        drawn = ratios(outcome.sections, picture)
        text = markdown(
            sections, facts, picture.name if drawn else None, title=TITLE, introduction=INTRODUCTION
        )
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)
        print(f"written: {PAGE}" + ("" if drawn else " (no plot: matplotlib is not installed)"))
