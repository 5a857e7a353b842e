"""Regions that are compiled once more in another form, while their loop runs: for groups of
accesses in two pages and back, and without guesses of pages. Beside an engine without regions."""

import pytest
from bare import DATA, WINDOW, Tables, bare_side, satp
from machines import nothing_compiled
from test_jit_spaces import SUPERVISOR, identity

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit import engine as jit
from lamina.engine.jit import guesses, hotspots
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.jit.hotspots import Spot
from lamina.engine.jit.library import Compiled
from lamina.engine.jit.region import PageView
from lamina.engine.lockstep import compare
from lamina.engine.threaded.engine import ThreadedEngine

PAGES = 8
RUNS = 200
FRAME, LOOP = ("x", 10), ("x", 18)  # a0, s2
# It reads and writes in both pages: a group is looked up in each for all that it does.
GROUP = """
        ld a3, 0(a0)
        ld a4, 8(a0)
        add a5, a3, a4
        addi a5, a5, 1
        sd a4, 8(a0)
        sd a5, 16(a0)
        ld a7, 16(a0)
"""
# A place in one of the pages, by the remainders of a product.
SCATTERED = """
        mul a3, a3, a4
        addi a3, a3, 13
        srli a5, a3, 40
        and a5, a5, a6
        add a5, a5, a0
        ld a7, 0(a5)
        add s1, s1, a7
        ld a7, 0(a0)
        add s1, s1, a7
"""


class Sampled(EagerJitEngine):
    """Is looked at where it stops, which is where a jump has gone, and compiles as usual."""

    eager = False

    def _submit(self, spot: Spot) -> None:
        jit.JitEngine._submit(self, spot)

    def _view(self, page: int) -> PageView:
        return jit.JitEngine._view(self, page)


class Pair:
    """An engine that compiles, beside one that does not, on a loop that does not end."""

    def __init__(self, body: str) -> None:
        tables = Tables()
        root = tables.root()
        identity(tables, root)
        for i in range(PAGES):
            tables.map(root, WINDOW + i * PAGE_SIZE, DATA + 2 * i * PAGE_SIZE)
        program = f"""
            li t0, {satp(root)}
            csrw satp, t0
            sfence.vma
            li a0, {WINDOW}
            li a3, 1234567
            li a4, 0x5851f42d4c957f2d
            li a6, {PAGES * PAGE_SIZE - 8}
            {SUPERVISOR}
            la s2, 1f
            j 1f
            .balign 64
        1:  {body}
            addi s0, s0, 1
            bnez s0, 1b
        """
        self.sides = [bare_side(make, program, tables) for make in (ThreadedEngine, Sampled)]
        self.engine = self.sides[1].engine
        assert isinstance(self.engine, Sampled)
        self.engine._trials.add = self.engine._submit  # type: ignore[method-assign]

    def run(self) -> Compiled | None:
        """Run, and be looked at; the region that the loop is in then."""
        begun = self.engine.vcpu.icount
        self.engine.run_for(20_000)
        self.sides[0].engine.run(self.engine.vcpu.icount - begun)
        assert not compare(*self.sides, memory=False)
        self.engine.compile_here()
        found = self.engine._compiled_at(self.engine.vcpu.reg(*LOOP))
        return None if found is None else found[0]

    def run_until(self, grouped: bool, scattered: bool) -> Compiled:
        """Until the loop is in a region of that form."""
        for _ in range(RUNS):
            found = self.run()
            if found is None:
                continue
            if (found.grouped, bool(found.about.scattered)) == (grouped, scattered):
                assert not compare(*self.sides)
                return found
        raise AssertionError(f"the loop's region has not become {grouped=} {scattered=}")

    def move(self, gva: int) -> None:
        """The loop accesses memory there from now on."""
        for side in self.sides:
            side.engine.vcpu.set_reg(*FRAME, gva)
            side.engine.state_changed()

    def close(self) -> None:
        for side in self.sides:
            side.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is compiled at once, but what is seen by chance."""
    for name, value in (("WORTH", 0.0), ("OLD_ENOUGH", 1)):
        monkeypatch.setattr(hotspots, name, value)


def test_pairs_are_used_as_long_as_groups_lie_in_two_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guesses, "LEAST", 2.0)  # never: the first guess of each form is wrong
    with nothing_compiled():
        pair = Pair(GROUP)
        try:
            for _ in range(3):
                pair.move(WINDOW)
                pair.run_until(True, False)
                pair.move(WINDOW + PAGE_SIZE - 16)
                pair.run_until(False, False)
                later = [pair.run() for _ in range(5)]
                assert not any(found is None or found.grouped for found in later)
        finally:
            pair.close()


def test_what_is_in_a_region_counts_as_code_that_ran() -> None:
    """The handlers that decode it do not see it any more."""
    with nothing_compiled():
        pair = Pair(GROUP)
        try:
            region = pair.run_until(True, False)
            engine = pair.engine
            page = engine._page_of(engine.vcpu.reg(*LOOP) // PAGE_SIZE)
            engine._forget(page)
            ran = engine._view(page).ran
            assert all(ran(offset % PAGE_SIZE) for offset in region.about.members)
            assert not ran(PAGE_SIZE - 2)
        finally:
            pair.close()


def test_what_finds_another_page_each_time_is_not_guessed_any_more() -> None:
    with nothing_compiled():
        pair = Pair(SCATTERED)
        try:
            region = pair.run_until(True, True)
            (place,) = region.about.scattered  # and not the one that stays in its page
            numbers = guesses.guess_numbers(pair.engine.members_of(region, _first(pair, region)))
            assert numbers[place] == 0
        finally:
            pair.close()


def _first(pair: Pair, region: Compiled) -> int:
    found = pair.engine._compiled_at(pair.engine.vcpu.reg(*LOOP))
    assert found is not None
    return found[1] // PAGE_SIZE
