"""SBI: starting, stopping and suspending harts (HSM) and the system (SUSP)."""

import threading

import pytest
from sbi_bench import ALL, RAM, RAM_END, RAM_SIZE, Bench

from lamina.isa.riscv.fields import SIE, SSIP

HSM, SUSP, IPI, RFENCE = 0x48534D, 0x53555350, 0x735049, 0x52464E43
START, STOP, STATUS, SUSPEND = range(4)
STARTED, STOPPED, SUSPENDED = 0, 1, 4
INVALID_PARAM, DENIED, INVALID_ADDRESS, ALREADY_AVAILABLE = -3, -4, -5, -6
NON_RETENTIVE = 0x8000_0000
BAD_ADDRESSES = [0, RAM - 2, RAM + 1, RAM_END, RAM_END - 1, RAM + RAM_SIZE + 0x1000, ALL, ALL - 1]


@pytest.fixture
def bench():
    return Bench()


def states(bench):
    return [bench.call(HSM, STATUS, hart)[1] for hart in range(4)]


def test_hart_0_starts_and_the_others_wait(bench):
    assert [bench.sbi.runnable(hart) for hart in range(4)] == [True, False, False, False]
    assert states(bench) == [STARTED, STOPPED, STOPPED, STOPPED]


def test_a_started_hart_gets_its_id_and_the_opaque_value(bench):
    assert bench.call(HSM, START, 2, RAM + 0x200, 0xFEED) == (0, 0)
    assert bench.host.log == [("restart", 2, RAM + 0x200, 2, 0xFEED), ("kick", 2)]
    assert bench.sbi.runnable(2) and states(bench)[2] == STARTED


def test_a_hart_is_not_runnable_before_its_registers_are_set(bench):
    seen = []
    bench.host.on_restart = lambda: seen.append(bench.sbi.runnable(1))
    bench.start(1)
    assert seen == [False] and bench.sbi.runnable(1)


def test_a_hart_that_runs_cannot_be_started(bench):
    for hart in (0, 1):
        if hart:
            bench.start(hart)
        bench.host.log.clear()
        assert bench.call(HSM, START, hart, RAM, 0) == (ALREADY_AVAILABLE, 0)
        assert bench.host.log == []


def test_harts_that_are_not_there_are_refused(bench):
    for hart in (4, 64, 1 << 32, ALL):
        assert bench.call(HSM, START, hart, RAM, 0) == (INVALID_PARAM, 0)
        assert bench.call(HSM, STATUS, hart) == (INVALID_PARAM, 0)


@pytest.mark.parametrize("gpa", BAD_ADDRESSES)
def test_addresses_without_ram_are_refused_everywhere(bench, gpa):
    assert bench.call(HSM, START, 1, gpa, 0) == (INVALID_ADDRESS, 0)
    assert bench.call(HSM, SUSPEND, NON_RETENTIVE, gpa, 0) == (INVALID_ADDRESS, 0)
    assert bench.call(SUSP, 0, 0, gpa, 0) == (INVALID_ADDRESS, 0)
    assert states(bench) == [STARTED, STOPPED, STOPPED, STOPPED] and bench.host.log == []


def test_a_stopped_hart_keeps_its_registers_and_can_be_started_again(bench):
    bench.start(1)
    bench.request(1, HSM, STOP, 0x77)
    assert not bench.sbi.runnable(1)
    assert bench.host.vcpus[1].reg("x", 10) == 0x77
    bench.start(1, opaque=5)
    assert bench.result(1) == (1, 5)


