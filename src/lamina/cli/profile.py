"""A Debian guest under the profiler, and the tables that come of it.

Called by `cmd_profile.py`. Owns nothing; `debug/profile.py` counts, `launch.py` runs the guest.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from lamina.base.errors import ConfigError, HostError, ImageError
from lamina.cli import launch
from lamina.cli.columns import aligned
from lamina.debug.profile import MAX_RATE, Hot, Profile
from lamina.debug.symbols import Kernel, Names
from lamina.images.cpio import files
from lamina.machine import Machine

NOTHING_TO_DO = ["true"]  # for --boot without a command: the boot is what is looked at
REGIONS_SHOWN = 0.4  # as many lines as this part of those of functions


@dataclass(frozen=True)
class Wanted:
    """What `lamina profile` was asked for, beside what runs."""

    boot: bool = False
    rate: int = MAX_RATE
    top: int = 25
    json: Path | None = None


def profile_debian(command: Sequence[str], common: launch.Common, wanted: Wanted) -> int:
    """Run the command, print the profile; the command's exit status."""
    if not command and not wanted.boot:
        raise ConfigError(
            "what to profile? a command, as in: lamina profile -- sha256sum /usr/bin/bash;"
            " or --boot"
        )
    if not 0 < wanted.rate <= MAX_RATE:
        raise ConfigError(f"--rate {wanted.rate}: 1 to {MAX_RATE} samples a second will do")
    if wanted.json is not None and not wanted.json.parent.is_dir():
        raise ConfigError(f"--json {wanted.json}: there is no such folder")
    profiles: list[Profile] = []

    def ready() -> None:
        profiles[0].start()

    with launch.debian_session(command or NOTHING_TO_DO, common, ready) as (opened, session):
        machine = cast(Machine, opened)
        profile = Profile(machine, wanted.rate)
        profiles.append(profile)
        profile.watch()
        if wanted.boot:
            profile.start()
        status = session.run()
        profile.stop()
        _tell(machine, profile, list(command), wanted)
    return status


def _tell(machine: Machine, profile: Profile, command: list[str], wanted: Wanted) -> None:
    names = names_of(machine)
    functions, regions = profile.functions(names), profile.regions(names)
    if wanted.json is not None:
        _write(wanted.json, machine, profile, command, functions, regions)
    if not profile.samples:
        print("lamina: no samples: the guest was not seen running", file=sys.stderr)
        return
    print_table(f"functions, {profile.samples:,} samples", functions[: wanted.top], profile.samples)
    if regions:
        few = regions[: max(5, round(wanted.top * REGIONS_SHOWN))]
        print_table("compiled regions, by where they begin", few, profile.samples)


def names_of(machine: Machine) -> Names:
    """The names in a machine that runs Linux: of its kernel, and the files of its initrd."""
    from lamina.isa.disasm import Disassembler
    from lamina.isa.riscv import RISCV64
    from lamina.isa.riscv.dialect import dialect

    initrd = machine.config.initrd
    content = initrd.read_bytes() if isinstance(initrd, Path) else initrd or b""
    disassembler = Disassembler(RISCV64.table, dialect())
    return Names(RISCV64, disassembler, _kernel(machine), files(content))


def _kernel(machine: Machine) -> Kernel | None:
    from lamina.machine.boards import virt
    from lamina.machine.loaders import ImageKind, load_kernel

    if machine.config.kernel is None:
        return None
    with suppress(ImageError):
        image = load_kernel(machine.config.kernel)
        if image.kind is ImageKind.LINUX:
            gpa = virt.DRAM + image.text_offset
            return Kernel.in_memory(image.segments[0].data, gpa, machine.space)
    return None


COLUMNS = ("share", "samples", "tier", "mode", "function", "where")


def table(title: str, hot: Sequence[Hot], samples: int) -> list[str]:
    """Lines of a profile, in columns as wide as they have to be."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for line in hot:
        share = f"{100 * line.samples / samples:.1f} %"
        rows.append((share, str(line.samples), line.tier, line.privilege, line.name, line.where))
    return [title, *aligned(rows, right={0, 1})]


def print_table(title: str, hot: Sequence[Hot], samples: int) -> None:
    """A table on standard error, and an empty line."""
    print("\n".join(table(title, hot, samples)), end="\n\n", file=sys.stderr)


def _write(
    path: Path,
    machine: Machine,
    profile: Profile,
    command: list[str],
    functions: list[Hot],
    regions: list[Hot],
) -> None:
    content: dict[str, Any] = {
        "command": command,
        "engine": machine.config.engine,
        "cpus": machine.config.cpus,
        "samples": profile.samples,
        "functions": [asdict(hot) for hot in functions],
        "regions": [asdict(hot) for hot in regions],
        "statistics": asdict(machine.statistics()),
    }
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise HostError(f"--json {path}: cannot be written: {error.strerror}") from error
