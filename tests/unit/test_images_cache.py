"""The cache of built images: atomic, checked, locked; and what goes into a session's archive."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.base.errors import ConfigError, HostError
from lamina.images import debian
from lamina.images.cache import ImageCache, cache_root, images_root
from lamina.images.progress import SilentProgress
from lamina.images.session import command_initrd


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def stored(recipe: str = "r1") -> ImageCache:
    cache = ImageCache("thing", recipe)
    with cache.lock(SilentProgress()):
        cache.store({"kernel": b"kernel", "initrd": iter([b"one", b"two"])}, {"packages": ["a 1"]})
    return cache


def test_stored_files_are_found_with_their_facts() -> None:
    cache = stored()
    assert cache.find() == {"packages": ["a 1"]}
    assert (cache.folder / "initrd").read_bytes() == b"onetwo"
    leftovers = {path.name for path in cache.folder.iterdir()}
    assert leftovers == {"kernel", "initrd", "manifest.json"}


def test_another_recipe_is_another_build() -> None:
    stored("r1")
    assert ImageCache("thing", "r2").find() is None


@pytest.mark.parametrize("name", ["kernel", "initrd", "manifest.json"])
@pytest.mark.parametrize("content", [b"kernex", b"", None])
def test_damage_to_any_file_is_noticed(name: str, content: bytes | None) -> None:
    cache = stored()
    if content is None:
        (cache.folder / name).unlink()
    else:
        (cache.folder / name).write_bytes(content)
    assert cache.find() is None


@pytest.mark.parametrize("text", ["[]", "{}", '{"recipe": "r1", "files": 3, "facts": {}}', "\xff"])
def test_manifest_of_another_shape_is_no_image(text: str) -> None:
    cache = stored()
    (cache.folder / "manifest.json").write_text(text, encoding="latin-1")
    assert cache.find() is None


def test_build_that_fails_leaves_no_file_and_no_manifest() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("stop")

    cache = stored()
    with cache.lock(SilentProgress()), pytest.raises(RuntimeError):
        cache.store({"kernel": broken()}, {})
    assert cache.find() is None
    assert {path.name for path in cache.folder.iterdir()} == {"kernel", "initrd"}


def test_lock_keeps_another_process_out() -> None:
    cache = ImageCache("thing", "r")
    taken = ["flock", "--nonblock", str(images_root() / "lock"), "true"]
    with cache.lock(SilentProgress()):
        assert subprocess.run(taken).returncode == 1
    assert subprocess.run(taken).returncode == 0


def test_cache_that_cannot_be_written_is_one_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with (
        pytest.raises(HostError, match="XDG_CACHE_HOME"),
        ImageCache("thing", "r").lock(SilentProgress()),
    ):
        pass


def test_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == Path.home() / ".cache" / "lamina"


def test_command_archive_quotes_arguments_and_environment() -> None:
    archive = command_initrd(
        ["sh", "-c", "echo 'a b'\n$HOME"],
        {"TERM": "x'y"},
        window=(24, 80),
        raw_input=True,
        ready=b"\x1bok\\",
    )
    assert b"exec sh -c 'echo '\"'\"'a b'\"'\"'\n$HOME'\n" in archive
    assert b"export TERM='x'\"'\"'y'\nROWS=24\nCOLUMNS=80\nRAW_INPUT=1\n" in archive
    assert rb"READY='\033\157\153\134'" in archive
    assert b"RAW_OUTPUT" not in archive


def test_session_without_a_command_has_no_command_file() -> None:
    assert b"lamina/command" not in command_initrd([], {})
    assert b"lamina/session" in command_initrd([], {})


@pytest.mark.parametrize("window", [(0, 80), (24, -1), (24, 100_000)])
def test_window_of_no_size_is_left_out(window: tuple[int, int]) -> None:
    assert b"ROWS" not in command_initrd([], {}, window=window)


@pytest.mark.parametrize(
    ("argv", "env"), [(["a\0b"], {}), (["x" * 200_000], {}), ([], {"A B": ""}), ([], {"A;b": "c"})]
)
def test_session_that_cannot_be_passed_on_is_refused(argv: list[str], env: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        command_initrd(argv, env)


def test_modules_are_loaded_after_what_they_depend_on() -> None:
    def module(depends: str) -> bytes:
        return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"

    found = {
        "net": module("failover,core-lib,builtin"),
        "failover": module(""),
        "core_lib": module("failover"),
        "other": module(""),
    }
    order: dict[str, bytes] = {}
    debian._load_order("net", found, order)
    assert list(order) == ["failover", "core_lib", "net"]


def test_modules_that_depend_on_each_other_are_loaded_once() -> None:
    found = {"a": b"\0depends=b\0", "b": b"\0depends=a\0"}
    order: dict[str, bytes] = {}
    debian._load_order("a", found, order)
    assert sorted(order) == ["a", "b"]
