"""`lamina lockstep`: one program on two engines, to the first difference.

`debug/lockstep.py` and `debug/against_qemu.py` do it; this has the options and prints what was
found.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from lamina.base.errors import ConfigError, ImageError
from lamina.base.units import parse_size

if TYPE_CHECKING:
    from lamina.debug.lockstep import Report
    from lamina.machine import MachineConfig

STATUS_DIFFERENT = 1
INSTRUCTIONS = {"reference": 1_000_000, "qemu": 10_000}


class Against(StrEnum):
    """What the threaded engine is held to."""

    REFERENCE = "reference"
    QEMU = "qemu"


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
        int | None,
        typer.Option(
            "--max-instructions",
            metavar="N",
            min=1,
            help="Stop after so many (default 1,000,000; 10,000 with QEMU).",
        ),
    ] = None,
    qemu: Annotated[
        str | None,
        typer.Option("--qemu", metavar="PROG", help="With qemu: qemu-system-riscv64, or a path."),
    ] = None,
) -> None:
    """Run a program on two engines side by side, and stop where they differ.

    Every register, CSR and byte of memory is compared; at a difference the last instructions
    before it are printed, and the exit status is 1. Time is deterministic, with one vCPU.

    With --against qemu, a bare program is single-stepped beside QEMU, a few thousand instructions
    a second: pc and x registers at every step, f registers, mstatus, mepc, mcause, mtval and
    fcsr when they change, memory at the end and every 4096 steps. It stops at the limit, at the
    program's end, at wfi and at a jump to itself. No timer fires. What a program reads from time,
    cycle and instret, or from devices that QEMU lets go their own way, is not the same there: it
    is reported as a difference, and not copied.

    \b
    Examples:
      lamina lockstep rv64ui-p-add
      lamina lockstep rv64ui-p-add --against qemu
      lamina lockstep monitor.elf --firmware none --max-instructions 300000
    """
    from lamina.machine import MachineConfig

    if not program.is_file():
        raise ImageError(f"{program}: no such file")
    if qemu is not None and against is not Against.QEMU:
        raise ConfigError("--qemu is for --against qemu")
    config = MachineConfig(
        kernel=program, firmware=firmware.value, memory=parse_size(memory, "--memory")
    )
    report = _compare(config, against, max_instructions or INSTRUCTIONS[against], qemu)
    if report.difference is not None:
        typer.echo(str(report.difference))
        raise typer.Exit(STATUS_DIFFERENT)
    end = "the limit" if report.ended == "limit" else f"the guest's {report.ended}"
    count = f"{report.instructions:,} instructions"
    typer.echo(f"threaded and {against.value} agree: {count}, to {end}")


def _compare(
    config: "MachineConfig", against: Against, instructions: int, qemu: str | None
) -> "Report":
    from lamina.debug.against_qemu import compare_with_qemu
    from lamina.debug.lockstep import compare_machines
    from lamina.debug.qemu import PROGRAM

    match against:
        case Against.REFERENCE:
            return compare_machines(config, (against.value, "threaded"), instructions)
        case Against.QEMU:
            return compare_with_qemu(config, instructions, qemu or PROGRAM, _tohost(config))
        case _:
            assert_never(against)


def _tohost(config: "MachineConfig") -> int | None:
    """Where the program says that it ends, if it is an ELF file with that symbol."""
    from lamina.machine.loaders import read_symbols

    assert isinstance(config.kernel, Path)
    with config.kernel.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return None
    return read_symbols(config.kernel).get("tohost")
