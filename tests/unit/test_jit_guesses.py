"""When a region is compiled without guesses, with an engine that is a stand-in."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from regions import region

from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.guesses import COST, SHARE, Guesses, guess_numbers, scattered
from lamina.engine.jit.library import About, Compiled
from lamina.engine.threaded.layout import GUESSES

FIRST = 77  # the guest page number of the region's page 0
SOURCE = "1: ld a1, 0(a0)\n addi a0, a0, 8\n sd a1, 0(a2)\n lw a3, 0(a3)\n bnez a1, 1b"
R = region(SOURCE)
LOAD, STORE, LAST = 0, 8, 12  # offsets of the accesses
ABOUT = About({0: "digest"}, (0,), (), tuple(R.members), (), (), True, False)
HERE = Compiled(ABOUT, 0, 0x1000, {0: 1}, 100)
RETIRED = 10_000


@dataclass
class Engine:
    """What guesses ask for, and what they did."""

    counts: Sequence[int]
    here: Compiled | None = HERE
    guessed: int = HERE.address
    members: dict[int, Decoded] = field(default_factory=lambda: R.members)
    asked: list[tuple[About, int]] = field(default_factory=list)

    def wrong_guesses(self) -> tuple[int, Sequence[int], int]:
        return self.guessed, self.counts, RETIRED

    def region_here(self) -> tuple[Compiled, int] | None:
        return None if self.here is None else (self.here, FIRST)

    def worth(self, region: Compiled) -> float:
        return 3.0

    def members_of(self, region: Compiled, first: int) -> dict[int, Decoded]:
        return self.members

    def compile_as(self, about: About, first: int, heat: int) -> None:
        assert first == FIRST
        self.asked.append((about, heat))


def looks(engine: Engine, times: int = 20) -> list[tuple[About, int]]:
    guesses = Guesses(engine)
    for _ in range(times):
        guesses.look(1)
    return engine.asked


def test_each_access_counts_in_a_word_of_its_own() -> None:
    assert guess_numbers(R.members) == {LOAD: 0, STORE: 1, LAST: 2}
    many = region("ld a1, 0(a0)\n" * (GUESSES + 1) + "ret").members
    assert guess_numbers(many)[4 * GUESSES] == guess_numbers(many)[0] == 0


def test_a_region_that_guesses_wrong_is_compiled_once_more_without_these_guesses() -> None:
    lost = RETIRED // COST  # half of the time
    ((about, heat),) = looks(Engine([lost - 10, 10, 0]))
    assert about == replace(ABOUT, scattered=(LOAD,))
    assert 3 <= heat <= 5
    known = replace(HERE, about=about)
    ((more, _),) = looks(Engine([0, lost, 0], here=known))
    assert more.scattered == (LOAD, STORE)


@pytest.mark.parametrize("what", ["few", "elsewhere", "no region", "known", "other code"])
def test_it_is_not(what: str) -> None:
    engine = Engine([RETIRED // COST, 0])
    if what == "few":
        engine.counts = [RETIRED // COST // 100, 0]
    elif what == "elsewhere":
        engine.guessed += 1
    elif what == "no region":
        engine.here = None
    elif what == "known":
        engine.here = replace(HERE, about=replace(ABOUT, scattered=(LOAD,)))
    else:
        engine.members = {}
    assert looks(engine) == []


def test_all_is_forgotten_when_regions_are_given_up() -> None:
    engine = Engine([RETIRED // COST, 0])
    guesses = Guesses(engine)
    for _ in range(20):
        guesses.look(1)
    guesses.clear()
    for _ in range(20):
        guesses.look(1)
    assert len(engine.asked) == 2


def test_an_access_with_a_small_share_keeps_its_guess() -> None:
    numbers = {LOAD: 0, STORE: 1}
    assert scattered(numbers, {0: 100, 1: int(100 * SHARE)}) == [LOAD]
    assert scattered(numbers, {0: 100, 1: int(150 * SHARE)}) == [LOAD, STORE]
    assert scattered(numbers, {}) == []
