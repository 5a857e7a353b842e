"""Debian's firmware for riscv64: OpenSBI and U-Boot, as boot roms for a machine.

Called by `cli/launch.py` for `--firmware opensbi` and `--firmware u-boot`. A file that the host has
installed is used as it is; else the package is fetched by the same private apt as the image and
kept in the cache folder `firmware-NAME`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lamina.base.errors import ConfigError, ImageError
from lamina.images import deb
from lamina.images.cache import ImageCache, writing
from lamina.images.debian import debian_apt
from lamina.images.progress import Progress


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware's name here, Debian's package, and the file in it."""

    name: str
    package: str
    path: str


FIRMWARE = {
    item.name: item
    for item in (
        Firmware("opensbi", "opensbi", "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"),
        Firmware("u-boot", "u-boot-qemu", "usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"),
    )
}


def ensure(
    name: str, progress: Progress, mirror: str | None = None, host_root: Path = Path("/")
) -> Path:
    """The firmware's file: the host's, else the cache's, else fetched. HostError, ImageError."""
    if name not in FIRMWARE:
        raise ConfigError(f"firmware {name!r}: not one of {', '.join(FIRMWARE)}")
    firmware = FIRMWARE[name]
    installed = host_root / firmware.path
    if installed.is_file():
        return installed
    cache = firmware_cache(firmware)
    if cache.find() is None:
        with cache.lock(progress):
            if cache.find() is None:
                _fetch(cache, firmware, progress, mirror)
    return cache.folder / Path(firmware.path).name


def firmware_cache(firmware: Firmware) -> ImageCache:
    """Where a firmware is kept."""
    recipe = hashlib.sha256(repr(firmware).encode()).hexdigest()
    return ImageCache(f"firmware-{firmware.name}", recipe)


def _fetch(cache: ImageCache, firmware: Firmware, progress: Progress, mirror: str | None) -> None:
    apt = debian_apt(mirror)
    with writing(cache.folder):
        apt.update(progress)
        package = apt.download(firmware.package, progress, f"Firmware {firmware.name}")
    for member in deb.members(package.path):
        if member.path == firmware.path and member.data:
            facts = {"packages": [f"{package.name} {package.version}"]}
            cache.store({Path(firmware.path).name: member.data}, facts)
            apt.clean()
            return
    raise ImageError(f"package {firmware.package}: it holds no {firmware.path}")
