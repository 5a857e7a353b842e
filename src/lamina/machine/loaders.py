"""Reading what a machine boots from: ELF files, Linux Images (plain, compressed, EFI), raw
binaries.

`load_kernel` tells what a file is and takes it apart, `read_symbols` serves debuggers and test
suites. `placement.py` then decides where in RAM it all goes. Files are hostile: every size, offset
and address in them is checked, decompression is capped, and all that is wrong is one ImageError
that names the file. Formats: ELF-64 and the RISC-V psABI, Linux'
Documentation/arch/riscv/boot-image-header.rst.
"""

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple

from lamina.base.bits import U64
from lamina.base.errors import ImageError
from lamina.base.units import GIB, MIB, format_size

MAX_FILE = 8 * GIB
MAX_UNPACKED = 256 * MIB
MAX_HEADERS = 4096
ZSTD_PIECE = 1024  # unpacks to 32 MiB at most
MAX_SYMBOL_NAME = 1024

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LINUX_HEADER = struct.Struct("<IIQQQIIQ8s4sI")
LINUX_MAGIC = b"RSC\x05"
LINUX_BIG_ENDIAN = 1
ZBOOT_HEADER = struct.Struct("<4s4sII8x32s")
SYMBOL = struct.Struct("<IBBHQQ")

EM_RISCV = 243
MACHINES = {3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC", 22: "s390", 40: "ARM"}
MACHINES |= {62: "x86-64", 183: "AArch64", 258: "LoongArch"}

FOREIGN = (
    (0x202, b"HdrS", "an x86 Linux kernel"),
    (0x38, b"ARM\x64", "an AArch64 Linux kernel"),
    (0, b"QFI\xfb", "a qcow2 disk image"),
    (0, b"\x27\x05\x19\x56", "a U-Boot legacy image"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree or a FIT image"),
    (0, b"\xfd7zXZ\x00", "compressed with xz"),
    (0, b"BZh", "compressed with bzip2"),
    (0x8001, b"CD001", "an ISO 9660 disc image"),
    (0, GZIP, "compressed twice"),
    (0, ZSTD, "compressed twice"),
    (0, b"MZ", "an EFI program, but no RISC-V Linux kernel"),
)


class ImageKind(Enum):
    """What a boot file turned out to be."""

    ELF = "ELF"
    LINUX = "Linux Image"
    RAW = "raw binary"


class Segment(NamedTuple):
    """Bytes to load: at a fixed GPA, or (None) wherever the image goes. What `size` has beyond the
    bytes is zero."""

    gpa: int | None
    data: bytes
    size: int


@dataclass(frozen=True)
class LoadedImage:
    """A boot file, taken apart. For segments without GPA, `entry` counts from the image's start."""

    name: str
    kind: ImageKind
    segments: list[Segment]
    entry: int
    text_offset: int = 0
    movable: bool = False
    """Position-independent ELF: may be moved as a whole."""


def read_file(path: str | os.PathLike[str], what: str, maximum: int = MAX_FILE) -> bytes:
    """All of a regular file that is not empty; ImageError, beginning with what and path, else."""
    name = f"{what} {os.fspath(path)!r}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{name}: cannot be read: {reason}") from None
    try:
        return _read_regular(fd, name, maximum)
    finally:
        os.close(fd)


def _read_regular(fd: int, name: str, maximum: int) -> bytes:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name}: is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{name}: is not a regular file")
    if status.st_size > maximum:
        raise ImageError(f"{name}: is larger than {format_size(maximum)}")
    try:
        with open(fd, "rb", closefd=False) as file:
            content = file.read(min(maximum, status.st_size))  # which reserves as much at once
    except (OSError, MemoryError) as error:
        raise ImageError(f"{name}: cannot be read: {str(error) or 'out of memory'}") from None
    if not content:
        raise ImageError(f"{name}: is empty")
    return content


def load_kernel(source: str | os.PathLike[str] | bytes, what: str = "kernel") -> LoadedImage:
    """Take a kernel or firmware apart; ImageError if no RISC-V machine could run it."""
    if isinstance(source, bytes):
        name, content = what, source
        if not content:
            raise ImageError(f"{name}: is empty")
    else:
        name, content = f"{what} {os.fspath(source)!r}", read_file(source, what)
    content = _unpack(name, content)
    if content.startswith(b"\x7fELF"):
        return _load_elf(name, content)
    if content[0x38:0x3C] == LINUX_MAGIC:
        return _load_linux(name, content)
    for offset, magic, kind in FOREIGN:
        if content[offset : offset + len(magic)] == magic:
            raise ImageError(
                f"{name}: is {kind}; needed is a RISC-V ELF, Linux Image or raw binary"
            )
    if _is_text(content):
        raise ImageError(
            f"{name}: is a text file; needed is a RISC-V ELF, Linux Image or raw binary"
        )
    return LoadedImage(name, ImageKind.RAW, [Segment(None, content, len(content))], 0)


