"""A vCPU's thread that sleeps in Python is woken by everything that may have work for it."""

import threading
from collections.abc import Callable

import pytest

from lamina.engine.vcpu import ALWAYS_PENDING, REQUEST_SAMPLE, REQUEST_STOP, VCpu
from lamina.isa.riscv import RISCV64

PATIENCE = 60.0

SIGNALS: dict[str, Callable[[VCpu], None]] = {
    "kick": lambda vcpu: vcpu.kick(),
    "an interrupt": lambda vcpu: vcpu.set_irq(9, True),
    "a request": lambda vcpu: vcpu.request(REQUEST_STOP),
}


@pytest.fixture
def vcpu() -> VCpu:
    return VCpu(RISCV64, 0)


def sleeper(vcpu: VCpu) -> threading.Thread:
    """A thread that sleeps on the vCPU, and does by now."""
    thread = threading.Thread(target=lambda: vcpu.sleep(PATIENCE), daemon=True)
    vcpu.listen()
    thread.start()
    while not vcpu.asleep:
        pass
    return thread


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_wakes(vcpu: VCpu, name: str) -> None:
    thread = sleeper(vcpu)
    SIGNALS[name](vcpu)
    thread.join(PATIENCE / 2)
    assert not thread.is_alive() and not vcpu.asleep


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_before_the_sleep_keeps_from_it(vcpu: VCpu, name: str) -> None:
    vcpu.listen()
    SIGNALS[name](vcpu)
    vcpu.sleep()  # for ever, if it were lost
    assert not vcpu.asleep


def test_a_sample_and_a_line_that_goes_down_wake_nobody(vcpu: VCpu) -> None:
    thread = sleeper(vcpu)
    vcpu.request(REQUEST_SAMPLE)
    vcpu.set_irq(9, False)
    assert vcpu.asleep and thread.is_alive()
    vcpu.kick()
    thread.join(PATIENCE / 2)
    assert not thread.is_alive()


def test_a_sleep_ends_by_itself(vcpu: VCpu) -> None:
    vcpu.listen()
    vcpu.sleep(0.0)
    assert not vcpu.asleep


def test_a_reset_leaves_a_sleeper_to_be_woken(vcpu: VCpu) -> None:
    """A hart that is started by another one is reset while its thread sleeps."""
    thread = sleeper(vcpu)
    vcpu.reset()
    vcpu.kick()
    thread.join(PATIENCE / 2)
    assert not thread.is_alive()
    assert vcpu.get("pending") == ALWAYS_PENDING


def test_no_signal_of_many_is_lost(vcpu: VCpu) -> None:
    """Two threads take turns: one counts up and kicks, the other sleeps until the count is new."""
    rounds, said, heard = 5000, [0], [0]
    answered = threading.Semaphore(0)

    def listen() -> None:
        while heard[0] < rounds:
            vcpu.listen()
            if said[0] == heard[0]:
                vcpu.sleep()
                continue
            heard[0] = said[0]
            answered.release()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    for number in range(1, rounds + 1):
        said[0] = number
        vcpu.kick()
        assert answered.acquire(timeout=PATIENCE)
    thread.join(PATIENCE)
    assert heard[0] == rounds
