"""The one line that tells a user why a first start takes long."""

import threading

import pytest

from lamina.cli import launch
from lamina.engine.threaded import runtime


def _wait_for_the_timer() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(10)


@pytest.mark.parametrize(
    ("name", "compiled", "told"),
    [("threaded", False, 1), ("threaded", True, 0), ("reference", False, 0)],
)
def test_only_a_long_compile_is_told(
    name: str,
    compiled: bool,
    told: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runtime, "is_compiled", lambda arch: compiled)
    monkeypatch.setattr(launch, "COMPILING_PATIENCE", 0.0)
    with launch.compiling_is_told(name):
        _wait_for_the_timer()
    line = "lamina: compiling the engine for this CPU (once) ...\n"
    assert capsys.readouterr().err == line * told


def test_a_quick_compile_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "is_compiled", lambda arch: False)
    monkeypatch.setattr(launch, "COMPILING_PATIENCE", 1000.0)
    with launch.compiling_is_told("threaded"):
        pass
    _wait_for_the_timer()
    assert capsys.readouterr().err == ""
