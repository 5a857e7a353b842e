"""What a caller hands to a machine may fail, stop it, or ask too much: nothing is lost or hangs."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.base.errors import BusError, ConfigError, HostError, LaminaError
from lamina.machine import Machine
from lamina.testing import guests

TRAPS = guests.vector("trap") + "1: ecall; j 1b\n" + guests.skip_trap()
PRINTS = guests.show("x") + "1: j 1b"
COUNT = "1: addi s0, s0, 1; j 1b"


class Broken(LaminaError):
    """A caller's own error; one of Lamina's kind, so that it could be taken for the guest's."""


def broken(*_: object) -> None:
    raise Broken("of the caller")


@pytest.mark.parametrize("cpus", [1, 3])
def test_an_error_of_on_trap_is_raised_by_run(engine: str, cpus: int) -> None:
    with guests.machine(TRAPS, engine=engine, cpus=cpus) as m:
        m.on_trap = broken
        with pytest.raises(Broken):
            m.run(timeout=30)
        m.on_trap = None
        assert m.run(max_instructions=10, timeout=30).reason == "limit"


@pytest.mark.parametrize("cpus", [1, 3])
def test_an_error_of_an_attached_output_is_raised_by_run(engine: str, cpus: int) -> None:
    with guests.machine(PRINTS, engine=engine, cpus=cpus) as m:
        m.console.attach(broken)
        with pytest.raises(Broken):
            m.run(timeout=30)


def test_an_error_of_an_attached_output_is_raised_by_step(engine: str) -> None:
    with guests.machine(PRINTS, engine=engine) as m:
        m.console.attach(broken)
        with pytest.raises(Broken):
            for _ in range(1000):
                m.step()


@pytest.mark.parametrize(
    "ask",
    [Machine.close, Machine.reset, Machine.step, lambda m: m.run(timeout=1)],
    ids=["close", "reset", "step", "run"],
)
def test_a_callback_cannot_ask_for_what_would_wait_for_itself(
    engine: str, ask: Callable[[Machine], object]
) -> None:
    with guests.machine(TRAPS, engine=engine) as m:
        m.on_trap = lambda machine, cpu: ask(machine) and None
        with pytest.raises(ConfigError):
            m.run(timeout=30)


def test_a_callback_may_stop_the_run(engine: str) -> None:
    with guests.machine(TRAPS, engine=engine) as m:
        m.on_trap = lambda machine, cpu: machine.stop()
        assert m.run(timeout=30).reason == "stopped"


def test_a_running_machine_is_neither_stepped_nor_reset(engine: str) -> None:
    running = threading.Event()
    with guests.machine(guests.show("x") + COUNT, engine=engine) as m:
        m.console.attach(lambda data: running.set())
        runner = threading.Thread(target=m.run)
        runner.start()
        assert running.wait(30)
        for ask in (m.step, m.reset):
            with pytest.raises(ConfigError, match="runs already"):
                ask()
        m.stop()
        runner.join()


def test_a_closed_machine_says_so(engine: str) -> None:
    m = guests.machine(COUNT, engine=engine)
    m.close()
    m.close()
    for ask in (m.run, m.step, m.reset, m.disassemble, lambda: m.pc, lambda: m.regs):
        with pytest.raises(ConfigError, match="closed"):
            ask()


def test_a_negative_instruction_count_is_refused(engine: str) -> None:
    with guests.machine(COUNT, engine=engine) as m, pytest.raises(ConfigError, match="-1"):
        m.run(max_instructions=-1)


@pytest.mark.parametrize("key", ["a", 1.5, None, slice("a", "b"), slice(0x8000_0000, None)])
def test_memory_by_what_is_no_address_is_refused(engine: str, key: object) -> None:
    with guests.machine(COUNT, engine=engine) as m, pytest.raises(BusError):
        m.memory[key]  # type: ignore[call-overload]


@pytest.mark.parametrize("what", ["trace_file", "log_commits"])
def test_a_log_on_a_full_disk_is_one_error(engine: str, what: str) -> None:
    settings: dict[str, object] = {what: Path("/dev/full")}
    if what == "trace_file":
        settings["trace"] = {"mmio"}
    machine = guests.machine(PRINTS, engine=engine, **settings)
    with machine as m, pytest.raises(HostError, match="cannot be written"):
        m.run(max_instructions=2000, timeout=30)
