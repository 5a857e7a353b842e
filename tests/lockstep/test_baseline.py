"""Random programs with the baseline compiler at work at every jump, against handlers alone."""

import random

import pytest
from machines import BUDGET, Side, side
from stops import compare_stops

from lamina.engine.lockstep import compare
from lamina.engine.threaded.eager import EagerBaselineEngine
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.testing.random_programs import Image, Options, build, generate

SHORT = Options(snippets=25, trap_limit=60)
HOT = Options(snippets=20, trap_limit=150, hot=True, loops=30)


def both(image: Image) -> tuple[Side, Side]:
    a, b = side(ThreadedEngine, image), side(EagerBaselineEngine, image)
    assert isinstance(a.engine, ThreadedEngine)
    a.engine.set_baseline(None)
    return a, b


def blocks(s: Side) -> int:
    assert isinstance(s.engine, ThreadedEngine)
    return s.engine.statistics().baseline_blocks


@pytest.mark.parametrize("options", [SHORT, HOT], ids=["short", "hot"])
@pytest.mark.parametrize("seed", range(5000, 5040))
def test_baseline_code_leaves_the_same_state(seed: int, options: Options) -> None:
    image = build(generate(seed, options))
    a, b = both(image)
    try:
        exits = a.engine.run(BUDGET), b.engine.run(BUDGET)
        different = compare(a, b, exits)
        ended = a.engine.vcpu.pc == image.symbols["stop"] + 4
        made = blocks(a), blocks(b)
    finally:
        a.close()
        b.close()
    assert ended, f"seed {seed}: exit {exits[0]!r}"
    assert not different, f"seed {seed}: {different}"
    assert made[0] == 0
    assert made[1] > (1 if options.hot else 0)


@pytest.mark.parametrize("seed", range(5100, 5130))
def test_baseline_code_has_the_same_state_at_every_stop(seed: int) -> None:
    image = build(generate(seed, HOT))
    a, b = both(image)
    try:
        found = compare_stops(a, b, random.Random(seed), BUDGET, (1, 1, 7, 40, 150, 4000))
        ended = a.engine.vcpu.pc == image.symbols["stop"] + 4
    finally:
        a.close()
        b.close()
    assert not found, f"seed {seed}: {found}"
    assert ended, f"seed {seed}"


def test_a_difference_in_registers_alone_is_seen() -> None:
    image = build(generate(5000, SHORT))
    a, b = both(image)
    try:
        for s in (a, b):
            s.engine.run(50)
        assert not compare(a, b)
        b.engine.vcpu.set_reg("x", 9, b.engine.vcpu.reg("x", 9) ^ 1)
        b.engine.vcpu.set_reg("f", 31, b.engine.vcpu.reg("f", 31) ^ 1)
        assert [name for name, _, _ in compare(a, b)] == ["x9", "f31"]
    finally:
        a.close()
        b.close()
