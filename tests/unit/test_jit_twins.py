"""Which form of a region is led into, with an engine and regions that are stand-ins."""

from dataclasses import dataclass, field

import pytest

from lamina.engine.jit.library import About, Compiled, RegionLibrary
from lamina.engine.jit.twins import OFTEN, Twins

FIRST = 77  # the guest page number of the region's page 0
WORTH = 5.0


def compiled(grouped: bool, address: int) -> Compiled:
    about = About({0: "digest"}, (0,), (), (0,), (), (), grouped, False)
    return Compiled(about, 0, address, {0: 1}, 100)


ONE, PAIRS = compiled(True, 0x1000), compiled(False, 0x2000)


@dataclass
class Engine:
    """What twins ask for, and what they did."""

    kept: list[Compiled]
    left: int = 0
    apart: bool = False
    here: Compiled | None = None
    missing: Compiled = PAIRS  # what may be asked for
    led: list[Compiled] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    @property
    def by_address(self) -> dict[int, Compiled]:
        return {c.address: c for c in self.kept}

    def twin(self, region: Compiled) -> Compiled | None:
        return next((c for c in self.kept if c.grouped is not region.grouped), None)

    @property
    def library(self) -> RegionLibrary:
        return self  # type: ignore[return-value]

    def left_from(self) -> tuple[int, int]:
        return self.left, FIRST

    def found_apart(self) -> bool:
        return self.apart

    def region_here(self) -> tuple[Compiled, int] | None:
        return None if self.here is None else (self.here, FIRST)

    def worth(self, region: Compiled) -> float:
        return WORTH

    def lead_into(self, region: Compiled, first: int) -> None:
        assert first == FIRST
        self.led.append(region)

    def compile_as(self, about: About, first: int, heat: int) -> None:
        assert (about, first) == (self.missing.about, FIRST)
        self.asked.append(heat)


def test_a_twin_is_compiled_once_when_it_is_worth_it() -> None:
    engine = Engine([ONE], left=ONE.address)
    twins = Twins(engine)
    assert all(twins.look(2) for _ in range(2))
    assert engine.asked == []
    assert all(twins.look(2) for _ in range(5))
    assert engine.asked == [6]
    assert engine.led == []
    twins.clear()
    assert all(twins.look(2) for _ in range(3))
    assert engine.asked == [6, 6]


def test_a_twin_is_led_into_where_the_region_is_left_often() -> None:
    engine = Engine([ONE, PAIRS], left=ONE.address)
    twins = Twins(engine)
    for _ in range(OFTEN - 1):
        assert twins.look(1)
    assert engine.led == []
    assert twins.look(1)
    assert engine.led == [PAIRS]
    assert engine.asked == []


@pytest.mark.parametrize("apart", [True, False])
def test_pairs_are_given_up_where_nothing_is_apart(apart: bool) -> None:
    engine = Engine([ONE, PAIRS], here=PAIRS, apart=apart)
    assert not Twins(engine).look(1)
    assert engine.led == ([] if apart else [ONE])


def test_what_has_pairs_and_no_twin_gets_one_where_nothing_is_apart() -> None:
    """It may have been compiled without guesses since."""
    engine = Engine([PAIRS], here=PAIRS, missing=ONE)
    twins = Twins(engine)
    assert not any(twins.look(2) for _ in range(5))
    assert engine.asked == [6]
    engine.kept.append(ONE)
    assert not twins.look(1)
    assert engine.led == [ONE]


def test_all_else_is_not_the_business_of_twins() -> None:
    cases = (0, None, [ONE]), (0x9000, ONE, [ONE]), (PAIRS.address, PAIRS, [PAIRS])
    for left, here, kept in cases:
        engine = Engine(kept, left, apart=True, here=here)
        assert not Twins(engine).look(9)
        assert engine.led == engine.asked == []
