"""Boot files: ELF, Linux Images and what only looks like them."""

import gzip
import os
import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.errors import ImageError
from lamina.machine import loaders
from lamina.machine.loaders import ImageKind, Segment, load_kernel, read_file, read_symbols

CODE = bytes.fromhex("6f000000")  # j .
BASE = 0x8000_0000


def segment(paddr=BASE, data=CODE, **changes):
    return {"paddr": paddr, "data": data, "type": 1, "vaddr": paddr} | changes


def elf(*segments, entry=BASE, sections=b"", section_count=0, **header):
    """An ELF file; every field of it can be given."""
    fields = {
        "ident": b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        "type": 2,
        "machine": 243,
        "version": 1,
        "entry": entry,
        "phoff": 64,
        "shoff": 0,
        "flags": 0,
        "ehsize": 64,
        "phentsize": 56,
        "phnum": len(segments),
        "shentsize": 64,
        "shnum": section_count,
        "shstrndx": 0,
    } | header
    at = 64 + 56 * len(segments)
    table, body = b"", b""
    for one in segments:
        offset = one.get("offset", at + len(body))
        filesz = one.get("filesz", len(one["data"]))
        values = (one["type"], 5, offset, one["vaddr"], one["paddr"], filesz)
        table += struct.pack("<2I6Q", *values, one.get("memsz", filesz), 0x1000)
        body += one["data"]
    return struct.pack("<16s2HI3QI6H", *fields.values()) + table + body + sections


def image(size=0x1000, text_offset=0x20_0000, flags=0, length=128, magic=b"RSC\x05"):
    header = struct.pack(
        "<IIQQQIIQ8s4sI", 0x6F, 0, text_offset, size, flags, 2, 0, 0, b"", magic, 0
    )
    return header.ljust(length, b"\1")


def test_elf_segments_go_to_their_physical_addresses():
    data = segment(BASE + 0x1000, b"data", memsz=0x100)
    loaded = load_kernel(elf(segment(), data, entry=BASE))
    assert loaded.kind is ImageKind.ELF
    assert loaded.segments == [Segment(BASE, CODE, 4), Segment(BASE + 0x1000, b"data", 0x100)]
    assert loaded.entry == BASE and not loaded.movable


def test_elf_entry_at_a_virtual_address_is_translated():
    high = segment(BASE, vaddr=0xFFFF_FFFF_8000_0000, memsz=0x1000)
    assert load_kernel(elf(high, entry=0xFFFF_FFFF_8000_0010)).entry == BASE + 0x10


def test_elf_segments_without_memory_and_of_other_types_are_left_out():
    loaded = load_kernel(elf(segment(0, b"", memsz=0), segment(0, b"note", type=4), segment()))
    assert [one.gpa for one in loaded.segments] == [BASE]


def test_position_independent_elf_is_movable():
    assert load_kernel(elf(segment(0), entry=0, type=3)).movable


LIES = {
    "header cut off": elf(segment())[:63],
    "program headers cut off": elf(segment())[:80],
    "segment cut off": elf(segment())[:-1],
    "no segments": elf(),
    "x86-64": elf(segment(), machine=62),
    "32-bit": elf(segment(), ident=b"\x7fELF\x01\x01\x01".ljust(16, b"\0")),
    "big-endian": elf(segment(), ident=b"\x7fELF\x02\x02\x01".ljust(16, b"\0")),
    "object file": elf(segment(), type=1),
    "core file": elf(segment(), type=4),
    "odd type": elf(segment(), type=0x1234),
    "entry outside": elf(segment(), entry=BASE + 4),
    "entry of 2^64-1": elf(segment(), entry=2**64 - 1),
    "overlap": elf(segment(), segment(BASE + 3)),
    "same place": elf(segment(), segment()),
    "overlap by bss": elf(segment(memsz=0x2000), segment(BASE + 0x1000)),
    "memsz of 2^63 wraps": elf(segment(2**63 + 1, memsz=2**63)),
    "memsz 2^64-1": elf(segment(memsz=2**64 - 1)),
    "filesz above memsz": elf(segment(memsz=3)),
    "filesz 2^64-1": elf(segment(filesz=2**64 - 1, memsz=2**64 - 1)),
    "offset 2^64-1": elf(segment(offset=2**64 - 1)),
    "phoff beyond": elf(segment(), phoff=2**63),
    "phnum 65534": elf(segment(), phnum=65534),
    "phnum in a section": elf(segment(), phnum=0xFFFF, shoff=2**40, shnum=1),
    "phentsize 0": elf(segment(), phentsize=0, phnum=2),
    "only the magic": b"\x7fELF",
}


