"""What a machine is made of, and how a run of it ends."""

from dataclasses import dataclass, field
from pathlib import Path

from lamina.base.errors import ConfigError
from lamina.base.units import MIB

ENGINES = ("jit", "jit-eager", "threaded", "baseline-eager", "reference")
CONSOLES = ("uart", "virtio")

# Everything that the harts of the virt board have, as `riscv,isa` says it.
ISA = "_".join(
    [
        "rv64imafdc",
        *("zicbom", "zicbop", "zicboz", "zicntr", "zicond", "zicsr", "zifencei", "zihintntl"),
        *("zihintpause", "zihpm", "zimop", "zaamo", "zabha", "zacas", "zalrsc", "zawrs", "zfa"),
        *("zfh", "zfhmin", "zca", "zcb", "zcd", "zcmop", "zba", "zbb", "zbc", "zbkb", "zbkc"),
        *("zbkx", "zbs", "sstc"),
        *("svade", "svadu", "svinval", "svnapot", "svpbmt"),
    ]
)
# Both svade and svadu: machine-mode firmware chooses. The paravirtual boot has chosen svadu.
PARAVIRTUAL_ISA = ISA.replace("_svade", "")
MMU = "sv57"


@dataclass(frozen=True)
class DiskConfig:
    """A raw disk image or block device. `snapshot`: what the guest writes goes to a private
    temporary layer, which the machine's end throws away."""

    path: Path
    readonly: bool = False
    snapshot: bool = False


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """A machine to be built.

    `memory` is in bytes. `firmware`: "none" starts the kernel in supervisor mode and the
    hypervisor answers its SBI calls; a path is machine-mode firmware (OpenSBI's fw_dynamic) that
    starts the kernel; "bare" starts the kernel itself in machine mode. `bios_image` is a raw
    machine-mode image at the start of RAM. `svade`: page tables with a clear A or D bit fault until
    machine mode sets menvcfg.ADUE; without, harts set these bits from power-on, as QEMU's do and
    as xv6 expects. `disks` are virtio disks, from slot 0 on. `deterministic`: time comes from
    retired instructions, entropy from a constant seed. `trace`: kinds of events
    (`machine/trace.py`) that are written to `trace_file`, or standard error. `log_commits`: a file
    for every instruction's effects.
    """

    cpus: int = 1
    memory: int = 512 * MIB
    engine: str = "jit"
    kernel: Path | bytes | None = None
    initrd: Path | bytes | None = None
    append: str = ""
    firmware: str | Path = "none"
    bios_image: Path | None = None
    svade: bool = False
    disks: tuple[DiskConfig, ...] = ()
    deterministic: bool = False
    console: str = "uart"
    trace: set[str] = field(default_factory=set)
    trace_file: Path | None = None
    log_commits: Path | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"engine {self.engine!r}: there are {', '.join(ENGINES)}")
        if self.console not in CONSOLES:
            raise ConfigError(f"console {self.console!r}: there are {', '.join(CONSOLES)}")
        if self.deterministic and self.cpus != 1:
            raise ConfigError(f"deterministic mode runs one CPU, not {self.cpus}")


@dataclass(frozen=True)
class Outcome:
    """Why a run ended. `reason`: poweroff, fail and reboot are the guest's wish (`code` is what
    it gave the test finisher); crash is a guest that cannot go on; timeout, limit, stopped and
    until are the caller's."""

    reason: str
    code: int = 0
    detail: str = ""
