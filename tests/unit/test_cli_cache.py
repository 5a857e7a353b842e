"""`lamina cache`: lists and removes the compiled code."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lamina.cli import main
from lamina.cli.cmd_doctor import findings
from lamina.engine.code import store as module
from lamina.engine.code.image import CodeImage
from lamina.engine.code.store import code_store


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code_store.cache_clear()
    yield tmp_path / "lamina" / "code"
    code_store.cache_clear()


@pytest.fixture
def lamina(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["cache", *arguments])
        taken = capsys.readouterr()
        return int(ended.value.code or 0), taken.out + taken.err

    return run


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image of the runtime; three regions, of now, of two hours and of a year ago."""
    code_store("runtime").put("a" * 64, CodeImage(bytes(2000)))
    now = time.time()
    for number, age in enumerate((0, 7_200, 365 * 86_400)):
        with monkeypatch.context() as patch:
            patch.setattr(module.time, "time", lambda age=age: now - age)
            code_store("regions").put(f"{number:064x}", CodeImage(bytes(1000)))


def test_an_empty_cache_is_listed(lamina: Callable[..., tuple[int, str]], folder: Path) -> None:
    status, text = lamina("ls")
    assert status == 0
    assert text.splitlines()[0] == str(folder)
    assert "runtime       0 images    0 bytes of 8.0 MiB" in text
    assert not folder.exists()


def test_images_are_counted_by_kind_and_age(
    lamina: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch)
    status, text = lamina("ls")
    assert status == 0
    assert "regions       3 images" in text
    for age in ("the last hour", "the last day", "before that"):
        assert f"kept {age}" in text
    assert "regions" not in lamina("ls", "runtime")[1]


def test_one_kind_is_removed_or_everything(
    lamina: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch)
    assert lamina("rm", "regions")[0] == 0
    assert code_store("regions").scan() == [] and len(code_store("runtime").scan()) == 1
    status, text = lamina("rm")
    assert status == 0 and "removed" in text
    assert code_store("runtime").scan() == []


@pytest.mark.parametrize("command", ["ls", "rm"])
def test_an_unknown_kind_is_one_line(lamina: Callable[..., tuple[int, str]], command: str) -> None:
    status, text = lamina(command, "regoins")
    assert status == 2
    assert text.splitlines() == [
        "lamina: error: 'regoins': no such kind of code; there is runtime, regions"
    ]


def test_help_has_examples(lamina: Callable[..., tuple[int, str]]) -> None:
    for arguments in (["--help"], ["ls", "--help"], ["rm", "--help"]):
        status, text = lamina(*arguments)
        assert status == 0 and "Examples:" in text and "lamina cache" in text


def test_the_doctor_mentions_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    (found,) = (f for f in findings() if f.subject.strip() == "compiled code")
    assert "1 of runtime, 3 of regions" in found.text
