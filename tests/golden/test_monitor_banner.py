"""What the built-in guest prints up to its prompt, byte for byte, on every engine."""

from pathlib import Path

import pytest

from lamina.images import builtin
from lamina.machine import Machine, MachineConfig

GOLDEN = Path(__file__).with_name("monitor_banner.txt")


@pytest.mark.parametrize("engine", ["threaded", "reference"])
def test_the_monitor_greets_as_recorded(engine: str) -> None:
    kernel = builtin.path("monitor")
    with Machine(MachineConfig(kernel=kernel, engine=engine, deterministic=True)) as m:
        m.run(until=lambda m: m.console.text().endswith("lamina> "), timeout=60)
        assert m.console.text() == GOLDEN.read_bytes().decode()