def _is_text(content: bytes) -> bool:
    try:
        # The cut may fall into a character of several bytes.
        text = content[:4096].decode("utf-8", "strict" if len(content) <= 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    if len(text.encode()) < min(len(content), 4096) - 3:
        return False
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)


# Compression


def _unpack(name: str, content: bytes) -> bytes:
    """Undo one layer of gzip, zstd or EFI zboot; a second layer is refused."""
    if content.startswith(GZIP):
        return _gunzip(name, content)
    if content.startswith(ZSTD):
        return _unzstd(name, content)
    if content[:2] == b"MZ" and content[4:8] == b"zimg" and len(content) >= ZBOOT_HEADER.size:
        _, _, offset, size, method = ZBOOT_HEADER.unpack_from(content)
        payload = content[offset : offset + size]
        if len(payload) != size:
            raise ImageError(f"{name}: EFI zboot payload of {size} bytes lies beyond the file")
        match method.rstrip(b"\0"):
            case b"gzip":
                return _gunzip(name, payload)
            case b"zstd" | b"zstd22":
                return _unzstd(name, payload)
        raise ImageError(f"{name}: EFI zboot compression {method.rstrip(bytes(1))!r} is not known")
    return content


def _gunzip(name: str, content: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        unpacked = unzip.decompress(content, MAX_UNPACKED + 1)
    except zlib.error as error:
        raise ImageError(f"{name}: broken gzip data: {error}") from None
    if len(unpacked) <= MAX_UNPACKED and not unzip.eof:
        raise ImageError(f"{name}: truncated gzip data")
    return _capped(name, unpacked)


def _unzstd(name: str, content: bytes) -> bytes:
    """Fed in small pieces, so that a bomb is seen before it has gone off."""
    import zstandard  # takes 3 ms, and most kernels need none

    unzip = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    unpacked = bytearray()
    try:
        for at in range(0, len(content), ZSTD_PIECE):
            unpacked += unzip.decompress(content[at : at + ZSTD_PIECE])
            if unzip.eof or len(unpacked) > MAX_UNPACKED:
                break
    except zstandard.ZstdError as error:
        raise ImageError(f"{name}: broken zstd data: {error}") from None
    if len(unpacked) <= MAX_UNPACKED and not unzip.eof:
        raise ImageError(f"{name}: truncated zstd data")
    return _capped(name, bytes(unpacked))


def _capped(name: str, unpacked: bytes) -> bytes:
    if len(unpacked) > MAX_UNPACKED:
        raise ImageError(f"{name}: unpacks to more than {format_size(MAX_UNPACKED)}")
    if not unpacked:
        raise ImageError(f"{name}: unpacks to nothing")
    return unpacked


# Linux


def _load_linux(name: str, content: bytes) -> LoadedImage:
    if len(content) < LINUX_HEADER.size:
        raise ImageError(f"{name}: Linux Image header is cut off")
    _, _, text_offset, size, flags, *_ = LINUX_HEADER.unpack_from(content)
    if flags & LINUX_BIG_ENDIAN:
        raise ImageError(f"{name}: is a big-endian Linux Image; the machine is little-endian")
    if text_offset >= 1 << 40 or size >= 1 << 40 or text_offset % 4096:
        place = f"text_offset {text_offset:#x}, image_size {size:#x}"
        raise ImageError(f"{name}: Linux Image header does not hold together: {place}")
    segment = Segment(None, content, max(size, len(content)))
    return LoadedImage(name, ImageKind.LINUX, [segment], 0, text_offset)


# ELF


def _open_elf(name: str, content: bytes) -> Any:
    """An ELFFile of a little-endian 64-bit RISC-V file."""
    if content[4:6] != b"\x02\x01":
        raise ImageError(f"{name}: is not a 64-bit little-endian ELF file")
    machine = int.from_bytes(content[18:20], "little")
    if machine != EM_RISCV:
        kind = MACHINES.get(machine, f"machine {machine}")
        raise ImageError(f"{name}: is an ELF file for {kind}, not for RISC-V")
    from elftools.elf.elffile import ELFFile  # takes 20 ms, and most kernels are of another kind

    try:
        return ELFFile(io.BytesIO(content))
    except Exception as error:  # the library has no closed set of them for broken files
        raise _unsound(name, error) from None


def _unsound(name: str, error: Exception) -> ImageError:
    reason = str(error).splitlines()[:1] or [type(error).__name__]
    return ImageError(f"{name}: not a sound ELF file: {reason[0]}")


def _headers(name: str, count: Any, get: Any) -> Iterator[Any]:
    """The headers 0 .. count()-1 of an ELF file, whatever the library raises made an ImageError."""
    try:
        number = count()
        if number > MAX_HEADERS:
            raise ImageError(f"{name}: ELF file with {number} headers; at most {MAX_HEADERS}")
        headers = [get(index) for index in range(number)]
    except ImageError:
        raise
    except Exception as error:
        raise _unsound(name, error) from None
    yield from headers


def _load_elf(name: str, content: bytes) -> LoadedImage:
    elf = _open_elf(name, content)
    if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise ImageError(f"{name}: is an ELF file of type {elf['e_type']}, not an executable")
    headers = _headers(name, elf.num_segments, elf._get_segment_header)
    loads = [header for header in headers if header["p_type"] == "PT_LOAD" and header["p_memsz"]]
    segments = sorted((_elf_segment(name, content, header) for header in loads), key=_start)
    if not segments:
        raise ImageError(f"{name}: ELF file with nothing to load")
    for first, second in pairwise(segments):
        if _start(first) + first.size > _start(second):
            where = f"{_start(first):#x} + {first.size:#x} and {_start(second):#x}"
            raise ImageError(f"{name}: ELF segments at {where} overlap")
    entry = _elf_entry(name, elf["e_entry"], loads)
    movable = elf["e_type"] == "ET_DYN"
    return LoadedImage(name, ImageKind.ELF, segments, entry, movable=movable)


def _start(segment: Segment) -> int:
    return segment.gpa or 0


def _elf_segment(name: str, content: bytes, header: Any) -> Segment:
    offset, gpa = header["p_offset"], header["p_paddr"]
    filesz, memsz = header["p_filesz"], header["p_memsz"]
    if filesz > memsz:
        raise ImageError(f"{name}: ELF segment of {filesz} bytes in {memsz} bytes of memory")
    if offset + filesz > len(content):
        raise ImageError(f"{name}: ELF file is truncated: a segment ends at {offset + filesz:#x}")
    if gpa + memsz - 1 > U64:
        raise ImageError(f"{name}: ELF segment {gpa:#x} + {memsz:#x} exceeds 64 bits")
    return Segment(gpa, content[offset : offset + filesz], memsz)


def _elf_entry(name: str, entry: int, loads: list[Any]) -> int:
    """The entry point as GPA; kernels linked at virtual addresses give a virtual one."""
    for kind in ("p_paddr", "p_vaddr"):
        for header in loads:
            if header[kind] <= entry < header[kind] + header["p_memsz"]:
                return int(entry - header[kind] + header["p_paddr"])
    raise ImageError(f"{name}: ELF entry {entry:#x} is outside of all its segments")


def read_symbols(path: str | os.PathLike[str]) -> dict[str, int]:
    """Name to address of all named symbols of an ELF file; ImageError if it is not a sound one."""
    name = f"symbols {os.fspath(path)!r}"
    content = read_file(path, "symbols", GIB)
    if not content.startswith(b"\x7fELF"):
        raise ImageError(f"{name}: is not an ELF file")
    elf = _open_elf(name, content)
    sections = list(_headers(name, elf.num_sections, elf._get_section_header))
    symbols: dict[str, int] = {}
    for section in sections:
        if section["sh_type"] == "SHT_SYMTAB":
            strings = b""
            if section["sh_link"] < len(sections):
                strings = _section_bytes(name, content, sections[section["sh_link"]])
            table = _section_bytes(name, content, section)
            symbols.update(_symbols(table[: len(table) // SYMBOL.size * SYMBOL.size], strings))
    return symbols


def _section_bytes(name: str, content: bytes, header: Any) -> bytes:
    offset, size = header["sh_offset"], header["sh_size"]
    if header["sh_type"] == "SHT_NOBITS" or offset + size > len(content):
        raise ImageError(f"{name}: ELF section {offset:#x} + {size:#x} is not in the file")
    return content[offset : offset + size]


def _symbols(table: bytes, strings: bytes) -> Iterator[tuple[str, int]]:
    for at, info, _, section, value, _ in SYMBOL.iter_unpack(table):
        end = strings.find(b"\0", at, at + MAX_SYMBOL_NAME)
        # Type 3 and 4 are sections and files; section 0 is what the file lacks; names that begin
        # with a dollar sign mark code and data for disassemblers.
        if end > at and info & 0xF not in (3, 4) and section and strings[at] != ord("$"):
            yield strings[at:end].decode("utf-8", "replace"), value
