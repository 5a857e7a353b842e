"""`lamina run debian`: Debian's kernel and a small userland for riscv64, fetched and put together.

Called by `cli/launch.py` and the tests. Every file in the guest is from Debian's own packages,
resolved and verified by apt, but for the first two processes (`debian_*.sh`) and what they need
in /etc. Owns the cache folder `debian-SUITE-riscv64`: kernel and initrd. The initrd is
not compressed: a guest copies it faster than it unpacks it, and the host's disk does not mind.
"""

import hashlib
import lzma
import re
import stat
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lamina.base.errors import ImageError
from lamina.images import cpio, deb
from lamina.images.apt import AptClient, Package, find_keyring, find_mirror
from lamina.images.cache import ImageCache, images_root, writing
from lamina.images.progress import Progress
from lamina.images.rootfs import MERGED, RootFilesystem
from lamina.images.session import command_initrd

__all__ = ["DebianImage", "command_initrd", "debian_apt", "ensure", "image_cache"]

SUITE = "trixie"
ALIAS = "stable"  # what the suite is called, too, as long as it is the newest release
ARCHITECTURE = "riscv64"
TRIPLET = "riscv64-linux-gnu"
KERNEL_METAPACKAGE = "linux-image-riscv64"
KERNEL_PACKAGE = r"linux-image-[0-9][A-Za-z0-9.+~-]*"
KERNEL_FILE = re.compile(r"boot/vmlinu[xz]-.*")
INIT_SCRIPT, LEADER_SCRIPT = "debian_init.sh", "debian_leader.sh"
USERLAND = (
    *("base-files", "base-passwd", "bash", "bsdutils", "busybox", "coreutils", "dash"),
    *("diffutils", "findutils", "grep", "gzip", "hostname", "libc-bin", "mawk", "mount"),
    *("ncurses-base", "procps", "sed", "tar", "util-linux"),
)
MODULES = ("virtio_mmio", "virtio-rng")
BUSYBOX_COMMANDS = (
    *("clear", "devmem", "halt", "hexdump", "ifconfig", "insmod", "ip", "less", "lsmod"),
    *("modprobe", "nc", "ping", "poweroff", "reboot", "rmmod", "vi", "wget", "which", "xxd"),
)
EXCLUDED = (
    r"usr/share/(doc|doc-base|man|info|locale|lintian|bug|menu|i18n|pam|pam-configs|perl5)/",
    r"usr/share/(bash-completion|debconf|gcc|libc-bin|zsh|systemd|polkit-1|initramfs-tools)/",
    r"usr/share/(readline|common-licenses|base-passwd/group.master)",
    r"usr/lib/(systemd|init|tmpfiles\.d|sysusers\.d|pam\.d|modules-load\.d|udev)/",
    rf"usr/lib/{TRIPLET}/(gconv|security|ossl-modules|engines-3|audit|perl|perl-base)/",
    rf"usr/lib/{TRIPLET}/lib(db-|sqlite3|lastlog2|ssl)",
    r"usr/bin/(lastlog2|localedef)",
    r"usr/(games|include|src|libexec|local/man)/",
    r"usr/bin/perl",
    r"etc/(init\.d|cron|systemd|pam\.d|security|kernel|dpkg|logrotate|skel/\.bash_logout)",
    r"var/(cache|lib/(dpkg|pam|systemd))/",
)


@dataclass(frozen=True, slots=True)
class DebianImage:
    """What a machine needs to boot Debian, and what it was made from (`name version` each)."""

    kernel: Path
    initrd: Path
    packages: list[str]


def ensure(progress: Progress, mirror: str | None = None) -> DebianImage:
    """The image out of the cache, or fetched and built first. HostError, ImageError."""
    cache = image_cache()
    facts = cache.find()
    if facts is None:
        with cache.lock(progress):
            facts = cache.find() or _build(cache, progress, mirror)
    return DebianImage(
        cache.folder / "kernel", cache.folder / "initrd", [str(item) for item in facts["packages"]]
    )


def image_cache() -> ImageCache:
    """Where the image is kept. Any change to what goes into it changes the recipe."""
    scripts = (_script(INIT_SCRIPT), _script(LEADER_SCRIPT))
    parts = (USERLAND, MODULES, EXCLUDED, SUITE, scripts, Path(__file__).read_bytes())
    recipe = hashlib.sha256(repr(parts).encode()).hexdigest()
    return ImageCache(f"debian-{SUITE}-{ARCHITECTURE}", recipe)


