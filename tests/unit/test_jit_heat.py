"""Where guests were hot, from run to run."""

import logging
from pathlib import Path

import pytest

from lamina.engine.jit import heat as module
from lamina.engine.jit.heat import MAX_HEAT, MAX_ROWS, Heat

DIGEST = "0123456789abcdef" * 4


def test_samples_are_counted_by_place() -> None:
    heat = Heat(Path("/nonexistent/heat"))
    heat.add(DIGEST, 8, 2)
    heat.add(DIGEST, 8, 3)
    heat.add(DIGEST, 10, 1)
    assert heat.before(DIGEST, 8) == 5
    assert heat.before(DIGEST, 12) == 0
    heat.drop(DIGEST, 8)
    assert heat.before(DIGEST, 8) == 0
    heat.add(DIGEST, 8, 10 * MAX_HEAT)
    assert heat.before(DIGEST, 8) == MAX_HEAT


def test_the_next_run_counts_on(tmp_path: Path) -> None:
    first = Heat(tmp_path / "cache" / "heat")
    first.add(DIGEST, 8, 2)
    first.save()
    assert Heat(tmp_path / "cache" / "heat").before(DIGEST, 8) == 2


def test_a_disk_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    heat = Heat(tmp_path / "file" / "heat")
    heat.add(DIGEST, 8, 2)
    heat.save()
    assert heat.before(DIGEST, 8) == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "one",
        f"{DIGEST[:31]} 8 2",
        f"{DIGEST[:32]} 8",
        f"{DIGEST[:32]} -8 2",
        f"{DIGEST[:32]} 4096 2",
        f"{DIGEST[:32]} 8 two",
        f"{DIGEST[:32]} {'9' * 5000} 2",
        f"{DIGEST[:32]} 8 {'9' * 5000}",
        f"{DIGEST[:32]} 8 2 3",
    ],
)
def test_what_is_no_row_is_ignored_with_one_warning(
    line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "heat"
    path.write_text(f"{DIGEST[:32]} 10 7\n{line}\n{line}\n{DIGEST[:32]} 12 9\n")
    with caplog.at_level(logging.WARNING):
        heat = Heat(path)
    assert len(caplog.records) == 1
    assert heat.before(DIGEST, 10) == 7
    assert heat.before(DIGEST, 12) == 9
    assert heat.before(DIGEST, 8) == 0


def test_a_file_that_is_no_text_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "heat").write_bytes(bytes(range(256)))
    assert Heat(tmp_path / "heat").before(DIGEST, 8) == 0


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that is hot in ever new pages costs no more memory: the hottest places stay."""
    monkeypatch.setattr(module, "SAVE_SECONDS", 1e9)
    heat = Heat(tmp_path / "heat")
    heat.add(DIGEST, 8, 50)
    for i in range(3 * MAX_ROWS):
        heat.add(f"{i:064x}", 0, 1)
    assert len(heat._rows) <= 2 * MAX_ROWS
    assert heat.before(DIGEST, 8) == 50


def test_what_is_not_worth_compiling_owes_samples(tmp_path: Path) -> None:
    path = tmp_path / "heat"
    heat = Heat(path)
    heat.add(DIGEST, 4, 30)
    heat.owe(DIGEST, 4, 90)
    heat.add(DIGEST, 4, 10)
    heat.save()
    assert Heat(path).before(DIGEST, 4) == -80
