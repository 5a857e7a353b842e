"""ManualClock: timers by key, in order, once each."""

from lamina.base.clock import ManualClock


def test_timers_fire_once_in_order_of_deadline_at_their_tick():
    clock, fired = ManualClock(), []
    for key, deadline in (("late", 30), ("soon", 10), ("far", 1000)):
        clock.arm(key, deadline, lambda key=key: fired.append((key, clock.ticks())))
    clock.advance(100)
    clock.advance(100)
    assert fired == [("soon", 10), ("late", 30)]
    assert clock.armed() == {"far": 1000}


def test_rearming_replaces_and_disarming_forgets():
    clock, fired = ManualClock(), []
    clock.arm("a", 10, lambda: fired.append("first"))
    clock.arm("a", 20, lambda: fired.append("second"))
    clock.arm("b", 20, lambda: fired.append("never"))
    clock.disarm("b")
    clock.disarm("unknown")
    clock.advance(50)
    assert fired == ["second"]


def test_a_timer_may_arm_itself_again():
    clock, fired = ManualClock(), []

    def tick():
        fired.append(clock.ticks())
        clock.arm("tick", clock.ticks() + 10, tick)

    clock.arm("tick", 10, tick)
    clock.advance(35)
    assert fired == [10, 20, 30]


def test_setting_the_ticks_fires_what_is_due_then_and_leaves_the_wall_clock():
    clock, fired = ManualClock(wall_ns=7), []
    clock.arm("a", 100, lambda: fired.append(clock.ticks()))
    clock.set_ticks(50)
    assert fired == []
    clock.set_ticks(2**64 + 500)
    assert fired == [500]
    assert clock.wall_ns() == 7


def test_wall_time_passes_with_the_ticks():
    clock = ManualClock(wall_ns=5)
    clock.advance(10_000_000)
    assert clock.wall_ns() == 1_000_000_005
