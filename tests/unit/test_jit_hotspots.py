"""When a region is compiled: samples of code pages that are stand-ins."""

from dataclasses import replace

from regions import PAGE_SIZE, pages_of_code

from lamina.engine.jit.hotspots import (
    FIRST_LOOK,
    OLD_ENOUGH,
    RECURRING,
    REFUSED,
    SHORTEST,
    TOO_OLD,
    HotSpots,
    Spot,
)
from lamina.engine.jit.library import About
from lamina.engine.jit.outline import OutlineDecoder
from lamina.engine.jit.region import MAX_STRAIGHT, PageView
from lamina.engine.jit.visits import EVEN, LONG, STAYS
from lamina.isa.riscv import RISCV64

LOOP = "li a0, 3\n 1: addi a0, a0, -1\n bnez a0, 1b\n ret"
HEAD = 4  # of the loop
FIRST = 0x1000  # the address of the code page of guest page 0; the others follow
DECODER = OutlineDecoder(RISCV64)


class Pages:
    """A guest's code, and what hot spots ask of an engine."""

    def __init__(
        self, source: str = LOOP, at: int = 0, cost: float = 0.0, eager: bool = False
    ) -> None:
        self.sources = {FIRST + n: page for n, page in pages_of_code(source, at).items()}
        self.ran: set[tuple[int, int]] = {
            (page, o) for page in self.sources for o in range(0, PAGE_SIZE, 2)
        }
        self.forgotten: list[int] = []
        self.earlier = 0
        self.spots = HotSpots(
            DECODER,
            lambda page: PageView(self.sources[page], lambda o: (page, o) in self.ran),
            self.forgotten.append,
            lambda instructions: cost * instructions,
            eager,
            lambda page, offset: self.earlier,
        )

    def page_of(self, number: int) -> int:
        return FIRST + number if FIRST + number in self.sources else 0

    def sample(self, pc: int, weight: int = 1) -> Spot | None:
        return self.spots.sample(pc, self.page_of, weight)

    def first(self, pc: int, middle: bool = False) -> Spot:
        """The region that samples there come to."""
        samples = (self.spots.sample(pc, self.page_of, 1, middle) for _ in range(5000))
        return next(spot for spot in samples if spot is not None)

    def samples_until_due(self, pc: int, most: int = 5000) -> int:
        """How many samples it takes until a region is to be compiled."""
        for count in range(1, most):
            if self.sample(pc) is not None:
                return count
        return most


def test_a_place_is_looked_at_when_it_was_seen_a_few_times() -> None:
    pages = Pages()
    assert all(pages.sample(HEAD) is None for _ in range(FIRST_LOOK - 1))
    assert pages.forgotten == []
    assert pages.sample(HEAD) is None  # what ran lately is not known yet
    assert pages.forgotten == [FIRST]
    assert pages.samples_until_due(HEAD) == OLD_ENOUGH


def test_samples_of_earlier_runs_count_twice_for_all_of_a_region() -> None:
    """What is hot in many places is compiled as soon as one of them is seen again."""
    now, again = Pages(cost=0.004), Pages(cost=0.004)  # a sample's time an instruction
    again.earlier = 2
    late, soon = now.samples_until_due(HEAD), again.samples_until_due(HEAD)
    assert RECURRING == 2
    assert soon < late


def test_short_code_without_a_loop_is_not_worth_coming_in() -> None:
    body = "addi a0, a0, 1\n" * (SHORTEST - 2)
    assert Pages(body + "ret").samples_until_due(0, 200) == 200
    assert Pages(body + "nop\n ret").samples_until_due(0, 200) < 20
    assert Pages(LOOP).samples_until_due(HEAD, 200) < 20


def test_everything_is_due_at_once_for_tests() -> None:
    spot = Pages(eager=True).sample(HEAD)
    assert spot is not None
    assert spot.region is not None
    assert spot.region.entries[0] == HEAD
    assert spot.pages == {0: FIRST}
    assert spot.heat == 1


