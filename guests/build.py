"""Builds the guest programs of the tree: the built-in monitor and three bare-machine programs.

    python guests/build.py              writes the ELF files to their places in src/lamina/
    python guests/build.py --out DIR    writes them to DIR (a test does, and compares the bytes)

The compiler is clang as `ziglang` packages it (pinned in the `test` extra), so no cross toolchain
is needed. The same sources give the same bytes on every host: commands run inside the source folder
with relative names, nothing that names a host, a path or a time is linked in.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from symbols import thin

GUESTS = Path(__file__).resolve().parent
PACKAGE = GUESTS.parent / "src" / "lamina"
PROGRAMS = ("hello", "exit7", "alu_loop")

TARGET = [
    "-target",
    "riscv64-freestanding",
    "-mcpu=generic_rv64+m+a+c+zicsr+zifencei",
    "-mabi=lp64",
]
COMPILE = [
    "-std=c11",
    "-Oz",
    # With -g0 zig strips all symbols. So: debug sections, which the linker scripts discard, and
    # symbols, of which symbols.py keeps the useful ones.
    "-g1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-mno-relax",  # the linker shortens no code: what is compiled is what runs
    "-mcmodel=medany",  # code and data above 2 GiB: addresses are relative to the pc
    "-ffreestanding",
    "-fno-builtin",  # memset itself must not become a call of memset
    "-fno-pic",
    "-fno-stack-protector",
    "-fno-sanitize=all",  # zig cc turns on the undefined-behaviour sanitizer by default
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-ident",
]
LINK = ["-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096"]


@dataclass(frozen=True)
class Guest:
    """One ELF: where its sources lie, what they are, and where the package keeps the result."""

    folder: Path
    sources: tuple[str, ...]
    script: str
    name: str
    home: Path


def guests() -> list[Guest]:
    """Every guest of the tree, in the order in which they are built."""
    programs = GUESTS / "programs"
    found = [
        Guest(programs, (f"{name}.S",), "machine.ld", f"{name}.elf", PACKAGE / "testing/programs")
        for name in PROGRAMS
    ]
    monitor = GUESTS / "monitor"
    # Sorted, so that the order in a directory of the host does not decide the layout.
    sources = sorted(path.name for path in monitor.iterdir() if path.suffix in {".c", ".S"})
    found.append(
        Guest(monitor, tuple(sources), "monitor.ld", "monitor.elf", PACKAGE / "images/builtin")
    )
    return found


def build(guest: Guest, output: Path) -> None:
    """Compiles and links one guest into `output`."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ziglang", "cc", *TARGET, *COMPILE, *LINK]
    command += [f"-Wl,-T,{guest.script}", "-o", str(output.resolve()), *guest.sources]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    subprocess.run(command, cwd=guest.folder, env=environment, check=True)
    output.write_bytes(thin(output.read_bytes()))
    output.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write all ELF files to this directory")
    parser.add_argument("names", nargs="*", help="only these, e.g. monitor hello")
    options = parser.parse_args()
    for guest in guests():
        if options.names and guest.name.removesuffix(".elf") not in options.names:
            continue
        output = (options.out or guest.home) / guest.name
        build(guest, output)
        print(f"{output}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
