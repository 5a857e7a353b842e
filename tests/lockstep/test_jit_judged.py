"""What samples tell of compiled regions: how long a visit takes, and where they were left to."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from bare import DATA, bare_side
from machines import nothing_compiled

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.engine.jit import engine as jit
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.jit.library import Compiled
from lamina.engine.threaded.layout import CODE_PAGE

FUNCTION = "addi s1, s1, 1\n xor s2, s2, s1\n" * 20
CALLS = f"""
    li s0, 400
1:  call 2f
    addi s0, s0, -1
    bnez s0, 1b
    j stop
    .balign 256
2:  {FUNCTION}
    ret
"""


@contextmanager
def compiled(body: str) -> Iterator[EagerJitEngine]:
    """An engine that has come to the end of a program, and is at its start again."""
    with nothing_compiled():
        side = bare_side(EagerJitEngine, body)
        engine = side.engine
        assert isinstance(engine, EagerJitEngine)
        try:
            start = engine.vcpu.pc
            engine.run(50_000)
            engine.vcpu.reset(pc=start)
            engine.state_changed()
            engine.eager = False  # from now on it judges as the engine does that is the default
            yield engine
        finally:
            side.close()


def regions_of(engine: EagerJitEngine) -> list[Compiled]:
    return list(engine._compiler.library.by_address.values())


def judge_all(engine: EagerJitEngine) -> None:
    """As if samples had found each region's entries again and again."""
    for region in regions_of(engine):
        for content, place in region.places():
            for page in range(engine._arena_start, engine._known_pages, CODE_PAGE):
                if engine._content(page) == content:
                    for _ in range(jit.JUDGED):
                        engine._judge(page, place)


def test_visits_are_counted() -> None:
    with compiled(CALLS) as engine:
        words, first = engine.vcpu.words, engine.layout.visits // 8
        counts = [int(words[first + region.visits]) for region in regions_of(engine)]
        assert len(counts) == len({region.visits for region in regions_of(engine)}) > 0
        assert max(counts) > 20


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_regions_of_short_visits_are_given_up(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with compiled(CALLS) as engine:
        monkeypatch.setattr(jit, "SHORTEST_VISIT", seconds)
        judge_all(engine)  # the counts at the first sample
        for _ in range(3):
            engine._runtime.run_fast(engine.vcpu.address, 5_000)
            judge_all(engine)
        library, heat = engine._compiler.library, engine._compiler.heat
        given_up = [
            heat.is_vain(library.digest(content), place)
            for region in regions_of(engine)
            for content, place in region.places()
        ]
        assert any(given_up) == (seconds > 0)
        linked = {r.address for n in range(1, len(library._digests)) for r in library.at(n)}
        assert (len(linked) < len(regions_of(engine))) == (seconds > 0)
        # The guest goes on as before.
        before = engine.vcpu.reg("x", 9)
        while engine.vcpu.reg("x", 8) not in (0, 1):
            assert engine._runtime.run_fast(engine.vcpu.address, 100) is not None
        assert engine.vcpu.reg("x", 9) > before


def test_the_time_behind_a_region_is_that_of_what_it_was_left_to() -> None:
    """A loop whose accesses lie over the end of a page: they leave the region in its middle."""
    body = f"""
        li a0, {DATA + PAGE_SIZE - 4}
        li s0, 300
    1:  ld a3, 0(a0)
        ld a4, 8(a0)
        add a5, a3, a4
        addi s0, s0, -1
        bnez s0, 1b
    """
    with compiled(body) as engine:
        words, at = engine.vcpu.words, engine.layout.at["left_to"] // 8
        found = set()
        for _ in range(200):
            engine._runtime.run_fast(engine.vcpu.address, 1)
            found.add(int(words[at]))
            pc = engine._spent_at()
            page = engine._page_of(pc >> PAGE_SHIFT)
            if words[at] and page and engine._leads_into_region(engine.vcpu.pc):
                assert pc in (int(words[at]), engine.vcpu.pc)
        assert len(found) > 1
