"""`lamina boot`: any machine by hand. Options only; `launch.py` does it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.options import (
    Append,
    Cpus,
    Deterministic,
    Engine,
    EngineChoice,
    FirmwareChoice,
    MaxInstructions,
    Memory,
    Mirror,
    PerfMap,
    Stats,
    Timeout,
)


class Console(StrEnum):
    """Which device the terminal is."""

    UART = "uart"
    VIRTIO = "virtio"


Kernel = Annotated[
    str | None,
    typer.Option(
        "--kernel", metavar="K", help="ELF, Linux Image (plain or gzip) or raw; or u-boot."
    ),
]
Initrd = Annotated[Path | None, typer.Option("--initrd", metavar="I", help="Initial RAM disk.")]
BiosImage = Annotated[
    Path | None,
    typer.Option("--bios-image", metavar="B", help="A raw image at the reset address."),
]
Disk = Annotated[
    list[str] | None,
    typer.Option(
        "--disk",
        metavar="FILE[,readonly][,snapshot]",
        help="A raw image or block device; repeatable. snapshot: changes are thrown away.",
    ),
]
Trace = Annotated[
    list[str] | None,
    typer.Option(
        "--trace",
        metavar="KINDS",
        help="Print events, by comma: trap, irq, sbi, exit, mmio or mmio:DEVICE (mmio:uart0).",
    ),
]
TraceFile = Annotated[
    Path | None,
    typer.Option("--trace-file", metavar="F", help="Where --trace goes instead of stderr."),
]
LogCommits = Annotated[
    Path | None,
    typer.Option(
        "--log-commits",
        metavar="F",
        help="Write every instruction's effects to F, as Spike does; slow.",
    ),
]
DumpDtb = Annotated[
    Path | None,
    typer.Option("--dump-dtb", metavar="F", help="Write the machine's device tree to F, and exit."),
]


def boot(
    kernel: Kernel = None,
    initrd: Initrd = None,
    append: Append = "",
    firmware: FirmwareChoice = "none",
    bios_image: BiosImage = None,
    disk: Disk = None,
    memory: Memory = "512M",
    cpus: Cpus = 1,
    engine: EngineChoice = Engine.JIT,
    deterministic: Deterministic = False,
    console: Annotated[Console, typer.Option("--console", help="The terminal.")] = Console.UART,
    max_instructions: MaxInstructions = None,
    timeout: Timeout = None,
    stats: Stats = False,
    perf_map: PerfMap = False,
    trace: Trace = None,
    trace_file: TraceFile = None,
    log_commits: LogCommits = None,
    dump_dtb: DumpDtb = None,
    mirror: Mirror = None,
) -> None:
    """Boot any machine by hand: what it is made of, and what is loaded into it.

    The exit status is what the guest wrote to its test finisher; 70 if it crashed, 124 after
    --timeout, 125 after --max-instructions.

    \b
    Examples:
      lamina boot --kernel Image --initrd initrd.cpio --append 'console=ttyS0'
      lamina boot --firmware opensbi --kernel u-boot --disk debian.img,snapshot
      lamina boot --firmware bare --kernel xv6/kernel --disk xv6/fs.img --cpus 3
      lamina boot --firmware bare --kernel rv64ui-p-add --max-instructions 100000
      lamina boot --kernel Image --trace mmio:uart0,irq --trace-file events
      lamina boot --kernel Image --engine jit --stats --timeout 20
      lamina boot --cpus 4 --dump-dtb virt.dtb
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
    parts = launch.Parts(
        kernel=kernel,
        initrd=initrd,
        bios_image=bios_image,
        disks=tuple(launch.parse_disk(text) for text in disk or []),
        console=console.value,
        max_instructions=max_instructions,
        trace=frozenset(item for text in trace or [] for item in text.split(",") if item),
        trace_file=trace_file,
        log_commits=log_commits,
    )
    raise typer.Exit(launch.boot_parts(parts, common, dump_dtb))
