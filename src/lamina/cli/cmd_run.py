"""`lamina run`: an image that Lamina knows, at the terminal. Options only; `launch.py` does it."""

from typing import Annotated

import typer

from lamina.cli.options import (
    Append,
    Cpus,
    Deterministic,
    Engine,
    EngineChoice,
    FirmwareChoice,
    Memory,
    Mirror,
    PerfMap,
    Stats,
    Timeout,
)

Image = Annotated[
    str | None,
    typer.Argument(
        metavar="[IMAGE]", help="debian; left out: the built-in guest.", show_default=False
    ),
]
Command = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- CMD...]", help="A command to run in the guest.", show_default=False
    ),
]


def run(
    image: Image = None,
    command: Command = None,
    cpus: Cpus = 1,
    memory: Memory = "512M",
    engine: EngineChoice = Engine.JIT,
    firmware: FirmwareChoice = "none",
    append: Append = "",
    deterministic: Deterministic = False,
    mirror: Mirror = None,
    timeout: Timeout = None,
    stats: Stats = False,
    perf_map: PerfMap = False,
) -> None:
    """Boot an image, attach this terminal, and exit with the guest's status.

    With no image it is the built-in guest. `debian` is Debian for riscv64: its packages are fetched
    with this host's apt the first time and kept. Ctrl-] opens a menu: quit, reset, help.

    \b
    Examples:
      lamina run
      lamina run debian --cpus 4 --memory 2G
      lamina run debian -- uname -m
      lamina run debian -- sh -c 'exit 7'
      lamina run debian --engine jit --stats -- sha256sum /usr/bin/bash
    """
    from lamina.cli import launch

    common = launch.Common(
        cpus=cpus,
        memory=memory,
        engine=engine.value,
        firmware=firmware,
        append=append,
        deterministic=deterministic,
        mirror=mirror,
        timeout=timeout,
        stats=stats,
        perf_map=perf_map,
    )
    raise typer.Exit(launch.run_image(image, command or [], common))
