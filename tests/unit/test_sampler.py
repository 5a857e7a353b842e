"""Which vCPUs are asked where they are, and when: engines that are stand-ins."""

from types import SimpleNamespace

import pytest

from lamina.base.bits import PAGE_SIZE
from lamina.engine.threaded.onset import BOOT_INSTRUCTIONS, HOT, LOOK_SECONDS, Onset
from lamina.engine.threaded.sampler import (
    MAX_USELESS,
    MAX_WEIGHT,
    SECONDS_A_SAMPLE,
    SHARE,
    Sampler,
)
from lamina.engine.vcpu import REQUEST_SAMPLE, REQUEST_STOP


class Running:
    """An engine that only says what was requested of its vCPU."""

    def __init__(self, asleep: bool = False, overdue: bool = False) -> None:
        self.requests: list[int] = []
        self.vcpu = SimpleNamespace(
            asleep=asleep, request=self.requests.append, last_seen=lambda: 0
        )
        self.running, self.asked, self.overdue = True, False, overdue
        self.onset, self.instructions = Onset(), 0

    def retired(self) -> int:
        return self.instructions


def asked(engine: Running, seconds: float = LOOK_SECONDS, steady: bool = False) -> bool:
    sampler = Sampler()
    sampler.steady = steady
    sampler._engines.add(engine)  # type: ignore[arg-type]
    assert sampler._ask(seconds)
    return engine.asked


def test_a_vcpu_is_left_alone_while_its_machine_boots() -> None:
    engine = Running()
    for pc in range(0, 100 * PAGE_SIZE, PAGE_SIZE):
        engine.vcpu.last_seen = lambda pc=pc: pc
        assert not asked(engine)
    assert engine.requests == []
    engine.instructions = BOOT_INSTRUCTIONS
    assert asked(engine)
    assert engine.requests == [REQUEST_SAMPLE]


def test_one_that_stays_in_a_page_is_asked_sooner() -> None:
    engine = Running()
    looks = 1
    while not asked(engine):
        looks += 1
    assert looks == HOT


def test_looks_are_not_counted_more_often_than_they_tell_something() -> None:
    engine = Running()
    for _ in range(4 * (HOT - 1)):
        assert not asked(engine, LOOK_SECONDS / 4)


def test_samples_come_so_seldom_that_they_take_little_of_the_time() -> None:
    sampler = Sampler()
    assert sampler.weight == 1
    for _ in range(100):
        sampler.took(0.0005)
    assert sampler.weight * SECONDS_A_SAMPLE * SHARE == pytest.approx(0.0005, rel=0.2)
    for _ in range(100):
        sampler.took(1.0)  # on a host that is very busy
    assert sampler.weight == MAX_WEIGHT
    sampler.steady = True
    assert sampler.weight == 1
    sampler.steady = False
    for _ in range(100):
        sampler.took(0.00003)
    assert sampler.weight == 1


def test_useless_samples_come_less_often() -> None:
    sampler = Sampler()
    for _ in range(1000):
        sampler.note(False)
    assert sampler.weight == MAX_USELESS
    for _ in range(1000):
        sampler.note(True)
    assert sampler.weight == 1


def test_who_counts_samples_gets_them_from_the_start() -> None:
    assert asked(Running(), 0.001, steady=True)


def test_where_it_sleeps_is_not_where_it_runs() -> None:
    engine = Running(asleep=True)
    for _ in range(10 * HOT):
        assert not asked(engine)
    engine.vcpu.asleep = False
    assert not asked(engine)


def test_one_that_sleeps_in_code_to_be_freed_has_to_come_out() -> None:
    engine = Running(asleep=True, overdue=True)
    assert not asked(engine, 0.001)
    assert engine.requests == [REQUEST_STOP]