@pytest.mark.parametrize("lie", LIES)
def test_elf_lies_are_one_line_errors(lie):
    with pytest.raises(ImageError, match=r"^kernel: [^\n]+$"):
        load_kernel(LIES[lie])


def test_errors_say_what_is_wrong():
    with pytest.raises(ImageError, match="is an ELF file for x86-64, not for RISC-V"):
        load_kernel(LIES["x86-64"])
    with pytest.raises(
        ImageError, match=r"segments at 0x80000000 \+ 0x2000 and 0x80001000 overlap"
    ):
        load_kernel(LIES["overlap by bss"])


def test_linux_image_plain_and_compressed():
    plain = image()
    zboot = struct.pack("<4s4sII8x32s", b"MZ", b"zimg", 64, 0, b"gzip")
    packed = gzip.compress(plain, mtime=0)
    zboot = zboot[:12] + struct.pack("<I", len(packed)) + zboot[16:].ljust(48, b"\0") + packed
    for source in (plain, packed, zstandard.compress(plain), zboot):
        loaded = load_kernel(source)
        assert loaded.kind is ImageKind.LINUX
        assert loaded.segments == [Segment(None, plain, 0x1000)]
        assert (loaded.text_offset, loaded.entry) == (0x20_0000, 0)


def test_linux_image_with_an_efi_stub_is_one():
    stub = b"MZ" + image()[2:]
    assert load_kernel(stub).kind is ImageKind.LINUX


@pytest.mark.parametrize(
    "source",
    [
        image(flags=1),
        image(text_offset=2**63),
        image(text_offset=1),
        image(size=2**63),
        image()[:60],
        gzip.compress(image(), mtime=0)[:-9],
        gzip.compress(image(), mtime=0)[:40] + b"\xff" * 9,
        gzip.compress(b"", mtime=0),
        zstandard.compress(image())[:-3],
        b"\x28\xb5\x2f\xfd" + bytes(30),
        b"MZ\0\0zimg" + b"\xff" * 60,
        gzip.compress(gzip.compress(b"text, twice packed", mtime=0), mtime=0),
    ],
)
def test_broken_linux_images_are_one_line_errors(source):
    with pytest.raises(ImageError, match=r"^kernel: [^\n]+$"):
        load_kernel(source)


def test_bombs_stop_at_the_cap(monkeypatch):
    monkeypatch.setattr(loaders, "MAX_UNPACKED", 1 << 20)
    bomb = bytes(16 << 20)
    for source in (gzip.compress(bomb, mtime=0), zstandard.compress(bomb)):
        with pytest.raises(ImageError, match="unpacks to more than 1 MiB"):
            load_kernel(source)
    assert load_kernel(gzip.compress(bytes(1 << 20), mtime=0)).kind is ImageKind.RAW


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (b"#!/bin/sh\necho hello\n", "text file"),
        ("grüße\n".encode() * 2000, "text file"),
        (b"a pointer to the file that should be here\n", "text file"),
        (bytes(0x202) + b"HdrS" + bytes(99), "x86 Linux kernel"),
        (bytes(0x38) + b"ARM\x64" + bytes(99), "AArch64 Linux kernel"),
        (b"QFI\xfb" + bytes(99), "qcow2"),
        (b"\x27\x05\x19\x56" + bytes(99), "U-Boot"),
        (b"\xfd7zXZ\0" + bytes(99), "xz"),
        (b"MZ" + bytes(99), "EFI program"),
        (b"", "empty"),
    ],
)
def test_what_is_no_kernel_is_named(source, kind):
    with pytest.raises(ImageError, match=kind):
        load_kernel(source)


def test_raw_binaries_are_taken_as_they_are():
    loaded = load_kernel(CODE * 3, "firmware")
    assert (loaded.kind, loaded.entry) == (ImageKind.RAW, 0)
    assert loaded.segments == [Segment(None, CODE * 3, 12)]


