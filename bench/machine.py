"""`python -m bench machine`: the loop, boots and commands, beside QEMU; results to machine.md.

Called by `__main__.py`.
"""

import argparse
import sys
from pathlib import Path

from bench.boot import BootBench
from bench.loop import LoopBench
from bench.report import (
    Section,
    host,
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

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "machine.md"
TITLE = "The machine's speed, measured"
INTRODUCTION = (
    "Made by `python -m bench machine`: medians of runs in turn, CPU time of all threads."
)
CHOICES = ("loop", "boot", "command", "startup")


def sections_of(given: argparse.Namespace, qemu_program: str | None, folder: Path) -> list[Section]:
    """The chosen benchmarks' tables."""
    which, sections = given.names or CHOICES, []
    cache = folder / "warm"
    names = {"qemu": qemu_version(qemu_program)} if qemu_program else {}

    def told(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    StartupBench(folder, cache).subjects["lamina run"]()  # fills the code cache
    if "loop" in which:
        loop = LoopBench(folder, cache, qemu_program)
        sections.append(loop_section(in_turn(loop.subjects, given.rounds, told), names))
    for name, title in (("boot", "first line of init"), ("command", "a command starts")):
        if name in which:
            sections.append(_boot(name, title, given.rounds, qemu_program, folder, cache, names))
    if "startup" in which:
        found = in_turn(StartupBench(folder, cache).subjects, given.rounds, told)
        note = "To the prompt of the built-in guest, or to the command's end."
        sections.append(process_section("Start-up", note, found, names))
    return sections


def _boot(
    name: str,
    title: str,
    rounds: int,
    qemu_program: str | None,
    folder: Path,
    cache: Path,
    names: dict[str, str],
) -> Section:
    from lamina.cli.progress import progress_on_stderr
    from lamina.images import debian

    image = debian.ensure(progress_on_stderr())
    bench = BootBench(folder, cache, qemu_program, image, to_command=name == "command")
    found = in_turn(bench.subjects, rounds, lambda t: print(f"  {t}", file=sys.stderr))
    note = f"From process start; {image.packages[0]}, one hart, 1 GiB, the same files for all."
    return process_section(f"Debian: {title}", note, found, names)


def run(given: argparse.Namespace, qemu_program: str | None, folder: Path) -> int:
    """Run, show, keep; the exit status."""
    sections = sections_of(given, qemu_program, folder)
    for section in sections:
        show(section)
    if given.write:
        picture = PAGE.with_suffix(".svg")
        drawn = plot(sections, picture)
        qemu = [qemu_version(qemu_program)] if qemu_program else []
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        facts = [host(), *versions(), *qemu]
        picture_name = picture.name if drawn else None
        PAGE.write_text(markdown(sections, facts, picture_name, TITLE, INTRODUCTION))
        print(f"written: {PAGE}" + ("" if drawn else " (no plot: matplotlib is not installed)"))
    return 0
