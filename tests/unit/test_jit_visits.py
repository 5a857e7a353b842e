"""How long visits to a region are, told from what ran behind each taken jump."""

from regions import region

from lamina.engine.jit.visits import ENOUGH, EVEN, FLOAT, LONG, Visits, gain

LOOP = "li a0, 3\n 1: addi a0, a0, -1\n bnez a0, 1b\n ret"
HEAD, BEHIND = 4, 12


def visits(source: str = LOOP) -> Visits:
    return Visits(region(source))


def test_a_visit_lasts_until_control_goes_elsewhere() -> None:
    seen = visits()
    seen.begin()
    seen.follow(0, 3)  # to the end of the first pass
    seen.follow(HEAD, 2)
    assert seen.inside
    seen.leave()
    assert (seen.count, seen.instructions, seen.length) == (1, 5, 5.0)


def test_straight_code_may_leave_a_region_without_a_jump() -> None:
    seen = Visits(region("1: addi a0, a0, -1\n bnez a0, 1b\n nop\n ret", ran=(0, 4)))
    seen.begin()
    seen.follow(0, 4)
    assert not seen.inside
    assert seen.instructions == 2


def test_a_jump_by_a_pointer_stays_inside_only_where_the_region_expects_it() -> None:
    seen = visits("nop\n jr a5")
    seen.begin()
    seen.follow(0, 2)
    seen.follow(4, 1)
    assert seen.instructions == 2
    assert not seen.inside


def test_what_needs_a_new_dispatch_ends_a_visit() -> None:
    seen = visits("nop\n fence.i\n nop\n ret")
    seen.begin()
    seen.follow(0, 3)
    assert not seen.inside
    assert seen.instructions == 2


def test_floats_count_for_more() -> None:
    seen = visits("1: fadd.d fa0, fa0, fa1\n addi a0, a0, -1\n bnez a0, 1b\n ret")
    seen.begin()
    seen.follow(0, 3)
    assert seen.instructions == FLOAT + 2


def test_fewer_visits_are_enough_if_they_are_not_short() -> None:
    seen = visits()
    while not seen.enough:
        seen.begin()
        while seen.inside and seen.instructions < seen.count * LONG * 3 // 4:
            seen.follow(HEAD, 2)
        seen.leave()
    assert seen.count == 4
    assert not seen.is_long


def test_the_mean_of_some_visits_is_enough_and_one_long_visit_too() -> None:
    short, long = visits(), visits()
    for _ in range(ENOUGH):
        assert not short.enough
        short.begin()
        short.follow(HEAD, 2)
        short.leave()
    assert short.enough
    assert short.length == 2
    long.begin()
    while not long.enough:
        long.follow(HEAD, 2)
    assert long.instructions == LONG


def test_short_visits_gain_nothing_and_long_ones_all() -> None:
    assert [gain(n) for n in (0, 1, EVEN, LONG)] == [0, 0, 0, 1]
    assert gain(2 * EVEN) == 0.5