def test_files_that_cannot_be_read_are_named(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    cases = {
        empty: "is empty",
        tmp_path: "is a directory",
        fifo: "is not a regular file",
        tmp_path / "none": "No such file",
        loop: "symbolic links",
        "a\0b": "null",
        "/dev/zero": "is not a regular file",
        "x" * 10_000: "too long",
    }
    before = len(os.listdir("/proc/self/fd"))
    for path, reason in cases.items():
        with pytest.raises(ImageError, match=reason) as caught:
            load_kernel(path)
        assert str(caught.value).startswith(f"kernel {os.fspath(path)!r}")
        assert "\n" not in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_above_the_limit_is_not_read(tmp_path):
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ImageError, match="larger than 8 GiB"):
        read_file(huge, "initrd")


def with_symbols(strings, *symbols, **changes):
    """An ELF file with a symbol table: (name offset, info, section, value)."""
    table = b"".join(struct.pack("<IBBHQQ", n, i, 0, s, v, 0) for n, i, s, v in symbols)
    start = 64 + 56 + 4
    symtab = {"type": 2, "offset": start, "size": len(table), "link": 2} | changes
    strtab = (0, 3, 0, 0, start + len(table), len(strings), 0, 0, 1, 0)
    symtab_raw = (
        0,
        symtab["type"],
        0,
        0,
        symtab["offset"],
        symtab["size"],
        symtab["link"],
        0,
        8,
        24,
    )
    rows = [(0,) * 10, symtab_raw, strtab]
    headers = b"".join(struct.pack("<2I4Q2I2Q", *row) for row in rows)
    shoff = start + len(table) + len(strings)
    return elf(segment(), sections=table + strings + headers, section_count=3, shoff=shoff)


@pytest.fixture
def symbols_of(tmp_path):
    def read(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return read_symbols(path)

    return read


def test_symbols_by_name(symbols_of):
    strings = b"\0tohost\0$xrv64\0main\0file.c\0"
    rows = [(0, 0, 0, 0), (1, 0, 1, 0x1000), (8, 0, 1, 2), (15, 0x12, 1, BASE), (20, 4, 1, 9)]
    undefined = (15, 0x12, 0, 7)
    assert symbols_of(with_symbols(strings, *rows, undefined)) == {"tohost": 0x1000, "main": BASE}


def test_symbols_of_a_stripped_file_are_none(symbols_of):
    assert symbols_of(elf(segment())) == {}


@pytest.mark.parametrize(
    "changes", [{"size": 2**63}, {"offset": 2**63}, {"offset": 10**6}, {"size": 2**40}]
)
def test_symbol_tables_that_lie_are_refused(symbols_of, changes):
    with pytest.raises(ImageError, match="not in the file"):
        symbols_of(with_symbols(b"\0a\0", (1, 0, 1, 5), **changes))


def test_symbol_names_outside_of_their_table_are_dropped(symbols_of):
    rows = [(2**32 - 1, 0, 1, 5), (3, 0, 1, 6), (1, 0, 1, 7)]
    assert symbols_of(with_symbols(b"\0a\0endless", *rows)) == {"a": 7}
    assert symbols_of(with_symbols(b"\0a\0", (1, 0, 1, 5), link=99)) == {}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_elf_files_load_or_are_refused(data):
    blob = bytearray(with_symbols(b"\0tohost\0", (1, 0, 1, 0x1000)))
    for _ in range(data.draw(st.integers(1, 5))):
        blob[data.draw(st.integers(4, len(blob) - 1))] = data.draw(
            st.sampled_from([0, 1, 127, 255])
        )
    content = bytes(blob[: data.draw(st.integers(4, len(blob)))])
    try:
        loaded = load_kernel(content)
        assert sum(len(one.data) for one in loaded.segments) <= len(content) * 8
    except ImageError as error:
        assert "\n" not in str(error)


def test_zstd_cut_off_anywhere_is_refused():
    packed = zstandard.compress(image() + os.urandom(300_000))
    for cut in (5, 100, 1024, 200_000, len(packed) - 1):
        with pytest.raises(ImageError, match="zstd data"):
            load_kernel(packed[:cut])
