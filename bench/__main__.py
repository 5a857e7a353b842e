"""Lamina's speed beside QEMU's and the host's own. See docs/benchmarks/README.md.

python -m bench [NAME...]           workloads, boots and SMP, as one table
python -m bench run fib qsort       a few workloads on Lamina alone, figures as they come
python -m bench machine             the loop, boots and commands
python -m bench suites DIR          CoreMark, Dhrystone and Embench, whose sources are in DIR
python -m bench stress              many workloads at once on 4 vCPUs, for half an hour
python -m bench list                the workloads
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.process import BenchError
from lamina.base.errors import LaminaError

MACHINE_CHOICES = ("loop", "boot", "command", "startup")


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="some workloads, figures as they come"))
    machine = commands.add_parser("machine", help="the loop, boots and commands")
    machine.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(MACHINE_CHOICES)}"
    )
    machine.add_argument("--write", action="store_true", help="write machine.md and its plot")
    _add_common(machine, rounds=5)
    table = commands.add_parser("table", help="workloads, boots and SMP as one table")
    table.add_argument("names", nargs="*", metavar="NAME", help="workloads, sets, boot, smp")
    table.add_argument("--quick", action="store_true", help="a twentieth of the work, one round")
    table.add_argument("--engine", help="Lamina's engine (default: its own default)")
    table.add_argument("--json", metavar="FILE", help="keep the raw figures in FILE")
    table.add_argument("--write", action="store_true", help="write workloads.md and its plot")
    _add_common(table, rounds=5)
    suites = commands.add_parser("suites", help="CoreMark, Dhrystone, Embench out of a folder")
    suites.add_argument("folder", type=Path, metavar="DIR", help="where their sources lie")
    suites.add_argument("--quick", action="store_true", help="a twentieth of the work")
    suites.add_argument("--engine", help="Lamina's engine (default: its own default)")
    suites.add_argument("--json", metavar="FILE", help="keep the raw figures in FILE")
    _add_common(suites, rounds=5)
    stress = commands.add_parser("stress", help="many workloads at once, for long")
    stress.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    stress.add_argument("--cpus", type=_positive, default=4, help="vCPUs (default 4)")
    stress.add_argument("--engine", help="Lamina's engine (default: its own default)")
    stress.add_argument("--write", action="store_true", help="write stress.md and its plot")
    commands.add_parser("list", help="the workloads, their sets and units")
    first = argv[0] if argv else ""
    implied = [] if first in (*commands.choices, "-h", "--help") else ["table"]
    given = parser.parse_args([*implied, *argv])
    if given.command == "machine" and (unknown := set(given.names) - set(MACHINE_CHOICES)):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(MACHINE_CHOICES)}")
    return given


def _add_common(parser: argparse.ArgumentParser, rounds: int) -> None:
    parser.add_argument(
        "--rounds", type=_positive, default=rounds, help=f"samples of each (default {rounds})"
    )
    parser.add_argument(
        "--qemu",
        metavar="PROGRAM",
        help="the qemu-system-riscv64 to compare with (default: the newest; '' for none)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, rounds=1)
    parser.add_argument("names", nargs="*", metavar="NAME", help="workloads and sets; all for none")
    parser.add_argument("--subjects", default="lamina", help="of lamina,qemu,native (lamina)")
    parser.add_argument("--engine", help="Lamina's engine (default: its own default)")
    parser.add_argument("--cpus", type=_positive, default=1, help="vCPUs (default 1)")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the work")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the work")
    parser.add_argument("--fresh", action="store_true", help="start with an empty code cache")


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def qemu_program(given: argparse.Namespace) -> str | None:
    """The QEMU to compare with, or None."""
    if given.qemu is not None:
        return given.qemu or None
    from bench import qemu
    from bench.run import told
    from lamina.cli.progress import progress_on_stderr

    return qemu.newest(told, progress_on_stderr())


def dispatch(given: argparse.Namespace, folder: Path) -> int:
    """Run one command; the exit status."""
    match given.command:
        case "list":
            from bench.run import EVERYTHING

            for workload in EVERYTHING:
                print(f"{workload.name:10} {workload.group:9} {workload.unit}")
            return 0
        case "machine":
            from bench import machine

            return machine.run(given, qemu_program(given), folder)
        case "table":
            from bench import whole

            return whole.run(given, qemu_program(given), folder)
        case "suites":
            from bench import suites

            return suites.run(given, qemu_program(given), folder)
        case "stress":
            from bench import stress

            return stress.run(given, folder)
        case "run":
            from bench import run

            return run.run(given, lambda: qemu_program(given), folder)
    raise AssertionError(given.command)


def main() -> None:
    """Run, with errors as one line."""
    given = arguments(sys.argv[1:])
    try:
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder:
            sys.exit(dispatch(given, Path(folder)))
    except (BenchError, LaminaError, OSError, ValueError) as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
