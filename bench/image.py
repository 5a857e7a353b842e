"""The guest of the workloads: Debian's kernel and userland, and what is measured laid over them.

Called by the suites. The kernel and the initrd are those of `lamina run debian`; small archives
behind the initrd replace the first process by one that readies the system and becomes the agent
(`workloads/agent.c`), and bring the program, applications' packages and input files. Owns the
cache folder `bench-SUITE-riscv64`, which holds the applications' archive.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from lamina.images import cpio, deb, debian
from lamina.images.cache import ImageCache, writing
from lamina.images.progress import Progress
from lamina.images.rootfs import RootFilesystem

MEMORY = "1G"
COMMAND_LINE = "console=ttyS0 quiet loglevel=1 panic=-1 cryptomgr.notests"
APPLICATIONS = ("python3-minimal", "xz-utils")
HOME = "bench"
INIT = f"""\
#!/bin/dash
export PATH=/usr/bin:/bin:/usr/sbin HOME=/root LC_ALL=C
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t tmpfs tmpfs /tmp
busybox stty -echo -onlcr
cd /{HOME}
exec /{HOME}/work agent
""".encode()


def initrd(
    image: debian.DebianImage,
    programs: Mapping[str, Path],
    files: Mapping[str, bytes],
    applications: bytes,
) -> bytes:
    """The whole initrd. Programs (`work` must be one) and files are in the agent's own folder."""
    entries = [
        cpio.directory(HOME),
        *(cpio.regular(f"{HOME}/{name}", p.read_bytes(), 0o755) for name, p in programs.items()),
        *(cpio.regular(f"{HOME}/{name}", data) for name, data in files.items()),
        cpio.regular("init", INIT, 0o755),
    ]
    return image.initrd.read_bytes() + applications + b"".join(cpio.archive(entries))


def applications(
    image: debian.DebianImage, progress: Progress, mirror: str | None = None
) -> tuple[bytes, list[str]]:
    """The archive of the applications' packages, and these packages (`name version`)."""
    recipe = repr((APPLICATIONS, debian.EXCLUDED, image.packages, Path(__file__).read_bytes()))
    cache = ImageCache(
        f"bench-{debian.SUITE}-{debian.ARCHITECTURE}", hashlib.sha256(recipe.encode()).hexdigest()
    )
    facts = cache.find()
    if facts is None:
        with cache.lock(progress):
            facts = cache.find() or _fetch(cache, image.packages, progress, mirror)
    return (cache.folder / "archive").read_bytes(), [str(item) for item in facts["packages"]]


def _fetch(
    cache: ImageCache, there: Iterable[str], progress: Progress, mirror: str | None
) -> dict[str, list[str]]:
    apt, names = debian.debian_apt(mirror), {item.split()[0] for item in there}
    with writing(cache.folder):
        apt.update(progress)
        packages = apt.install(APPLICATIONS, progress, "Applications' packages")
    root, taken = RootFilesystem(debian.EXCLUDED), []
    for package in packages:
        if package.name not in names:
            root.add_package(deb.members(package.path))
            taken.append(f"{package.name} {package.version}")
    facts = {"packages": taken}
    cache.store({"archive": cpio.archive(root.entries())}, facts)
    apt.clean()
    return facts
