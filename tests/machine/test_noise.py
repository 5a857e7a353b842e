"""Random instruction streams: nothing that a guest executes crashes or hangs the host."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("noise.py")


@pytest.mark.parametrize("mode", ["m", "s", "u"])
@pytest.mark.parametrize(("engine", "words"), [("threaded", 1_000_000), ("reference", 12_000)])
def test_random_words_in_each_mode(engine: str, words: int, mode: str) -> None:
    seed = {"m": 1, "s": 2, "u": 3}[mode] * 1000
    done = subprocess.run(
        [sys.executable, str(PROGRAM), engine, mode, str(seed), str(words)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    retired, traps = map(int, done.stdout.split())
    assert retired >= words
    assert traps > words // 100