def test_what_costs_more_to_compile_must_be_hotter() -> None:
    cheap, dear = (Pages(cost=c).samples_until_due(HEAD) for c in (0.001, 0.02))
    assert cheap < 20 < 100 < dear < 400


def test_heat_is_that_of_all_the_regions_instructions() -> None:
    source = "nop\n 1:" + "addi a0, a0, -1\n" * 40 + "bnez a0, 1b\n ret"
    alone, together = Pages(source, cost=0.04), Pages(source, cost=0.04)
    for _ in range(99):
        for place in range(4, 40, 4):
            assert together.sample(HEAD + place) is None
    assert together.samples_until_due(HEAD) < alone.samples_until_due(HEAD)


def test_earlier_runs_count() -> None:
    pages = Pages(cost=0.02)
    pages.earlier = 1000
    assert pages.samples_until_due(HEAD) == OLD_ENOUGH + 1


def test_a_sample_may_stand_for_many() -> None:
    pages = Pages(cost=0.02)
    assert pages.sample(HEAD, 16) is None
    assert pages.sample(HEAD, 1000) is None
    assert pages.forgotten == [FIRST]


def test_what_is_covered_is_not_compiled_while_it_is_waited_for() -> None:
    pages = Pages(eager=True)
    spot = pages.sample(HEAD)
    assert spot is not None
    assert pages.sample(HEAD) is None
    assert pages.sample(HEAD + 4) is None
    assert spot.heat == 3
    assert pages.sample(0) is not None  # not in the region


def test_where_a_finished_region_is_left_another_takes_over() -> None:
    pages = Pages(eager=True)
    spot = pages.sample(HEAD)
    assert spot is not None
    assert not spot.takes_over
    spot.finish()
    again = pages.sample(HEAD + 4)
    assert again is not None
    assert again.takes_over


def test_a_loop_over_two_pages_begins_at_its_head() -> None:
    """A vCPU may be seen where the second page begins, since control comes into another page."""
    body = "1: addi a0, a0, -1\n addi a1, a1, 1\n addi a2, a2, 1\n bnez a0, 1b\n ret"
    pages = Pages(body, at=PAGE_SIZE - 8)
    spot = pages.first(PAGE_SIZE)
    assert spot.region is not None
    assert spot.region.entries == (PAGE_SIZE - 8,)
    assert spot.pages == {0: FIRST, 1: FIRST + 1}
    # Not if that is where a region was left in its middle, or a loop's head itself.
    spot.finish()
    left = pages.first(PAGE_SIZE, middle=True)
    other = body.replace("bnez a0, 1b", "bnez a2, 2f\n bnez a0, 1b").replace(
        "addi a2", "2: addi a2"
    )
    inner = Pages(other.replace("2f", "2b"), at=PAGE_SIZE - 8).first(PAGE_SIZE)
    for found in (left, inner):
        assert found.region is not None
        assert found.region.entries[0] == 0
        assert -8 in found.region.members


def test_another_form_is_made_of_the_same_instructions() -> None:
    pages = Pages("call 1f\n 2: jr a0\n 1: addi a1, a1, 1\n ret", eager=True)
    spot = pages.sample(0)
    assert spot is not None
    r = spot.region
    assert r is not None
    places = r.entries, r.returns, tuple(r.members), r.jumps
    about = About({0: "digest"}, *places, scattered=(8,), grouped=False, stays=True)
    again = pages.spots.again(about, {0: FIRST}, 9)
    assert again is not None
    assert again.heat == 9
    other = replace(r, grouped=False, stays=True, scattered=(8,))
    assert again.region == other
    assert pages.spots.again(replace(about, members=(PAGE_SIZE,)), {0: FIRST}, 9) is None


def test_places_without_code_are_never_looked_at_again() -> None:
    pages = Pages()
    pages.ran.clear()
    assert pages.samples_until_due(HEAD, 200) == 200
    assert pages.forgotten == []
    pages.ran |= {(FIRST, HEAD), (FIRST, HEAD + 4)}
    assert pages.samples_until_due(HEAD, 200) == 200


