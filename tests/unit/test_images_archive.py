"""Archives in and out: cpio written, packages read, and both laid into a root file system."""

import io
import lzma
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from lamina.base.errors import ImageError
from lamina.images import cpio, deb
from lamina.images.rootfs import RootFilesystem

HEADER_SIZE = 110


def parse(archive: bytes) -> list[tuple[str, int, bytes]]:
    """A reader of newc written for these tests: (name, mode, data) up to the trailer."""
    entries = []
    offset = 0
    while True:
        assert archive[offset : offset + 6] == b"070701"
        fields = [int(archive[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        start = offset + HEADER_SIZE
        name = archive[start : start + fields[11] - 1].decode()
        data = (start + fields[11] + 3) & ~3
        if name == "TRAILER!!!":
            assert not any(archive[data:])
            return entries
        entries.append((name, fields[1], archive[data : data + fields[6]]))
        offset = (data + fields[6] + 3) & ~3


def member(name: str, data: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    item = tarfile.TarInfo(name)
    item.size = len(data)
    for key, value in attributes.items():
        setattr(item, key, value)
    return item, data


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for item, data in members:
            tar.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


def ar_of(*files: tuple[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in files:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def package(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = folder / "thing_1_riscv64.deb"
    data = lzma.compress(tar_of(*members))
    path.write_bytes(
        ar_of(("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data))
    )
    return path


def test_cpio_holds_every_entry_and_is_padded_for_a_following_archive() -> None:
    entries = [
        cpio.directory("etc"),
        cpio.regular("etc/motd", b"hello", 0o600),
        cpio.symlink("bin", "usr/bin"),
        cpio.character_device("console", 5, 1),
    ]
    archive = b"".join(cpio.archive(entries))
    assert len(archive) % 512 == 0
    assert parse(archive) == [
        ("etc", stat.S_IFDIR | 0o755, b""),
        ("etc/motd", stat.S_IFREG | 0o600, b"hello"),
        ("bin", stat.S_IFLNK | 0o777, b"usr/bin"),
        ("console", stat.S_IFCHR | 0o600, b""),
    ]


def test_cpio_is_the_same_bytes_for_the_same_entries() -> None:
    entries = [cpio.directory("a"), cpio.regular("a/b", b"x" * 1000)]
    assert b"".join(cpio.archive(entries)) == b"".join(cpio.archive(entries))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_cpio_refuses_a_name_that_it_cannot_hold(name: str) -> None:
    with pytest.raises(ImageError, match="does not fit"):
        list(cpio.archive([cpio.regular(name, b"")]))


def test_package_yields_files_links_and_directories(tmp_path: Path) -> None:
    path = package(
        tmp_path,
        member("./usr/", type=tarfile.DIRTYPE, mode=0o755),
        member("./usr/a", b"data", mode=0o755, mtime=7),
        member("./usr/b", type=tarfile.LNKTYPE, linkname="./usr/a"),
        member("./usr/c", type=tarfile.SYMTYPE, linkname="/etc/x"),
    )
    found = list(deb.members(path))
    assert [(item.path, item.data, item.target) for item in found] == [
        ("usr", b"", ""),
        ("usr/a", b"data", ""),
        ("usr/b", b"", "usr/a"),
        ("usr/c", b"", "/etc/x"),
    ]
    assert stat.S_ISDIR(found[0].mode) and found[1].mode == stat.S_IFREG | 0o755
    assert found[1].mtime == 7 and stat.S_ISLNK(found[3].mode)


@pytest.mark.parametrize("name", ["../etc/passwd", "usr/../../x", ".."])
def test_package_that_leaves_its_root_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="outside"):
        list(deb.members(package(tmp_path, member(name, b"x"))))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_package_with_a_special_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ImageError, match="special file"):
        list(deb.members(package(tmp_path, member("dev/x", type=kind))))


def test_package_with_absolute_paths_stays_inside(tmp_path: Path) -> None:
    found = list(deb.members(package(tmp_path, member("/etc/x", b"1"))))
    assert [item.path for item in found] == ["etc/x"]


def test_package_larger_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deb, "UNPACKED_LIMIT", 1000)
    with pytest.raises(ImageError, match="more than 1000"):
        list(deb.members(package(tmp_path, member("a", bytes(600)), member("b", bytes(600)))))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\x7fELF" + data,
        lambda data: data[:40],
        lambda data: data[: len(data) - 40],
        lambda data: data.replace(b"data.tar.xz", b"data.tar.zz"),
        lambda data: data.replace(b"data.tar.xz", b"date.tar.xz"),
        lambda data: data[:-60] + bytes(50) + data[-10:],
    ],
)
def test_damaged_package_is_one_typed_error(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = package(tmp_path, member("usr/a", bytes(range(256)) * 40))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ImageError, match="thing_1_riscv64"):
        list(deb.members(path))


def test_package_compressed_by_zstd_is_read(tmp_path: Path) -> None:
    path = tmp_path / "z.deb"
    data = zstandard.ZstdCompressor().compress(tar_of(member("a", b"z")))
    path.write_bytes(ar_of(("debian-binary", b"2.0\n"), ("data.tar.zst", data)))
    assert [item.data for item in deb.members(path)] == [b"z"]


def test_root_puts_files_behind_the_links_of_merged_usr_and_makes_parents(tmp_path: Path) -> None:
    root = RootFilesystem()
    root.add(cpio.symlink("lib", "usr/lib"))
    root.add_package(deb.members(package(tmp_path, member("./lib/deep/x.so", b"elf"))))
    assert [(item.path, stat.S_IFMT(item.mode)) for item in root.entries()] == [
        ("lib", stat.S_IFLNK),
        ("usr", stat.S_IFDIR),
        ("usr/lib", stat.S_IFDIR),
        ("usr/lib/deep", stat.S_IFDIR),
        ("usr/lib/deep/x.so", stat.S_IFREG),
    ]


def test_root_leaves_out_what_is_excluded_and_copies_hard_links(tmp_path: Path) -> None:
    root = RootFilesystem([r"usr/share/doc/"])
    root.add_package(
        deb.members(
            package(
                tmp_path,
                member("usr/share/doc/x", b"long"),
                member("usr/bin/a", b"prog"),
                member("usr/bin/b", type=tarfile.LNKTYPE, linkname="usr/bin/a"),
            )
        )
    )
    assert "usr/share/doc/x" not in root
    assert root.read("usr/bin/b") == b"prog"


def test_root_refuses_a_file_in_the_place_of_a_directory() -> None:
    root = RootFilesystem()
    root.add(cpio.directory("etc"))
    with pytest.raises(ImageError, match="something else"):
        root.add(cpio.regular("etc", b""))


def test_root_read_of_what_is_not_a_file_is_an_image_error() -> None:
    root = RootFilesystem()
    root.add(cpio.directory("etc"))
    for path in ("etc", "nowhere"):
        with pytest.raises(ImageError, match="no file"):
            root.read(path)