def test_only_one_of_many_starters_succeeds():
    bench = Bench(harts=8)
    for hart in range(1, 7):
        bench.start(hart)
    gate = threading.Barrier(7)

    def starter(hart):
        gate.wait()
        bench.request(hart, HSM, START, 7, RAM, hart)

    threads = [threading.Thread(target=starter, args=(hart,)) for hart in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = sorted(bench.result(hart)[0] for hart in range(7))
    assert errors == [ALREADY_AVAILABLE] * 6 + [0]
    assert len([entry for entry in bench.logged("restart") if entry[0] == 7]) == 1


def test_retentive_suspend_waits_for_an_interrupt_and_returns(bench):
    pc = bench.host.vcpus[0].pc
    assert bench.call(HSM, SUSPEND, 0, ALL, 0) == (0, 0)
    assert not bench.sbi.runnable(0)
    assert bench.sbi.wake(0) and bench.sbi.runnable(0)
    assert bench.result(0) == (0, 0) and bench.host.vcpus[0].pc == pc


@pytest.mark.parametrize("kind", [NON_RETENTIVE, 0xFFFF_FFFF_8000_0000])
def test_non_retentive_suspend_goes_on_at_the_address_with_translation_off(bench, kind):
    vcpu = bench.host.vcpus[0]
    kept = {"mie": 0x222, "mip_soft": SSIP, "stimecmp": 99, "priv": 1}
    for slot, value in {**kept, "satp": 8 << 60 | 5, "mstatus": SIE | 1 << 8}.items():
        vcpu.set(slot, value)
    bench.request(0, HSM, SUSPEND, kind, RAM + 0x100, 0xABCD)
    assert not bench.sbi.runnable(0)
    assert bench.sbi.wake(0) and bench.sbi.runnable(0)
    assert vcpu.pc == RAM + 0x100 and bench.result(0) == (0, 0xABCD)
    assert vcpu.get("satp") == 0 and vcpu.get("mstatus") == 1 << 8
    assert {slot: vcpu.get(slot) for slot in kept} == kept
    assert bench.logged("fence") == [([0], True, False)]


@pytest.mark.parametrize("kind", [1, 0x0FFF_FFFF, 0x1000_0000, 0x7FFF_FFFF, 0x8000_0001, ALL])
def test_other_suspend_types_are_refused(bench, kind):
    assert bench.call(HSM, SUSPEND, kind, RAM, 0) == (INVALID_PARAM, 0)
    assert bench.sbi.runnable(0)


def test_interrupts_wake_only_harts_that_are_suspended(bench):
    assert not any(bench.sbi.wake(hart) for hart in range(4))
    assert [bench.sbi.runnable(hart) for hart in range(4)] == [True, False, False, False]


def test_suspended_harts_are_interrupted_and_fenced(bench):
    bench.start(1)
    bench.request(1, HSM, SUSPEND, 0)
    assert states(bench)[1] == SUSPENDED
    assert bench.call(IPI, 0, 0b10, 0) == (0, 0)
    assert bench.call(RFENCE, 1, 0b10, 0, 0, 0) == (0, 0)
    assert bench.logged("raise") == [(1,)] and bench.logged("fence") == [([1], True, False)]


def test_the_system_sleeps_only_when_all_other_harts_are_stopped(bench):
    bench.start(3)
    assert bench.call(SUSP, 0, 0, RAM, 0) == (DENIED, 0)
    bench.request(3, HSM, SUSPEND, 0)
    assert bench.call(SUSP, 0, 0, RAM, 0) == (DENIED, 0)
    bench.sbi.wake(3)
    bench.request(3, HSM, STOP)
    bench.request(0, SUSP, 0, 0, RAM + 0x40, 0x1234)
    assert not bench.sbi.runnable(0)
    assert bench.sbi.wake(0)
    assert bench.host.vcpus[0].pc == RAM + 0x40 and bench.result(0) == (0, 0x1234)


def test_only_suspend_to_ram_is_there(bench):
    for kind in (1, 0x7FFF_FFFF, 0x8000_0000, ALL):
        assert bench.call(SUSP, 0, kind, RAM, 0) == (INVALID_PARAM, 0)
    assert bench.sbi.runnable(0)


def test_reset_leaves_hart_0_running(bench):
    bench.start(1)
    bench.request(0, HSM, STOP)
    bench.sbi.reset()
    assert [bench.sbi.runnable(hart) for hart in range(4)] == [True, False, False, False]
