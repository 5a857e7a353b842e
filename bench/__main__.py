"""`python -m bench`: choose benchmarks, run them in turn, show and keep the results."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench.boot import BootBench
from bench.loop import LoopBench
from bench.process import BenchError
from bench.report import (
    Section,
    loop_section,
    markdown,
    plot,
    process_section,
    show,
    versions,
)
from bench.rounds import in_turn
from bench.startup import StartupBench
from bench.subjects import qemu_version
from lamina.base.errors import LaminaError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "machine.md"
CHOICES = ("loop", "boot", "command", "startup")


def arguments() -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("which", nargs="*", metavar="|".join(CHOICES), help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each (default 5)")
    parser.add_argument(
        "--qemu",
        default=shutil.which("qemu-system-riscv64"),
        help="the qemu-system-riscv64 to compare with (default: the host's; '' for none)",
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and its plot")
    given = parser.parse_args()
    if unknown := set(given.which) - set(CHOICES):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(CHOICES)}")
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    return given


def run(given: argparse.Namespace, folder: Path) -> list[Section]:
    """The chosen benchmarks' tables."""
    which, sections = given.which or CHOICES, []
    cache = folder / "warm"
    names = {"qemu": qemu_version(given.qemu)} if given.qemu else {}

    def told(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    StartupBench(folder, cache).subjects["lamina run"]()  # fills the code cache
    if "loop" in which:
        loop = LoopBench(folder, cache, given.qemu or None)
        sections.append(loop_section(in_turn(loop.subjects, given.rounds, told), names))
    for name, title in (("boot", "first line of init"), ("command", "a command starts")):
        if name in which:
            sections.append(_boot(name, title, given, folder, cache, names))
    if "startup" in which:
        found = in_turn(StartupBench(folder, cache).subjects, given.rounds, told)
        note = "To the prompt of the built-in guest, or to the command's end."
        sections.append(process_section("Start-up", note, found, names))
    return sections


def _boot(
    name: str,
    title: str,
    given: argparse.Namespace,
    folder: Path,
    cache: Path,
    names: dict[str, str],
) -> Section:
    from lamina.cli.progress import progress_on_stderr
    from lamina.images import debian

    image = debian.ensure(progress_on_stderr())
    bench = BootBench(folder, cache, given.qemu or None, image, to_command=name == "command")
    found = in_turn(bench.subjects, given.rounds, lambda t: print(f"  {t}", file=sys.stderr))
    note = f"From process start; {image.packages[0]}, one hart, 512 MiB, the same files for all."
    return process_section(f"Debian: {title}", note, found, names)


def main() -> None:
    """Run, show, keep."""
    given = arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder:
            sections = run(given, Path(folder))
    except (BenchError, LaminaError, OSError) as error:
        sys.exit(f"bench: {error}")
    for section in sections:
        show(section)
    if given.write:
        picture = PAGE.with_suffix(".svg")
        drawn = plot(sections, picture)
        qemu = [qemu_version(given.qemu)] if given.qemu else []
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(markdown(sections, [*versions(), *qemu], picture.name if drawn else None))
        print(f"written: {PAGE}" + ("" if drawn else " (no plot: matplotlib is not installed)"))


if __name__ == "__main__":
    main()
