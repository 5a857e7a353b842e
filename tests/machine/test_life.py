"""Machines beside and after one another: nothing is shared, nothing leaks."""

import gc
import os
import threading

import pytest

from lamina.base.errors import ConfigError, HostError
from lamina.engine.code.arena import process_arena
from lamina.engine.threaded import engine as threaded
from lamina.machine import Machine, Outcome
from lamina.testing import guests

from .conftest import Build

COUNT = "li s0, 0; 1: addi s0, s0, 1; j 1b"


def host_resources() -> tuple[int, int, int]:
    """Open descriptors, threads, and mapped guest memory or arenas of this process. The process's
    own are left out: its one sampler, which ends by itself some time after the last engine, and the
    addresses of its code, which the host counts in pieces."""
    gc.collect()
    code = process_arena()
    threads = [t for t in threading.enumerate() if t.name != "lamina-sampler"]
    with open("/proc/self/maps") as maps:
        large = sum(
            1
            for line in maps
            if "memfd:lamina" in line
            or (_size(line) >= 1 << 28 and not 0 <= _start(line) - code.start < code.size)
        )
    return len(os.listdir("/proc/self/fd")), len(threads), large


def _start(line: str) -> int:
    return int(line.split("-")[0], 16)


def _size(line: str) -> int:
    return int(line.split()[0].split("-")[1], 16) - _start(line)


def grown(before: tuple[int, ...]) -> list[tuple[int, int]]:
    """What there is more of than before; what tests that came earlier left may have gone since."""
    return [(was, now) for was, now in zip(before, host_resources(), strict=True) if now > was]


def use_one(engine: str) -> None:
    source = guests.show("x") + COUNT
    with guests.machine(source, engine=engine, cpus=2) as m:
        assert m.run(timeout=0.02).reason == "timeout"
        m.reset()
        m.clock.arm("test", 1 << 60, lambda: None)


def test_a_closed_machine_leaves_nothing_behind(engine: str) -> None:
    use_one(engine)
    before = host_resources()
    for _ in range(5):
        use_one(engine)
    assert not grown(before)


def test_a_machine_that_cannot_be_built_leaves_nothing_behind(engine: str) -> None:
    use_one(engine)
    before = host_resources()
    for _ in range(5):
        with pytest.raises(ConfigError):
            guests.machine(COUNT, engine=engine, cpus=17)
        with pytest.raises(ConfigError):
            guests.machine(COUNT, engine=engine, append="x" * 100_000)
    assert not grown(before)


def test_two_machines_run_at_once_and_share_nothing(build: Build) -> None:
    source = "csrr s1, mcycle; " + COUNT
    first, second = build(source), build(guests.show("second") + guests.finish(8))
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(first.run(timeout=60)))
    thread.start()
    assert second.run(timeout=60) == Outcome("fail", 8)
    first.stop()
    thread.join()
    assert outcomes == [Outcome("stopped")]
    assert (first.console.text(), second.console.text()) == ("", "second")


def test_close_while_another_thread_runs_the_machine(engine: str) -> None:
    m = guests.machine(guests.show("go") + COUNT, engine=engine)
    outcomes: list[Outcome] = []
    started = threading.Event()
    m.console.attach(lambda data: started.set())
    thread = threading.Thread(target=lambda: outcomes.append(m.run(timeout=60)))
    thread.start()
    started.wait(30)
    m.close()
    thread.join()
    assert outcomes == [Outcome("stopped")]


def test_a_closed_machine_says_so(engine: str) -> None:
    m = guests.machine(COUNT, engine=engine)
    m.close()
    m.close()
    with pytest.raises(ConfigError, match="closed"):
        m.run(timeout=1)


def test_input_and_stop_after_the_end_are_not_errors(engine: str) -> None:
    m = guests.machine(COUNT, engine=engine)
    cpu = m.cpus[0]
    m.close()
    m.stop()
    m.console.send("late")
    cpu.set_irq(9, True)
    cpu.request(1)


