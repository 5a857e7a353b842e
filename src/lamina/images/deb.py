"""Binary packages in Debian's format: an `ar` archive that holds a compressed tar of the files.

Specification: deb(5). Called by `images/rootfs.py`, `images/debian.py` and `images/firmware.py`.
A package comes from the network and, though apt has checked its signature, its members are still
checked here: no path leaves the root, no device nodes, no member or package larger than the limit.
Nothing is written to the host's file system.
"""

import lzma
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

from lamina.base.errors import ImageError
from lamina.base.units import GIB

AR_MAGIC = b"!<arch>\n"
AR_HEADER_SIZE = 60
AR_HEADER_END = b"`\n"
UNPACKED_LIMIT = 2 * GIB


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a package. `path` is relative and normalized; `target` is a link's, else ''.

    `mode` has the type bits of a directory, a regular file or a symbolic link. A hard link has
    those of a regular file, no data, and the path of the other file as `target`.
    """

    path: str
    mode: int
    mtime: int
    data: bytes
    target: str


def members(package: Path) -> Iterator[Member]:
    """The files of a package, in its own order; ImageError if it is not a sound package."""
    try:
        with ExitStack() as stack:
            tar = stack.enter_context(_open_data(package, stack))
            yield from _checked_members(package, tar)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise ImageError(f"{package.name}: damaged package: {error}") from error
    except OSError as error:
        raise ImageError(f"{package.name}: cannot be read: {error}") from error


def _open_data(package: Path, stack: ExitStack) -> AbstractContextManager[tarfile.TarFile]:
    file = stack.enter_context(package.open("rb"))
    name = _seek_to_data(package, file)
    stream: IO[bytes]
    match name:
        case "data.tar":
            return tarfile.open(fileobj=file, mode="r|")
        case "data.tar.gz":
            return tarfile.open(fileobj=file, mode="r|gz")
        case "data.tar.xz":
            stream = cast(IO[bytes], stack.enter_context(lzma.LZMAFile(file)))  # noqa: SIM115
        case "data.tar.zst":
            reader = zstandard.ZstdDecompressor().stream_reader(file)
            stream = cast(IO[bytes], stack.enter_context(reader))
        case _:
            raise ImageError(f"{package.name}: {name} has a compression that is not known")
    return tarfile.open(fileobj=stream, mode="r|")


def _seek_to_data(package: Path, file: BinaryIO) -> str:
    """Leave `file` at the start of the member with the files; returns the member's name."""
    if file.read(len(AR_MAGIC)) != AR_MAGIC:
        raise ImageError(f"{package.name}: not a Debian package")
    while len(header := file.read(AR_HEADER_SIZE)) == AR_HEADER_SIZE:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        digits = header[48:58].strip()
        if header[58:] != AR_HEADER_END or not digits.isdigit():
            break
        if name.startswith("data.tar"):
            return name
        size = int(digits)
        file.seek(size + size % 2, 1)
    raise ImageError(f"{package.name}: damaged package: it holds no data.tar")


def _checked_members(package: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    total = 0
    for item in tar:
        path = _inside(package, item.name)
        if not path:
            continue
        total += item.size
        if total > UNPACKED_LIMIT:
            raise ImageError(f"{package.name}: holds more than {UNPACKED_LIMIT} bytes")
        permissions = stat.S_IMODE(item.mode)
        if item.isdir():
            yield Member(path, stat.S_IFDIR | permissions, int(item.mtime), b"", "")
        elif item.issym():
            yield Member(path, stat.S_IFLNK | 0o777, int(item.mtime), b"", item.linkname)
        elif item.islnk():
            target = _inside(package, item.linkname)
            yield Member(path, stat.S_IFREG | permissions, int(item.mtime), b"", target)
        elif item.isfile():
            file = tar.extractfile(item)
            data = file.read() if file is not None else b""
            if len(data) != item.size:
                raise ImageError(f"{package.name}: damaged package: {path} is cut short")
            yield Member(path, stat.S_IFREG | permissions, int(item.mtime), data, "")
        else:
            raise ImageError(f"{package.name}: {path} is a special file; packages hold none")


def _inside(package: Path, name: str) -> str:
    """The member's normalized relative path; '' for the root; ImageError if it leaves the root."""
    path = posixpath.normpath(name.lstrip("/"))
    if path.startswith("..") and path.split("/")[0] == "..":
        raise ImageError(f"{package.name}: {name!r} leads outside of the package")
    return "" if path == "." else path
