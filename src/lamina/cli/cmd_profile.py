"""`lamina profile`: where a guest's time goes. Options only; `cli/profile.py` does it."""

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.options import Append, Cpus, Engine, Memory, Mirror, PerfMap, Stats, Timeout

Command = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- CMD...]", help="What to run in Debian.", show_default=False),
]
Boot = Annotated[
    bool,
    typer.Option("--boot", help="From power-on, not only from where the command begins."),
]
Rate = Annotated[
    int, typer.Option("--rate", metavar="N", help="Samples a second and vCPU, 1 to 1000.")
]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many lines to print.")]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write everything to FILE as well."),
]


def profile(
    command: Command = None,
    boot: Boot = False,
    rate: Rate = 1000,
    top: Top = 25,
    json: Json = None,
    cpus: Cpus = 1,
    memory: Memory = "512M",
    engine: Annotated[Engine, typer.Option("--engine", help="threaded or jit.")] = Engine.JIT,
    append: Append = "",
    mirror: Mirror = None,
    timeout: Timeout = None,
    stats: Stats = False,
    perf_map: PerfMap = False,
) -> None:
    """Run a command in Debian, and tell on standard error which guest functions took the time.

    Names come from the kernel's own table of symbols, and from the files of the image whose code is
    what the guest ran. A function that has no name there is called by its address in the file
    (fn_...), code of no known file by its page. The exit status is the command's.

    \b
    Examples:
      lamina profile -- sha256sum /usr/bin/bash
      lamina profile --boot
      lamina profile --json profile.json --top 40 -- sh -c 'for i in 1 2 3; do ls -R /; done'
      lamina profile --engine threaded --rate 200 -- gzip -k /usr/bin/bash
      perf record -- lamina profile --perf-map -- true; perf report
    """
    from lamina.cli import launch
    from lamina.cli import profile as profiling

    common = launch.Common(
        cpus=cpus,
        memory=memory,
        engine=engine.value,
        append=append,
        mirror=mirror,
        timeout=timeout,
        stats=stats,
        perf_map=perf_map,
    )
    wanted = profiling.Wanted(boot=boot, rate=rate, top=top, json=json)
    raise typer.Exit(profiling.profile_debian(command or [], common, wanted))
