"""Options that several commands share, each written once. Called by the `cmd_*` files."""

from enum import StrEnum
from math import isnan
from typing import Annotated

import typer


class Engine(StrEnum):
    """What executes the guest's instructions."""

    JIT = "jit"
    THREADED = "threaded"
    REFERENCE = "reference"


Cpus = Annotated[int, typer.Option("--cpus", metavar="N", help="How many vCPUs, 1 to 16.")]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Guest RAM, 32M to 64G, as in 512M or 2G.")
]
EngineChoice = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="What executes the guest's instructions: jit compiles what is hot, threaded compiles"
        " nothing, reference is plain Python.",
    ),
]
FirmwareChoice = Annotated[
    str,
    typer.Option(
        "--firmware",
        metavar="F",
        help="none: Lamina answers firmware calls itself; bare: the kernel starts in machine mode;"
        " opensbi: Debian's OpenSBI; or a file.",
    ),
]
Append = Annotated[
    str, typer.Option("--append", metavar="TEXT", help="Added to the kernel's command line.")
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic", help="Guest time comes from retired instructions: runs are repeatable."
    ),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        metavar="URL",
        envvar="LAMINA_DEBIAN_MIRROR",
        help="Debian mirror to fetch from; else the one that this host's apt uses.",
    ),
]
Stats = Annotated[
    bool,
    typer.Option("--stats", help="At the end, tell on standard error what the engine counted."),
]
PerfMap = Annotated[
    bool,
    typer.Option(
        "--perf-map",
        help="Name compiled code for Linux perf, in /tmp/perf-PID.map, which stays.",
    ),
]


def _is_a_number(seconds: float | None) -> float | None:
    """Typer's smallest value lets NaN through."""
    if seconds is not None and isnan(seconds):
        raise typer.BadParameter("nan is no number of seconds", param_hint="'--timeout'")
    return seconds


Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="S",
        min=0.0,
        callback=_is_a_number,
        help="Stop after S seconds, with status 124.",
    ),
]
MaxInstructions = Annotated[
    int | None,
    typer.Option(
        "--max-instructions",
        metavar="N",
        min=1,
        help="Stop when a vCPU has retired N instructions, with status 125.",
    ),
]