def debian_apt(mirror: str | None) -> AptClient:
    """An apt client for the guest's release and architecture; only with an ImageCache's lock."""
    return AptClient(
        images_root() / "apt",
        mirror=find_mirror(mirror),
        suite=SUITE,
        alias=ALIAS,
        architecture=ARCHITECTURE,
        keyring=find_keyring(),
    )


def _build(cache: ImageCache, progress: Progress, mirror: str | None) -> dict[str, list[str]]:
    apt = debian_apt(mirror)
    with writing(cache.folder):
        apt.update(progress)
        userland = apt.install(USERLAND, progress, "Userland packages")
        name = apt.dependency(KERNEL_METAPACKAGE, KERNEL_PACKAGE)
        kernel_package = apt.download(name, progress, "Kernel package")
    root = RootFilesystem(EXCLUDED)
    for top in MERGED[:3]:
        root.add(cpio.symlink(top, f"usr/{top}"))
    with progress.step("Unpacking the kernel") as step:
        kernel, modules = _unpack_kernel(kernel_package)
        step.update(1.0)
    with progress.step("Building the initrd") as step:
        for index, package in enumerate(userland):
            root.add_package(deb.members(package.path))
            step.update((index + 1) / (len(userland) + 1))
        _finish_root(root, modules)
        facts = {
            "packages": [f"{item.name} {item.version}" for item in [kernel_package, *userland]]
        }
        cache.store({"kernel": kernel, "initrd": cpio.archive(root.entries())}, facts)
    apt.clean()
    return facts


def _unpack_kernel(package: Package) -> tuple[bytes, list[bytes]]:
    """The kernel's image, and the modules in the order in which they can be loaded."""
    kernel = b""
    found: dict[str, bytes] = {}
    for member in deb.members(package.path):
        name = member.path.rsplit("/", 1)[-1]
        if KERNEL_FILE.fullmatch(member.path):
            kernel = member.data
        elif name.endswith((".ko", ".ko.xz")) and stat.S_ISREG(member.mode):
            found[name.split(".ko")[0].replace("-", "_")] = member.data
    if not kernel:
        raise ImageError(f"{package.name}: it holds no kernel")
    modules: dict[str, bytes] = {}
    for wanted in MODULES:
        _load_order(wanted.replace("-", "_"), found, modules)
    return kernel, list(modules.values())


def _load_order(name: str, found: dict[str, bytes], order: dict[str, bytes]) -> None:
    """Add a module to `order` after all those that it depends on (its `depends=` line says which).

    Each is taken out of `found`. A name that is not there is built into the kernel.
    """
    packed = found.pop(name, None)
    if packed is None:
        return
    module = lzma.decompress(packed) if packed.startswith(b"\xfd7zXZ") else packed
    line = re.search(rb"\0depends=([^\0]*)\0", module)
    for other in line[1].decode("ascii", "replace").split(",") if line else []:
        _load_order(other.replace("-", "_"), found, order)
    order[name] = module


def _finish_root(root: RootFilesystem, modules: list[bytes]) -> None:
    """What maintainers' scripts would have left, and the first process."""
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "etc", "mnt", "lamina"):
        root.add(cpio.directory(name, {"tmp": 0o1777, "root": 0o700}.get(name, 0o755)))
    root.add(cpio.character_device("dev/console", 5, 1))
    root.add(cpio.regular("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n"))
    root.add(cpio.regular("etc/group", b"root:x:0:\ntty:x:5:\n"))
    root.add(cpio.regular("etc/hostname", b"debian\n"))
    root.add(cpio.regular("etc/profile", root.read("usr/share/base-files/profile")))
    root.add(cpio.symlink("etc/mtab", "../proc/self/mounts"))
    root.add(cpio.symlink("usr/bin/awk", "mawk"))
    for name in BUSYBOX_COMMANDS:
        if f"usr/bin/{name}" not in root and f"usr/sbin/{name}" not in root:
            root.add(cpio.symlink(f"usr/bin/{name}", "busybox"))
    for index, module in enumerate(modules):
        root.add(cpio.regular(f"lamina/{index:02}.ko", module))
    root.add(cpio.regular("lamina/leader", _script(LEADER_SCRIPT)))
    root.add(cpio.regular("init", _script(INIT_SCRIPT), 0o755))


def _script(name: str) -> bytes:
    return resources.files("lamina.images").joinpath(name).read_bytes()
