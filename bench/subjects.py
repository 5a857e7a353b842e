"""The emulators that are compared, as command lines. A new one is a function here."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src"


def lamina_environment(cache: Path) -> dict[str, str]:
    """This tree's Lamina with its caches in `cache`."""
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, "XDG_CACHE_HOME": str(cache)}


def lamina(*arguments: str) -> list[str]:
    """Lamina under the Python that runs the benchmarks."""
    return [sys.executable, "-m", "lamina", *arguments]


def qemu(program: str, memory: str = "512M") -> list[str]:
    """QEMU's machine of the same kind: one hart, serial port on standard input and output."""
    machine = [program, "-machine", "virt", "-accel", "tcg", "-smp", "1", "-m", memory]
    return [*machine, "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]


def qemu_version(program: str) -> str:
    """What a QEMU calls itself, as in `QEMU 7.2.22`."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    words: Sequence[str] = text.split()
    return f"QEMU {words[words.index('version') + 1]}" if "version" in words else program
