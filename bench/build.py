"""Compiles the workloads: the same sources and flags for the guest and for the host.

The compiler is clang as `ziglang` packages it, with musl linked in statically, so neither a cross
toolchain nor a C library is needed. Called by the suites; owns the folder `bench/HASH` in Lamina's
cache, one a state of the sources and flags. The vectoriser is off on both sides, so that native is
what an emulator could at best reach with the same instructions; a second native program has it on.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from bench.process import BenchError
from lamina.images.cache import cache_root

SOURCES = Path(__file__).with_name("workloads")
GUEST = ("-target", "riscv64-linux-musl", "-mcpu=baseline_rv64")
NATIVE = ("-target", "x86_64-linux-musl", "-mcpu=x86_64")
SCALAR = ("-fno-vectorize", "-fno-slp-vectorize")
FLAGS = (
    *(
        "-std=c11",
        "-D_GNU_SOURCE",
        "-O2",
        "-fomit-frame-pointer",
        "-static",
        "-s",
        "-Wall",
        "-Wextra",
        "-Werror",
    ),
    "-falign-functions=1024",  # no small loop crosses a page by chance: QEMU is slow at those
    "-ffp-contract=off",  # a fused multiply-add rounds once: checksums would differ
    "-fno-sanitize=all",  # zig cc turns on the undefined-behaviour sanitizer by default
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "guest": (*GUEST, *SCALAR),
    "native": (*NATIVE, *SCALAR),
    "vector": NATIVE,
}


def program(variant: str, told: Callable[[str], None]) -> Path:
    """The program `work` for one of VARIANTS, out of the cache or compiled first."""
    sources = sorted(SOURCES.glob("*.c"))
    flags = (*VARIANTS[variant], *FLAGS)
    parts = hashlib.sha256(repr((flags, version("ziglang"))).encode())
    for path in sorted(SOURCES.iterdir()):
        parts.update(path.name.encode() + b"\0" + path.read_bytes())
    output = cache_root() / "bench" / parts.hexdigest()[:32] / "work"
    if not output.is_file():
        told(f"compiling the workloads ({variant}); the first time the C library, too")
        compile_program(sources, flags, output)
    return output


def compile_program(sources: Sequence[Path], flags: Sequence[str], output: Path) -> None:
    """One static program out of C files; BenchError with the compiler's complaints."""
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(f".{output.name}.{os.getpid()}")
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-o", str(fresh)]
    command += [str(path) for path in sources]
    done = subprocess.run([*command, "-lm"], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"the compiler failed:\n{done.stderr[-4000:]}")
    os.replace(fresh, output)
