"""From options to a machine: the one seam between the command line and `lamina.machine`.

Called by `cmd_run.py` and `cmd_boot.py`; `session.py` runs the machine. Owns the machine while it
lasts. Tests put a fake in the place of `open_machine`.
"""

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from lamina.base.errors import ConfigError, HostError, ImageError
from lamina.base.units import parse_size
from lamina.cli.progress import progress_on_stderr
from lamina.cli.session import INPUT, OUTPUT, Machine, Session
from lamina.host.gate import MARKER
from lamina.host.terminal import END_OF_FILE, window_size

BUILTIN_GUEST = "builtin/monitor.elf"
# A quarter of the boot's instructions are self-tests of the kernel's cryptography.
NO_SELF_TESTS = "cryptomgr.notests"
VERBOSE_BOOT = f"console=ttyS0 earlycon {NO_SELF_TESTS}"
MAX_SHOWN = 200  # characters of a file's name in a message
COMPILING_PATIENCE = 1.0  # seconds after which a user wonders
QUIET_BOOT = f"console=ttyS0 quiet loglevel=1 panic=-1 {NO_SELF_TESTS}"


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command that starts a machine, as they were given."""

    cpus: int = 1
    memory: str = "512M"
    engine: str = "jit"
    firmware: str = "none"
    append: str = ""
    deterministic: bool = False
    mirror: str | None = None
    timeout: float | None = None
    stats: bool = False
    perf_map: bool = False


@dataclass(frozen=True)
class Disk:
    """A --disk option, in pieces."""

    path: Path
    readonly: bool = False
    snapshot: bool = False


def parse_disk(text: str) -> Disk:
    """FILE, then any of `,readonly` and `,snapshot`; other commas belong to the file's name."""
    flags = set()
    while text.rpartition(",")[2] in ("readonly", "snapshot"):
        text, _, flag = text.rpartition(",")
        flags.add(flag)
    if not text:
        raise ConfigError("--disk: no file; write it like --disk FILE,snapshot")
    return Disk(Path(text), "readonly" in flags, "snapshot" in flags)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What `lamina boot` was told to put into the machine."""

    kernel: str | None = None
    initrd: Path | bytes | None = None
    bios_image: Path | None = None
    disks: tuple[Disk, ...] = ()
    console: str = "uart"
    max_instructions: int | None = None
    trace: frozenset[str] = field(default_factory=frozenset)
    trace_file: Path | None = None
    log_commits: Path | None = None


def open_machine(settings: dict[str, Any]) -> AbstractContextManager[Machine]:
    """A machine with these fields of its MachineConfig."""
    with _built_to_stay():
        return _build(settings)


@contextmanager
def _built_to_stay() -> Iterator[None]:
    """No garbage collections while the instruction set and the machine are made, and none of
    these objects looked at by later ones: they live as long as the process."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _build(settings: dict[str, Any]) -> AbstractContextManager[Machine]:
    """The only use of `lamina.machine` here."""
    from lamina import machine

    disks = tuple(machine.DiskConfig(d.path, d.readonly, d.snapshot) for d in settings["disks"])
    config = machine.MachineConfig(**{**settings, "disks": disks})
    with compiling_is_told(config.engine):
        return cast(AbstractContextManager[Machine], machine.Machine(config))


@contextmanager
def compiling_is_told(engine: str) -> Iterator[None]:
    """One line on standard error if the engine is compiled meanwhile and that takes a while."""
    from lamina.engine.threaded.runtime import is_compiled
    from lamina.isa.riscv import RISCV64

    if engine == "reference" or is_compiled(RISCV64):
        yield
        return
    teller = threading.Timer(COMPILING_PATIENCE, _tell_compiling)
    teller.daemon = True
    teller.start()
    try:
        yield
    finally:
        teller.cancel()


def _tell_compiling() -> None:
    text = "lamina: compiling the engine for this CPU (once) ..."
    print(text, file=sys.stderr, flush=True)


def run_image(image: str | None, command: Sequence[str], common: Common) -> int:
    """`lamina run`: the exit status."""
    match image:
        case None if command:
            raise ConfigError("the built-in guest runs no commands; name an image: debian")
        case None:
            return _run_builtin(common)
        case "debian":
            return _run_debian(command, common)
        case _:
            raise ConfigError(
                f"image {image!r}: not known; there is debian, and the built-in guest without one"
            )


