"""Tests of whole machines run on every engine; `build` makes one and closes it afterwards."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lamina.machine import Machine
from lamina.testing import guests

ENGINES = ("jit", "threaded", "reference")
Build = Callable[..., Machine]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def build(engine: str) -> Iterator[Build]:
    """A function that assembles a guest and gives its machine, on the engine under test."""
    machines: list[Machine] = []

    def make(source: str | bytes, **settings: Any) -> Machine:
        machines.append(guests.machine(source, **{"engine": engine, **settings}))
        return machines[-1]

    yield make
    for machine in machines:
        machine.close()