def test_a_page_that_is_not_mapped_is_nothing() -> None:
    assert Pages(eager=True).sample(7 * PAGE_SIZE) is None


def test_a_page_is_forgotten_once_in_a_while() -> None:
    pages = Pages()
    due = pages.samples_until_due(HEAD)
    assert due < 20
    pages.spots._due.clear()
    for spots in pages.spots._spots.values():
        for spot in spots:
            spot.finish()
    assert pages.sample(HEAD) is not None
    assert pages.forgotten == [FIRST]
    pages.spots._now += TOO_OLD
    pages.spots._due.clear()
    pages.spots._spots.clear()
    assert pages.sample(HEAD) is None
    assert pages.forgotten == [FIRST, FIRST]


def test_regions_of_several_pages_need_all_of_them_fresh() -> None:
    pages = Pages(at=PAGE_SIZE - 8)
    assert pages.samples_until_due(PAGE_SIZE - 4) < 20
    assert sorted(pages.forgotten) == [FIRST, FIRST + 1]


def test_when_all_code_pages_go_everything_begins_anew() -> None:
    pages = Pages()
    before = pages.samples_until_due(HEAD)
    pages.spots.clear()
    assert pages.samples_until_due(HEAD) == before
    assert pages.forgotten == [FIRST, FIRST]


def test_a_call_by_a_pointer_is_followed_to_where_it_was_seen_to_go() -> None:
    source = f"1: jalr ra, 0(a5)\n bnez a0, 1b\n ret\n .zero {PAGE_SIZE}\n addi a0, a0, 1\n ret"
    function = 12 + PAGE_SIZE
    pages = Pages(source, eager=True)
    pages.spots.note_call(function, 4, pages.page_of)
    pages.spots.note_call(function, 8, pages.page_of)  # behind no call
    spot = pages.sample(0)
    assert spot is not None
    assert spot.region is not None
    assert spot.region.jumps == (function,)
    assert set(spot.region.members) == {0, 4, 8, function, function + 4}
    # Not if another page lies there now.
    pages = Pages(source, eager=True)
    pages.spots.note_call(function, 4, lambda number: 77 if number else FIRST)
    spot = pages.sample(0)
    assert spot is not None
    assert spot.region is not None
    assert set(spot.region.members) == {0, 4, 8}


def test_the_time_before_a_return_is_the_time_of_the_function_that_was_called() -> None:
    function = PAGE_SIZE + 0x20
    code = "auipc ra, 1\n jalr ra, 0x20(ra)\n jal ra, 1f\n nop\n jalr ra, 0(a5)\n 1: ret"
    pages = Pages(f"{code}\n .zero {PAGE_SIZE}\n ret")
    assert pages.spots.returned_from(8, pages.page_of) == function
    assert pages.spots.returned_from(12, pages.page_of) == 20
    assert pages.spots.returned_from(16, pages.page_of) is None  # behind no call
    assert pages.spots.returned_from(20, pages.page_of) is None  # by a pointer that was not seen
    pages.spots.note_call(function, 20, pages.page_of)
    assert pages.spots.returned_from(20, pages.page_of) == function
    pages.spots.note_call(16, 20, pages.page_of)  # and now to two places
    assert pages.spots.returned_from(20, pages.page_of) is None
    assert pages.spots.returned_from(PAGE_SIZE * 9, pages.page_of) is None
    assert pages.spots.returned_from(9, pages.page_of) is None


def test_where_a_region_was_left_in_its_middle_all_is_compiled_again() -> None:
    source = "1: addi a0, a0, -1\n addi a1, a1, 1\n addi a2, a2, 1\n bnez a0, 1b\n 2: j 2b"
    pages = Pages(source, eager=True)
    whole = pages.sample(0)
    assert whole is not None
    assert whole.region is not None
    assert not whole.takes_over
    assert set(whole.region.members) == {0, 4, 8, 12, 16}
    whole.finish()
    rest = pages.sample(8)
    assert rest is not None
    assert rest.region is not None
    assert rest.takes_over
    assert set(rest.region.members) == {0, 4, 8, 12, 16}
    assert rest.region.entries == (8, 16)
    # A region that another process has compiled is not known here.
    other = Pages(source, eager=True)
    again = other.spots.sample(8, other.page_of, middle=True)
    assert again is not None
    assert again.takes_over


