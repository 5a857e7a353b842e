"""`python -m bench run`: a few workloads on some subjects, quickly; figures as they come.

For whoever works on an engine: one boot of Lamina, no QEMU, no native, nothing written. Called by
`__main__.py`, which also takes `prepared` from here for the whole table.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import applications, build, image
from bench.catalogue import COMPILED, Workload, chosen
from bench.figures import quantity
from bench.native import Native
from bench.sampling import Commands, Sample, Suite
from bench.subjects import LAMINA, NATIVE, QEMU, VECTOR, Emulator, Machine, lamina_environment

EVERYTHING = (*COMPILED, *applications.WORKLOADS)


def told(text: str) -> None:
    """Progress goes to standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the suites need on disk: the machine, the native programs by name, input files."""

    machine: Machine
    natives: Mapping[str, Path]
    files: Mapping[str, bytes]
    packages: Sequence[str]

    @contextmanager
    def hosts(self) -> Iterator[dict[str, Commands]]:
        """The native subjects, with their folders."""
        with ExitStack() as stack:
            found: dict[str, Commands] = {}
            for name, work in self.natives.items():
                found[name] = stack.enter_context(Native({"work": work}, self.files))
            yield found


def prepare(
    workloads: Sequence[Workload], folder: Path, natives: Sequence[str], cpus: int = 1
) -> Prepared:
    """Compile, fetch and lay out what these workloads need; `folder` gets the initrd."""
    from lamina.cli.progress import progress_on_stderr
    from lamina.images import debian

    base = debian.ensure(progress_on_stderr())
    archive, packages = b"", list[str]()
    files: dict[str, bytes] = {}
    if any(w.group == "apps" for w in workloads):
        archive, packages = image.applications(base, progress_on_stderr())
        files = dict(applications.files())
    initrd = folder / "bench.cpio"
    initrd.write_bytes(image.initrd(base, {"work": build.program("guest", told)}, files, archive))
    machine = Machine(base.kernel, initrd, image.MEMORY, image.COMMAND_LINE, cpus)
    variants = {NATIVE: "native", VECTOR: "vector"}
    programs = {name: build.program(variants[name], told) for name in natives}
    return Prepared(machine, programs, files, [*base.packages[:1], *packages])


def scales(
    workloads: Sequence[Workload], quick: bool, scale: float = 1.0
) -> list[tuple[Workload, int]]:
    """Workloads with the scales of their samples."""
    return [(w, max(1, round(w.scaled(quick) * scale))) for w in workloads]


def run(given: argparse.Namespace, qemu_program: Callable[[], str | None], folder: Path) -> int:
    """Measure and print; the exit status."""
    workloads = chosen(given.names, EVERYTHING)
    subjects = [name.strip() for name in given.subjects.split(",")]
    if unknown := set(subjects) - {LAMINA, QEMU, NATIVE}:
        raise ValueError(f"{', '.join(sorted(unknown))}: subjects are lamina, qemu and native")
    emulators = []
    if LAMINA in subjects:
        cache = folder / "cache" if given.fresh else None
        emulators.append(Emulator(LAMINA, None, given.engine, lamina_environment(cache)))
    if QEMU in subjects:
        program = qemu_program()
        if program is None:
            raise ValueError("qemu: there is none; name one with --qemu")
        emulators.append(Emulator(QEMU, program))
    natives = [NATIVE] if NATIVE in subjects else []
    prepared = prepare(workloads, folder, natives, given.cpus)
    with prepared.hosts() as hosts:
        suite = Suite(prepared.machine, emulators, hosts, told, show)
        for number in range(given.rounds):
            suite.round(scales(workloads, given.quick, given.scale), number)
    return 1 if suite.results.failures else 0


def show(workload: Workload, subject: str, found: Sample) -> None:
    """One line a sample."""
    print(
        f"{workload.name:10} {subject:8} {quantity(found.rate):>7} {workload.unit}/CPU-s"
        f"  {found.cpu:8.3f} CPU s {found.wall:8.3f} wall s  {found.units:.6g} {workload.unit}",
        flush=True,
    )
