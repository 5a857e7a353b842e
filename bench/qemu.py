"""The newest QEMU of Debian's, beside whatever the host has installed, without installing it.

The package for this host's architecture and all that it depends on are fetched by a private apt,
unpacked into a folder of the cache, and started by their own dynamic loader through a script, so
the host's libraries do not matter. Called by `__main__.py`. Owns the cache folder `qemu-SUITE`.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.process import BenchError
from bench.subjects import qemu_version
from lamina.base.errors import LaminaError
from lamina.images.apt import AptClient, Package, find_keyring, find_mirror
from lamina.images.cache import ImageCache, cache_root
from lamina.images.debian import ALIAS, SUITE
from lamina.images.progress import Progress

ARCHITECTURE = "amd64"
PACKAGES = ("qemu-system-misc", "opensbi")
PROGRAM = "qemu-system-riscv64"
LOADER = "ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
MODULES = f"{LIBRARIES}/qemu"


def newest(told: Callable[[str], None], progress: Progress) -> str | None:
    """The program to run: Debian's newest, or the host's with a line that says why, or None."""
    try:
        return str(prepare(progress))
    except (LaminaError, BenchError, OSError, subprocess.SubprocessError) as error:
        own = shutil.which(PROGRAM)
        instead = f"this host's {qemu_version(own)} instead" if own else "and this host has none"
        told(f"Debian's newest QEMU cannot be had ({error}): {instead}")
        return own


def prepare(progress: Progress, mirror: str | None = None) -> Path:
    """The script that starts Debian's newest QEMU, fetched on the first call."""
    root = cache_root() / "bench" / f"qemu-{SUITE}"
    script = root / PROGRAM
    if script.is_file():
        return script
    with ImageCache(f"bench-qemu-{SUITE}", PROGRAM).lock(progress):
        if not script.is_file():
            _fetch(root, progress, mirror)
    return script


def _fetch(root: Path, progress: Progress, mirror: str | None) -> None:
    apt = AptClient(
        cache_root() / "bench" / f"apt-{ARCHITECTURE}",
        mirror=find_mirror(mirror),
        suite=SUITE,
        alias=ALIAS,
        architecture=ARCHITECTURE,
        keyring=find_keyring(),
    )
    root.parent.mkdir(parents=True, exist_ok=True)
    apt.update(progress)
    packages = apt.install(PACKAGES, progress, "QEMU's packages")
    with tempfile.TemporaryDirectory(dir=root.parent) as fresh:
        _unpack(packages, Path(fresh), progress)
        text = launcher(Path(fresh), root)
        script = Path(fresh) / PROGRAM
        script.write_text(text)
        script.chmod(0o755)
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(fresh, root, symlinks=True)
    apt.clean()
    qemu_version(str(root / PROGRAM))


def _unpack(packages: Sequence[Package], folder: Path, progress: Progress) -> None:
    with progress.step("Unpacking QEMU") as step:
        for index, package in enumerate(packages):
            subprocess.run(
                ["dpkg-deb", "-x", str(package.path), str(folder)], check=True, capture_output=True
            )
            step.update((index + 1) / len(packages))
    for path in [*folder.glob("usr/bin/*"), *folder.glob("usr/share/*"), folder / "var"]:
        if path.name not in (PROGRAM, "qemu"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def launcher(unpacked: Path, home: Path) -> str:
    """A shell script that starts the program from `home` with the libraries of `unpacked`."""
    loaders = sorted(unpacked.glob(f"**/{LOADER}"), key=lambda path: len(path.parts))
    programs = list(unpacked.glob(f"usr/bin/{PROGRAM}"))
    if not loaders or not programs:
        raise BenchError(f"Debian's packages hold no {PROGRAM} or no loader for it")
    folders = {path.parent for path in unpacked.glob(f"{LIBRARIES}/**/lib*.so*")}
    libraries = os.pathsep.join(str(home / path.relative_to(unpacked)) for path in sorted(folders))
    words = [
        *(str(home / loaders[0].relative_to(unpacked)), "--library-path", libraries),
        *(str(home / "usr/bin" / PROGRAM), "-L", str(home / "usr/share/qemu")),
    ]
    modules = shlex.quote(str(home / MODULES))
    return f'#!/bin/sh\nQEMU_MODULE_DIR={modules} exec {shlex.join(words)} "$@"\n'
