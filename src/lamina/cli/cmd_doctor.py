"""`lamina doctor`: what this host has, what is missing, and what is used instead.

Reads only; fetches nothing and never fails because something is missing: that is a line of its own.
Owns nothing.
"""

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import typer

from lamina.base.errors import LaminaError
from lamina.base.units import approximate_size
from lamina.base.version import __version__

KVM = Path("/dev/kvm")


class Finding(NamedTuple):
    """One line: whether all is well with it, what it is, and what was found."""

    good: bool
    subject: str
    text: str


def doctor() -> None:
    """Show what this host has, what is missing, and what is used instead."""
    for finding in findings():
        mark = "ok" if finding.good else "--"
        typer.echo(f"{mark:3} {finding.subject:16} {finding.text}")


def findings() -> Iterator[Finding]:
    """Everything that the doctor looks at, in order."""
    yield from _host()
    yield from _libraries()
    yield from _sources()
    yield from _caches()


def _host() -> Iterator[Finding]:
    import platform

    yield Finding(True, "lamina", f"{__version__} at {Path(__file__).parents[1]}")
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    name = system.get("PRETTY_NAME", platform.system())
    linux = sys.platform == "linux"
    note = "" if linux else "; only Linux is tried"
    yield Finding(linux, "host", f"{name}, {platform.release()}, {platform.machine()}{note}")
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    yield Finding(True, "resources", f"{_cpus()} CPUs, {approximate_size(pages * page)} memory")
    enough = sys.version_info >= (3, 11)
    note = "" if enough else "; 3.11 is needed"
    yield Finding(enough, "python", f"{platform.python_version()} at {sys.executable}{note}")
    if not KVM.exists():
        yield Finding(True, "kvm", "not there; Lamina does not use it yet")
    else:
        usable = os.access(KVM, os.R_OK | os.W_OK)
        yield Finding(
            True, "kvm", f"{'usable' if usable else 'closed'}; Lamina does not use it yet"
        )


def _libraries() -> Iterator[Finding]:
    version = _installed("llvmlite")
    if version is None:
        yield Finding(False, "llvmlite", "not installed; --engine reference works without it")
    else:
        yield Finding(True, "llvmlite", f"{version}, {_llvm_target()}")
    for name in ("typer", "rich", "pyelftools", "zstandard"):
        version = _installed(name)
        yield Finding(version is not None, name, version or "not installed; install lamina again")


def _sources() -> Iterator[Finding]:
    from lamina.images import apt

    if shutil.which("apt-get") is None:
        text = "not there: `lamina run debian` cannot fetch; use `lamina boot --kernel`"
        yield Finding(False, "apt", text)
    else:
        yield Finding(True, "apt", str(shutil.which("apt-get")))
    try:
        yield Finding(True, "debian mirror", apt.find_mirror(None))
    except LaminaError as error:
        yield Finding(False, "debian mirror", str(error))
    try:
        yield Finding(True, "debian keyring", str(apt.find_keyring()))
    except LaminaError as error:
        yield Finding(False, "debian keyring", str(error))
    qemu = shutil.which("qemu-system-riscv64")
    text = qemu or "not there; only comparisons in tests want it"
    yield Finding(True, "qemu", text)


def _can_be_written(folder: Path) -> bool:
    """Whether files can be kept in a folder, which need not be there yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _caches() -> Iterator[Finding]:
    from lamina.images import cache, debian, firmware

    root = cache.cache_root()
    if _can_be_written(root):
        yield Finding(True, "cache", f"{root}, {approximate_size(_used(root))}")
    else:
        text = f"{root}: cannot be written; engines are compiled each time, images not kept"
        yield Finding(False, "cache", f"{text} (set XDG_CACHE_HOME)")
    yield _code()
    names = {"debian": debian.image_cache()}
    names |= {name: firmware.firmware_cache(item) for name, item in firmware.FIRMWARE.items()}
    for name, kept in names.items():
        facts = kept.find()
        if facts is not None:
            first = facts["packages"][0] if facts.get("packages") else ""
            yield Finding(True, f"  {name}", f"{approximate_size(_used(kept.folder))}, {first}")
        elif kept.folder.exists():
            yield Finding(
                False, f"  {name}", "incomplete, damaged or old; it is built anew when used"
            )
        else:
            yield Finding(True, f"  {name}", "not fetched yet")


def _code() -> Finding:
    from lamina.engine.code.store import STORES, code_store

    stores = {kind: code_store(kind) for kind in STORES}
    parts = [f"{len(s.scan())} of {kind}" for kind, s in stores.items()]
    size = sum(store.size() for store in stores.values())
    text = f"{approximate_size(size)}: {', '.join(parts)} (lamina cache ls)"
    return Finding(True, "  compiled code", text)


def _llvm_target() -> str:
    """LLVM's version, target triple and CPU. Loaded by name: only engine/llvm may build on it."""
    try:
        binding = importlib.import_module("llvmlite.binding")
        version = ".".join(str(part) for part in binding.llvm_version_info)
        return f"LLVM {version}, {binding.get_process_triple()}, {binding.get_host_cpu_name()}"
    except (ImportError, OSError, RuntimeError) as error:
        return f"but LLVM cannot be loaded: {error}"


def _installed(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _used(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            total += path.lstat().st_size if path.exists() else 0
    return total