def boot_parts(parts: Parts, common: Common, dump_dtb: Path | None) -> int:
    """`lamina boot`: the exit status."""
    if dump_dtb is None and parts.kernel is None and parts.bios_image is None:
        raise ConfigError("nothing to boot: give --kernel, or --bios-image")
    with opened(parts, common) as machine:
        if dump_dtb is None:
            return Session(machine, common.timeout, parts.max_instructions).run()
        try:
            dump_dtb.write_bytes(machine.device_tree())
        except OSError as error:
            raise HostError(f"{dump_dtb}: cannot be written: {error.strerror}") from error
        return 0


@contextmanager
def opened(parts: Parts, common: Common) -> Iterator[Machine]:
    """The machine; what the options want to know of it is told when the run has ended."""
    if common.perf_map:
        from lamina.engine.code.perf_map import perf_map

        perf_map().open()
    with open_machine(_settings(parts, common)) as machine:
        yield machine
        if common.stats:
            from lamina.cli.statistics import print_statistics

            print_statistics(machine.statistics())


def _run_builtin(common: Common) -> int:
    from importlib import resources

    guest = resources.files("lamina.images").joinpath(BUILTIN_GUEST)
    if not guest.is_file():
        raise ImageError("the built-in guest is missing from this installation; install it again")
    with (
        resources.as_file(guest) as path,
        opened(Parts(kernel=str(path)), common) as machine,
    ):
        return Session(machine, common.timeout).run()


def _run_debian(command: Sequence[str], common: Common) -> int:
    with debian_session(command, common) as (_, session):
        return session.run()


@contextmanager
def debian_session(
    command: Sequence[str], common: Common, on_ready: Callable[[], None] = lambda: None
) -> Iterator[tuple[Machine, Session]]:
    """Debian's machine with the terminal, ready to run. `on_ready`: the command begins."""
    from lamina.images import debian

    image = debian.ensure(progress_on_stderr(), common.mirror)
    typed = os.isatty(INPUT)
    hold_input = bool(command) or not typed
    extra = debian.command_initrd(
        command,
        {"TERM": os.environ.get("TERM", "dumb") if typed else "dumb"},
        window=window_size(OUTPUT),
        raw_input=not typed,
        raw_output=not os.isatty(OUTPUT),
        ready=MARKER if hold_input else b"",
    )
    boot = QUIET_BOOT if command else VERBOSE_BOOT
    common = replace(common, append=f"{boot} {common.append}".rstrip())
    parts = Parts(kernel=str(image.kernel), initrd=image.initrd.read_bytes() + extra)
    with opened(parts, common) as machine:
        session = Session(
            machine,
            common.timeout,
            reboots=not command,
            end_of_file=END_OF_FILE,
            hold_input=hold_input,
            hide_boot=bool(command),
            on_ready=on_ready,
        )
        yield machine, session


def _settings(parts: Parts, common: Common) -> dict[str, Any]:
    """The fields of a MachineConfig."""
    return {
        "cpus": common.cpus,
        "memory": parse_size(common.memory, "--memory"),
        "engine": common.engine,
        "kernel": _file(parts.kernel, "--kernel", common.mirror),
        "initrd": _existing(parts.initrd, "--initrd"),
        "append": common.append,
        "firmware": (
            common.firmware
            if common.firmware in ("none", "bare")
            else _file(common.firmware, "--firmware", common.mirror)
        ),
        "bios_image": _existing(parts.bios_image, "--bios-image"),
        "disks": parts.disks,
        "deterministic": common.deterministic,
        "console": parts.console,
        "trace": set(parts.trace),
        "trace_file": parts.trace_file,
        "log_commits": parts.log_commits,
    }


def _existing(content: Path | bytes | None, option: str) -> Path | bytes | None:
    if isinstance(content, Path) and not _holds(content.is_file):
        raise ImageError(f"{option} {_shown(content)}: no such file")
    return content


def _holds(question: Callable[[], bool]) -> bool:
    """The answer of a Path's question; no, too, for names that no file can have."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def _shown(name: str | Path) -> str:
    """A name as an error message can hold it."""
    text = str(name)
    if not text:
        return "''"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def _file(name: str | None, option: str, mirror: str | None) -> Path | None:
    """A file by its path, or a firmware of Debian's by its name (a file of that name wins)."""
    if name is None:
        return None
    if name and _holds(Path(name).exists):
        return Path(name)
    from lamina.images import firmware

    if name in firmware.FIRMWARE:
        return firmware.ensure(name, progress_on_stderr(), mirror)
    known = ", ".join(firmware.FIRMWARE)
    raise ImageError(f"{option} {_shown(name)}: no such file; of firmware there is {known}")
