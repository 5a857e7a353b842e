"""`lamina lockstep`: one program on two engines, to the first difference.

`debug/lockstep.py` does it; this has the options and prints what was found.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lamina.base.errors import ImageError
from lamina.base.units import parse_size

STATUS_DIFFERENT = 1


class Against(StrEnum):
    """What the threaded engine is held to."""

    REFERENCE = "reference"


class Start(StrEnum):
    """How the program starts."""

    BARE = "bare"
    NONE = "none"


def lockstep(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM", help="An ELF file or a kernel.")],
    against: Annotated[
        Against, typer.Option("--against", help="What the threaded engine is held to.")
    ] = Against.REFERENCE,
    firmware: Annotated[
        Start,
        typer.Option(
            "--firmware", help="bare: start in machine mode; none: as a paravirtual kernel."
        ),
    ] = Start.BARE,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Guest RAM.")] = "64M",
    max_instructions: Annotated[
        int, typer.Option("--max-instructions", metavar="N", min=1, help="Stop after so many.")
    ] = 1_000_000,
) -> None:
    """Run a program on two engines side by side, and stop where they differ.

    Every register, CSR and byte of memory is compared; at a difference the last instructions
    before it are printed, and the exit status is 1. Time is deterministic, with one vCPU.

    \b
    Examples:
      lamina lockstep rv64ui-p-add
      lamina lockstep monitor.elf --firmware none --max-instructions 300000
    """
    from lamina.debug.lockstep import compare_machines
    from lamina.machine import MachineConfig

    if not program.is_file():
        raise ImageError(f"{program}: no such file")
    config = MachineConfig(
        kernel=program, firmware=firmware.value, memory=parse_size(memory, "--memory")
    )
    engines = (against.value, "threaded")
    report = compare_machines(config, engines, max_instructions)
    if report.difference is not None:
        typer.echo(str(report.difference))
        raise typer.Exit(STATUS_DIFFERENT)
    end = "the limit" if report.ended == "limit" else f"the guest's {report.ended}"
    count = f"{report.instructions:,} instructions"
    typer.echo(f"{engines[1]} and {engines[0]} agree: {count}, to {end}")