def test_a_second_run_at_the_same_time_is_refused(engine: str) -> None:
    with guests.machine(guests.show("go") + COUNT, engine=engine) as m:
        started = threading.Event()
        m.console.attach(lambda data: started.set())
        thread = threading.Thread(target=lambda: m.run(timeout=60))
        thread.start()
        started.wait(30)
        with pytest.raises(ConfigError, match="already"):
            m.run(timeout=1)
        m.stop()
        thread.join()


def test_a_view_of_memory_outlives_its_machine(engine: str) -> None:
    with guests.machine(COUNT, engine=engine) as m:
        view = m.memory[0x8000_0000:0x8000_1000]
    view[0] = 1
    assert view[0] == 1


def test_a_host_without_address_space_is_a_host_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded, "ARENA_BYTES", 1 << 60)
    with pytest.raises(HostError, match="arena"):
        guests.machine(COUNT)


def test_no_thread_for_a_cpu_is_a_host_error(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "lamina-vcpu1":
            raise RuntimeError("can't start new thread")
        real(thread)

    with guests.machine(COUNT, engine=engine, cpus=2) as m:
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(HostError, match="CPU 1"):
            m.run(timeout=30)
        monkeypatch.undo()
        assert m.run(timeout=0.01) == Outcome("timeout")


def test_a_bug_of_ours_in_a_vcpu_thread_is_raised_by_run(engine: str) -> None:
    def fail(machine: Machine, cpu: int) -> None:
        raise ZeroDivisionError("on_trap")

    with guests.machine(guests.vector("trap") + "ecall\n" + guests.skip_trap(), engine=engine) as m:
        m.on_trap = fail
        with pytest.raises(ZeroDivisionError):
            m.run(timeout=30)


def test_timers_armed_again_and_again_cost_no_memory(engine: str) -> None:
    with guests.machine(COUNT, engine=engine) as m:
        for n in range(10_000):
            m.clock.arm("far", (1 << 60) - n % 7, lambda: None)
        assert len(m.clock._timers._heap) < 200


# -- deterministic time --------------------------------------------------------------------------
NOISY = f"""{guests.vector("trap")}
    li s0, MTIMECMP; li s1, MTIME; li t0, MTIP; csrw mie, t0; csrsi mstatus, 8; li s6, UART
    li s3, 60
1:  ld t0, 0(s1); addi t0, t0, 37; sd t0, 0(s0)
    li t1, 500; 2: addi t1, t1, -1; bnez t1, 2b
    wfi; rdtime t0; xor s4, s4, t0; rdcycle t1; add s4, s4, t1; andi t2, s4, 31; addi t2, t2, 64
    sb t2, 0(s6); addi s3, s3, -1; bnez s3, 1b
    {guests.finish()}
    .balign 4
trap: li t0, -1; sd t0, 0(s0); addi s5, s5, 1; mret"""


def test_deterministic_runs_are_the_same_to_the_instruction(build: Build) -> None:
    runs = []
    for _ in range(2):
        m = build(NOISY, deterministic=True)
        assert m.run(timeout=60) == Outcome("poweroff")
        runs.append((m.icount, m.console.text(), m.regs, m.clock.ticks()))
    assert runs[0] == runs[1]
    assert runs[0][2]["x21"] > 30
    assert len(runs[0][1]) == 60


def test_deterministic_time_passes_in_wfi_without_waiting(build: Build) -> None:
    """A sleep of an hour takes no hour."""
    source = f"""li s0, MTIMECMP; li t0, MTIP; csrw mie, t0; li t1, 36000000000; sd t1, 0(s0)
    1: wfi; rdtime t0; blt t0, t1, 1b
    {guests.finish(2)}"""
    m = build(source, deterministic=True)
    assert m.run(timeout=60) == Outcome("fail", 2)
    assert m.clock_seconds() >= 3600


def test_deterministic_mode_is_for_one_cpu() -> None:
    with pytest.raises(ConfigError, match="deterministic"):
        guests.machine(COUNT, cpus=2, deterministic=True)
