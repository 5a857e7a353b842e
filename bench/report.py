"""What was measured, as a table on the terminal, a page in Markdown, and a plot."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.process import Sample
from bench.rounds import summary
from lamina.base.version import __version__

MIB = 1 << 20
WIDTH = 160  # columns of a table in a file


@dataclass
class Section:
    """One benchmark's table: a title, a note, column names, rows."""

    title: str
    note: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)  # what the plot shows
    unit: str = ""
    mark: float | None = None  # a target among those values


def loop_section(found: Mapping[str, Sequence[float]], names: Mapping[str, str]) -> Section:
    """MIPS of the engines."""
    section = Section(
        "The loop",
        "The memory loop of 7 instructions (two loads, one store), CPU time of the loop alone.",
        ("engine", "MIPS, median", "lowest", "highest", "runs"),
        unit="MIPS",
    )
    for key, rates in found.items():
        name, middle = names.get(key, key), statistics.median(rates)
        numbers = [f"{value:,.2f}" for value in (middle, min(rates), max(rates))]
        section.rows.append([name, *numbers, str(len(rates))])
        section.values[name] = middle
    return section


def process_section(
    title: str, note: str, found: Mapping[str, Sequence[Sample]], names: Mapping[str, str]
) -> Section:
    """Wall time, CPU time and memory of processes."""
    columns = ("", "wall s", "CPU s", "least CPU s", "resident MiB", "peak MiB", "runs")
    section = Section(title, note, columns, unit="CPU s")
    for key, samples in found.items():
        name, s = names.get(key, key), summary(samples)
        times = [f"{value:.2f}" for value in (s.wall, s.cpu, s.least_cpu)]
        memory = ["" if m is None else f"{m / MIB:.0f}" for m in (s.resident, s.peak)]
        section.rows.append([name, *times, *memory, str(s.count)])
        section.values[name] = s.cpu
    return section


def show(section: Section) -> None:
    """The table on the terminal."""
    table = Table(title=section.title, caption=section.note)
    for number, column in enumerate(section.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in section.rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)


def markdown(
    sections: Sequence[Section],
    facts: Sequence[str],
    plot: str | None,
    title: str,
    introduction: str,
) -> str:
    """A page in docs/benchmarks. `facts`: the host, versions; `plot`: the picture's file."""
    lines = [f"# {title}", "", introduction, ""]
    lines += [f"- {text}" for text in facts]
    lines += ["", f"![{title}]({plot})"] if plot else []
    for section in sections:
        lines += ["", f"## {section.title}", ""]
        lines += [section.note, ""] if section.note else []
        lines.append("| " + " | ".join(section.columns) + " |")
        lines.append("| --- |" + " ---: |" * (len(section.columns) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in section.rows]
    return "\n".join(lines) + "\n"


def host() -> str:
    """The day, the processor, and how busy it was."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    return f"{date.today()}, {model}, {os.cpu_count()} CPUs, load {load:.1f} at the end"


def versions() -> list[str]:
    """Lamina and what it runs on."""
    return [
        f"Lamina {__version__}, Python {platform.python_version()}, llvmlite {version('llvmlite')}"
    ]


def plot(sections: Sequence[Section], path: Path) -> bool:
    """Bars, one panel a section; False if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lamina"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(sections), 1, figsize=(7, 1 + 1.5 * len(sections)), squeeze=False
    )
    for axis, section in zip(axes[:, 0], sections, strict=True):
        bars = axis.barh(list(section.values), list(section.values.values()), color="#4477aa")
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.set_title(section.title, loc="left", fontsize=10)
        axis.set_xlabel(section.unit, fontsize=8)
        axis.margins(x=0.15)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    return True
