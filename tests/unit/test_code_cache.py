"""The code cache on disk: what is kept, and what is not believed."""

import os
from pathlib import Path

import pytest

from lamina.engine.llvm.compiler import KEPT_OBJECTS, cache_folder, cached_object


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def key(number: int) -> str:
    return f"{number:064x}"[::-1]


def refuse() -> bytes:
    raise AssertionError("made again although it was kept")


def test_an_object_is_made_once() -> None:
    assert cached_object(key(1), lambda: b"code") == (b"code", False)
    assert cached_object(key(1), refuse) == (b"code", True)


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", b"x" * 100])
def test_a_damaged_file_is_made_anew(folder: Path, damage: bytes) -> None:
    cached_object(key(1), lambda: b"code")
    (file,) = folder.glob("*.o")
    file.write_bytes(damage)
    assert cached_object(key(1), lambda: b"again") == (b"again", False)
    assert cached_object(key(1), refuse) == (b"again", True)


def test_a_changed_byte_is_noticed(folder: Path) -> None:
    cached_object(key(1), lambda: b"code")
    (file,) = folder.glob("*.o")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert cached_object(key(1), lambda: b"code") == (b"code", False)


def test_only_the_newest_objects_stay(folder: Path) -> None:
    for number in range(KEPT_OBJECTS + 3):
        cached_object(key(number), lambda: b"code")
        for file in folder.glob(f"{key(number)[:32]}.o"):
            os.utime(file, (number, number))
    cached_object(key(99), lambda: b"code")
    assert len(list(folder.glob("*.o"))) == KEPT_OBJECTS
    assert cached_object(key(99), refuse) == (b"code", True)
    assert not list(folder.glob(f"{key(0)[:32]}.o"))


def test_a_folder_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lamina").write_text("a file where the folder should be")
    assert cached_object(key(1), lambda: b"code") == (b"code", False)
