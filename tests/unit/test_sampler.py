"""Which vCPUs are asked where they are, and when: engines that are stand-ins."""

from types import SimpleNamespace

from lamina.engine.threaded.sampler import FIRST_SECONDS, Sampler
from lamina.engine.vcpu import REQUEST_SAMPLE, REQUEST_STOP


class Running:
    """An engine that only says what was requested of its vCPU."""

    def __init__(self, asleep: bool = False, overdue: bool = False) -> None:
        self.requests: list[int] = []
        self.vcpu = SimpleNamespace(asleep=asleep, request=self.requests.append)
        self.running, self.asked, self.overdue, self.awake = True, False, overdue, 0.0


def asked(engine: Running, seconds: float, steady: bool = False) -> bool:
    sampler = Sampler()
    sampler.steady = steady
    sampler._engines.add(engine)  # type: ignore[arg-type]
    assert sampler._ask(seconds)
    return engine.asked


def test_a_vcpu_is_left_alone_in_its_first_second() -> None:
    engine = Running()
    assert not asked(engine, FIRST_SECONDS / 2)
    assert engine.requests == []
    assert asked(engine, FIRST_SECONDS / 2)
    assert engine.requests == [REQUEST_SAMPLE]


def test_who_counts_samples_gets_them_from_the_start() -> None:
    assert asked(Running(), 0.001, steady=True)


def test_time_asleep_is_no_time_that_it_ran() -> None:
    engine = Running(asleep=True)
    assert not asked(engine, 10 * FIRST_SECONDS)
    engine.vcpu.asleep = False
    assert not asked(engine, FIRST_SECONDS / 2)


def test_one_that_sleeps_in_code_to_be_freed_has_to_come_out() -> None:
    engine = Running(asleep=True, overdue=True)
    assert not asked(engine, 0.001)
    assert engine.requests == [REQUEST_STOP]
