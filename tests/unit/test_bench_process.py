"""The benchmarks' way to run a process: markers, exit status, accounts."""

import sys

import pytest

from bench.process import BenchError, measure

MIB = 1 << 20


def _python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_process_is_ended_when_it_prints_the_marker() -> None:
    sample = measure(_python("print('ready', flush=True); input()"), b"ready", timeout=60)
    assert 0 < sample.wall < 60
    assert sample.cpu > 0
    assert sample.peak is not None and sample.peak > MIB


def test_memory_is_the_peak_and_not_what_is_left() -> None:
    text = "b = b'x' * (64 << 20); del b; print('ready', flush=True); input()"
    sample = measure(_python(text), b"ready", timeout=60)
    assert sample.peak is not None and sample.peak > 64 * MIB


def test_a_living_child_is_charged_and_its_memory_counted() -> None:
    child = (
        "import time; b = b'x' * (64 << 20); t = time.process_time()\n"
        "while time.process_time() - t < 0.3: pass\n"
        "print('ready', flush=True); input()"
    )
    text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    sample = measure(_python(text), b"ready", timeout=60)
    assert sample.cpu > 0.3
    assert sample.resident is not None and sample.resident > 64 * MIB
    assert sample.peak is not None and sample.peak < 64 * MIB


def test_a_process_that_ends_without_the_marker_is_an_error_with_its_output() -> None:
    with pytest.raises(BenchError, match="status 3, last output:\nbroken"):
        measure(_python("print('broken', flush=True); raise SystemExit(3)"), b"ready", timeout=60)


def test_a_process_that_runs_to_its_end_must_have_the_expected_status() -> None:
    assert measure(_python("raise SystemExit(3)"), status=3, timeout=60).cpu > 0
    with pytest.raises(BenchError, match="status 3"):
        measure(_python("raise SystemExit(3)"), timeout=60)


def test_a_process_that_hangs_is_killed_at_the_timeout() -> None:
    with pytest.raises(BenchError, match="status -9"):
        measure(_python("input()"), timeout=0.5)
