"""Random programs with everything compiled at its first run: the optimising engine against the
threaded one, which the other tests here hold to the reference. And with the choice of what to
compile left to samples, which come by chance, with thresholds so low that most is."""

import random
import threading
from collections.abc import Iterator

import pytest
from machines import BUDGET, nothing_compiled, side
from stops import compare_stops

from lamina.engine.jit import engine as jit
from lamina.engine.jit import hotspots, library
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import compare
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.engine.vcpu import REQUEST_SAMPLE
from lamina.testing import random_layout as at
from lamina.testing.random_programs import Image, Options, build, generate

SHORT = Options(snippets=25, trap_limit=60)
HOT = Options(snippets=20, trap_limit=150, hot=True, loops=30)


@pytest.fixture(autouse=True)
def _no_complaints(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> Iterator[None]:
    """Every region can be compiled; for odd seeds as for a machine of one vCPU."""
    with nothing_compiled(alone=request.node.callspec.params.get("seed", 0) % 2 == 1):
        yield
    assert not [r.getMessage() for r in caplog.get_records("call") if r.name.startswith("lamina")]


def free_run(image: Image, seed: int) -> None:
    a, b = side(ThreadedEngine, image), side(EagerJitEngine, image)
    try:
        exits = a.engine.run(BUDGET), b.engine.run(BUDGET)
        different = compare(a, b, exits)
        ended = a.engine.vcpu.pc == image.symbols["stop"] + 4
    finally:
        a.close()
        b.close()
    assert ended, f"seed {seed}: exit {exits[0]!r}"
    assert not different, f"seed {seed}: {different}"


@pytest.mark.parametrize("seed", range(3000, 3012))
def test_compiled_regions_leave_the_same_state(seed: int) -> None:
    free_run(build(generate(seed, SHORT)), seed)


@pytest.mark.parametrize("seed", range(3100, 3110))
def test_hot_code_leaves_the_same_state(seed: int) -> None:
    free_run(build(generate(seed, HOT)), seed)


@pytest.mark.parametrize("seed", range(3200, 3210))
def test_hot_code_has_the_same_state_at_every_stop(seed: int) -> None:
    image = build(generate(seed, HOT))
    a, b = side(ThreadedEngine, image), side(EagerJitEngine, image)
    try:
        found = compare_stops(a, b, random.Random(seed), BUDGET, (1, 1, 7, 40, 150))
        ended = a.engine.vcpu.pc == image.symbols["stop"] + 4
    finally:
        a.close()
        b.close()
    assert not found, f"seed {seed}: {found}"
    assert ended, f"seed {seed}"


@pytest.mark.parametrize("seed", range(3400, 3403))
def test_regions_may_be_given_up_at_any_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MAX_BYTES", 20_000)
    image = build(generate(seed, HOT))
    a, b = side(ThreadedEngine, image), side(EagerJitEngine, image)
    assert isinstance(b.engine, EagerJitEngine)
    try:
        found = compare_stops(a, b, random.Random(seed), BUDGET, (1, 5, 60))
        times = b.engine._compiler.library.generation
    finally:
        a.close()
        b.close()
    assert not found, f"seed {seed}: {found}"
    assert times > 0


@pytest.mark.parametrize("seed", range(3300, 3306))
def test_code_that_is_compiled_by_chance_leaves_the_same_state(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regions come at any time, in any order, while a program is run again and again."""
    monkeypatch.setattr(hotspots, "WORTH", 0.0)
    monkeypatch.setattr(hotspots, "FIRST_LOOK", 1)
    monkeypatch.setattr(hotspots, "OLD_ENOUGH", 1)
    image = build(generate(seed, HOT))
    a, b = side(ThreadedEngine, image), side(jit.JitEngine, image)
    assert isinstance(b.engine, jit.JitEngine)
    linked = []
    lead = b.engine._lead
    monkeypatch.setattr(b.engine, "_lead", lambda *args: (linked.append(args), lead(*args)))
    asked = threading.Event()

    def ask() -> None:
        while not asked.wait(0.00005):
            b.engine.vcpu.request(REQUEST_SAMPLE)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for turn in range(250):
            for s in (a, b):
                image.load(s.space)
                s.engine.vcpu.reset(pc=at.BASE)
                s.engine.state_changed()
            exits = a.engine.run(BUDGET), b.engine.run(BUDGET)
            different = compare(a, b, exits, memory=turn % 10 == 9)
            assert not different, f"seed {seed}, turn {turn}: {different}"
            if turn % 5 == 0:
                b.engine._compiler.wait()
    finally:
        asked.set()
        asking.join()
        a.close()
        b.close()
    assert linked
    assert b.engine._exits["ENTERED"]  # regions stood their trial