def test_the_rest_of_long_straight_code_is_as_hot_as_its_beginning() -> None:
    source = "fadd.d fa0, fa0, fa1\n" * (MAX_STRAIGHT + 50) + "ret"
    pages, other = Pages(source, cost=0.002), Pages(source, cost=0.002)
    assert 100 < pages.samples_until_due(0) < 2000
    rest = 4 * MAX_STRAIGHT  # a vCPU is seen here only where the first region ends
    assert pages.samples_until_due(rest) <= OLD_ENOUGH + 1 < other.samples_until_due(rest)


def due(pages: Pages) -> Spot:
    assert pages.samples_until_due(HEAD) < 5000
    (spot,) = pages.spots._spots[FIRST]
    return spot


def test_the_shorter_its_visits_the_hotter_a_region_has_to_be() -> None:
    pages = Pages(cost=0.01)
    spot = due(pages)
    spot.heat = int(pages.spots._wanted(spot)) + 1
    assert pages.spots.is_worth(spot, LONG)
    assert not pages.spots.is_worth(spot, 2 * EVEN)
    spot.heat *= 2
    assert pages.spots.is_worth(spot, 2 * EVEN)
    assert not pages.spots.is_worth(spot, EVEN)


def test_what_was_refused_is_looked_at_again_when_it_is_hotter() -> None:
    pages = Pages(cost=0.01)
    spot = due(pages)
    heat = spot.heat
    places = list(pages.spots.refuse(spot, EVEN / 2))
    ((page, offset, more),) = places
    assert (page, offset) == (FIRST, HEAD)
    assert (REFUSED - 1) * heat <= more <= (REFUSED - 1) * heat + 1
    assert pages.spots.is_refused(FIRST, HEAD)
    assert not pages.spots.is_refused(FIRST, PAGE_SIZE - 2)
    for _ in range((REFUSED - 1) * heat):
        assert pages.sample(HEAD) is None
        assert pages.spots.is_refused(FIRST, HEAD)
    assert pages.sample(HEAD) is None or pages.samples_until_due(HEAD) < heat * 8
    assert not pages.spots.is_refused(FIRST, HEAD)


def test_a_region_is_compiled_for_visits_as_long_as_they_were() -> None:
    pages = Pages()
    spot = due(pages)
    spot.heat = 1000
    assert spot.region is not None
    assert pages.spots.is_worth(spot, STAYS - 1)
    assert not spot.region.stays
    assert pages.spots.is_worth(spot, STAYS)
    assert spot.region.stays


def test_what_owes_samples_from_an_earlier_run_is_looked_at_later() -> None:
    soon, late = Pages(), Pages()
    late.earlier = -20
    assert late.samples_until_due(HEAD) >= soon.samples_until_due(HEAD) + 20


def test_what_owes_as_many_samples_as_it_has_is_looked_at_later() -> None:
    pages = Pages("1: addi a0, a0, -1\n addi a1, a1, 1\n addi a2, a2, 1\n bnez a0, 1b", cost=1e-4)
    pages.earlier = -1
    counts = (pages.sample(0) for _ in range(4))
    assert not any(counts)
    assert pages.spots._due[FIRST, 0] > FIRST_LOOK


def test_a_region_that_is_not_hot_enough_is_not_formed_from_its_other_places() -> None:
    body = "addi a1, a1, 1\n" * 80
    pages = Pages(f"1: {body} addi a0, a0, -1\n bnez a0, 1b", cost=2e-4)
    counts = [pages.sample(0) for _ in range(FIRST_LOOK)]
    assert not any(counts)
    dues = {offset: pages.spots._due[FIRST, offset] for offset in (0, 4, 8, 12)}
    assert all(due > FIRST_LOOK for due in dues.values())
