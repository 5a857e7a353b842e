"""`python -m bench suites DIR`: CoreMark, Dhrystone and Embench, out of sources that lie in DIR.

They are other people's and not part of this tree: fetch them, each into a folder of its own below
DIR (any names, any depth), and they are found by their files. Called by `__main__.py`. The same
compiler and flags as for the workloads; each program must come to its own right result.
"""

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import build, image, tables
from bench.catalogue import SUITES, Application, Workload
from bench.native import Native
from bench.process import BenchError
from bench.run import scales, told
from bench.sampling import Commands, Suite
from bench.subjects import (
    LAMINA,
    NATIVE,
    QEMU,
    Emulator,
    Machine,
    lamina_environment,
    qemu_version,
)
from bench.whole import Outcome, report
from lamina.images.cache import cache_root

BOARD = Path(__file__).with_name("board")
COREMARK_SEEDS = "0x0 0x0 0x66"
# Times that each is done: for QEMU some ten seconds, the shortest run that CoreMark's rules allow,
# and on average the four that Embench is made for.
COREMARK_SCALE, DHRYSTONE_SCALE, EMBENCH_SCALE = 30_000, 20, 2000
OLD_C = ("-std=gnu89", "-w")  # what sources of 1988 need


@dataclass(frozen=True, slots=True)
class Program:
    """A program of a suite: its workload, and how it is compiled."""

    workload: Workload
    sources: tuple[Path, ...]
    flags: tuple[str, ...]


def found_in(folder: Path) -> list[Program]:
    """The programs whose sources are below a folder."""
    finders: tuple[Callable[[Path], Iterator[Program]], ...] = (_coremark, _dhrystone, _embench)
    return [program for finder in finders for program in finder(folder)]


def _coremark(folder: Path) -> Iterator[Program]:
    for main in sorted(folder.rglob("core_main.c"))[:1]:
        home = main.parent
        sources = (*sorted(home.glob("core_*.c")), home / "posix" / "core_portme.c")
        flags = (f"-I{home}", f"-I{home / 'posix'}", '-DFLAGS_STR="-O2"', "-w", "-std=gnu11")
        command = f"./coremark {COREMARK_SEEDS} {{n}} 7 1 2000 > out"
        run = Application(command, 1, "grep crc out | cksum")
        yield Program(
            Workload("coremark", SUITES, "iteration", COREMARK_SCALE, run), sources, flags
        )


def _dhrystone(folder: Path) -> Iterator[Program]:
    # Some are made to run a fixed number of times, whatever they are asked for.
    asks = [path for path in sorted(folder.rglob("dhry_1.c")) if b"scanf" in path.read_bytes()]
    for first in asks[-1:]:
        check = "grep -B1 'should be' out | grep -v -e Ptr_Comp -e '^--' | cksum"
        run = Application("echo {n}000000 | ./dhrystone > out", 1e6, check)
        sources = (first, first.with_name("dhry_2.c"))
        workload = Workload("dhrystone", SUITES, "iteration", DHRYSTONE_SCALE, run)
        yield Program(workload, sources, (f"-I{first.parent}", "-DTIME", *OLD_C))


def _embench(folder: Path) -> Iterator[Program]:
    for support in sorted(folder.rglob("beebsc.h"))[:1]:
        common = [support.with_name(name) for name in ("main.c", "beebsc.c")]
        for home in sorted((support.parents[1] / "src").iterdir()):
            sources = (*sorted(home.glob("*.c")), *common, BOARD / "boardsupport.c")
            flags = (f"-I{support.parent}", f"-I{BOARD}", "-include", "boardsupport.h", "-w")
            name = home.name.replace("-", "_")
            run = Application(f"SCALE={{n}} ./{name} > out", 1)
            workload = Workload(f"e_{name}", SUITES, "scale", EMBENCH_SCALE, run)
            if home.is_dir() and len(sources) > 3:
                yield Program(workload, sources, (*flags, "-std=gnu11"))


def compiled(program: Program, variant: str) -> Path:
    """A suite's program for the guest or the host, out of the cache or compiled first."""
    warnings = ("-Wall", "-Wextra", "-Werror", "-std=c11")
    base = [flag for flag in build.FLAGS if flag not in warnings]
    flags = (*build.VARIANTS[variant], *base, *program.flags)
    state = hashlib.sha256(repr(flags).encode())
    for path in program.sources:
        state.update(path.read_bytes())
    output = cache_root() / "bench" / state.hexdigest()[:32] / program.workload.name
    if not output.is_file():
        told(f"compiling {program.workload.name} ({variant})")
        build.compile_program(program.sources, flags, output)
    return output


def run(given: argparse.Namespace, qemu_program: str | None, folder: Path) -> int:
    """Compile, measure, show; the exit status."""
    from lamina.cli.progress import progress_on_stderr
    from lamina.images import debian

    programs = found_in(given.folder)
    if not programs:
        raise ValueError(f"{given.folder}: no sources of CoreMark, Dhrystone or Embench below it")
    outcome = Outcome()
    guest, host = _compiled(programs, outcome)
    workloads = [p.workload for p in programs if p.workload.name in host]
    base = debian.ensure(progress_on_stderr())
    work = build.program("guest", told)
    initrd = folder / "suites.cpio"
    initrd.write_bytes(image.initrd(base, {"work": work, **_files(programs, guest)}, {}, b""))
    machine = Machine(base.kernel, initrd, image.MEMORY, image.COMMAND_LINE)
    emulators = [Emulator(LAMINA, None, given.engine, lamina_environment(folder / "cache"))]
    names = {LAMINA: "Lamina"}
    if qemu_program:
        emulators.append(Emulator(QEMU, qemu_program))
        names[QEMU] = qemu_version(qemu_program)
    with ExitStack() as stack:
        native = stack.enter_context(Native(_files(programs, host), {}))
        hosts: dict[str, Commands] = {NATIVE: native}
        suite = Suite(machine, emulators, hosts, told)
        for number in range(given.rounds):
            suite.round(scales(workloads, given.quick), number)
    outcome.keep("suites", suite.results.samples)
    outcome.failures += suite.results.failures
    lines = tables.lines(workloads, suite.results.samples)
    outcome.sections.append(tables.group_section(tables.SUITES_GROUP, lines, names))
    outcome.targets += tables.suite_targets(lines)
    report(outcome, [*names.values(), f"{given.rounds} rounds"], given)
    return 1 if outcome.failures else 0


def _compiled(
    programs: Sequence[Program], outcome: Outcome
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The guest's and the host's programs by workload; one that does not compile is a failure."""
    guest, host = {}, {}
    for program in programs:
        name = program.workload.name
        try:
            guest[name], host[name] = compiled(program, "guest"), compiled(program, "native")
        except BenchError as error:
            outcome.failures.append(f"{name}: {error}")
    return guest, {name: path for name, path in host.items() if name in guest}


def _files(programs: Sequence[Program], paths: dict[str, Path]) -> dict[str, Path]:
    """By the names under which the commands call them."""
    return {
        program.workload.name.removeprefix("e_"): paths[program.workload.name]
        for program in programs
        if program.workload.name in paths
    }
