"""The emulators that are compared, as command lines. A new one is a function here."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAMINA, QEMU, NATIVE, VECTOR = "lamina", "qemu", "native", "native, vectorised"
SOURCES = Path(__file__).resolve().parents[1] / "src"


@dataclass(frozen=True, slots=True)
class Machine:
    """What an emulator boots: the same for all."""

    kernel: Path
    initrd: Path
    memory: str
    command_line: str
    cpus: int = 1


@dataclass(frozen=True, slots=True)
class Emulator:
    """A subject that boots machines: its name in tables, how it is started, in what environment."""

    name: str
    program: str | None  # a QEMU; None: Lamina
    engine: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def boot(self, machine: Machine) -> list[str]:
        """The command that boots a machine with its serial port on standard input and output."""
        kernel, initrd = str(machine.kernel), str(machine.initrd)
        if self.program is not None:
            start = qemu(self.program, machine.memory, machine.cpus)
            return [*start, "-kernel", kernel, "-initrd", initrd, "-append", machine.command_line]
        parts = ["--kernel", kernel, "--initrd", initrd]
        parts += ["--memory", machine.memory, "--cpus", str(machine.cpus)]
        parts += ["--engine", self.engine] if self.engine else []
        return lamina("boot", *parts, "--append", machine.command_line)


def lamina_environment(cache: Path | None) -> dict[str, str]:
    """This tree's Lamina with its caches in `cache`; None: where they are anyway."""
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, **({"XDG_CACHE_HOME": str(cache)} if cache else {})}


def lamina(*arguments: str) -> list[str]:
    """Lamina under the Python that runs the benchmarks."""
    return [sys.executable, "-m", "lamina", *arguments]


def qemu(program: str, memory: str = "512M", cpus: int = 1) -> list[str]:
    """QEMU's machine of the same kind: serial port on standard input and output."""
    machine = [program, "-machine", "virt", "-accel", "tcg", "-smp", str(cpus), "-m", memory]
    return [*machine, "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]


def qemu_version(program: str) -> str:
    """What a QEMU calls itself, as in `QEMU 7.2.22`."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    words: Sequence[str] = text.split()
    return f"QEMU {words[words.index('version') + 1]}" if "version" in words else program
