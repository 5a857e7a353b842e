"""How runs end, how far they go, and what can be looked at between them."""

import threading
from pathlib import Path

import pytest

from lamina.base.errors import BusError, ConfigError
from lamina.base.exits import Exit
from lamina.images import builtin
from lamina.machine import Machine, MachineConfig, Outcome
from lamina.machine.console import ConsoleTimeout
from lamina.testing import guests, programs

from .conftest import Build

COUNT = "li s0, 0; 1: addi s0, s0, 1; j 1b"
WAIT = "1: wfi; j 1b"
TRAPS = guests.vector("trap") + "1: ecall; .word 0; addi s0, s0, 1; j 1b\n" + guests.skip_trap()


@pytest.fixture(autouse=True)
def _quick(engine: str) -> str:
    return engine


def boot(engine: str, kernel: Path, **settings: object) -> Machine:
    fields: dict[str, object] = {"memory": guests.MEMORY, "engine": engine, **settings}
    return Machine(MachineConfig(kernel=kernel, **fields))  # type: ignore[arg-type]


# -- programs ------------------------------------------------------------------------------------
def test_hello_prints_and_powers_off(engine: str) -> None:
    with boot(engine, programs.path("hello"), firmware="bare") as m:
        assert m.run(timeout=30) == Outcome("poweroff", 0)
        assert m.console.text() == "hello, world\n"


def test_exit7_fails_with_7(engine: str) -> None:
    with boot(engine, programs.path("exit7"), firmware="bare") as m:
        assert m.run(timeout=30) == Outcome("fail", 7)


def test_alu_loop_computes_its_total(engine: str) -> None:
    with boot(engine, programs.path("alu_loop"), firmware="bare") as m:
        m.run(max_instructions=6)  # the boot ROM
        m.cpus[0].set_reg("x", 10, 100)
        assert m.run(timeout=30) == Outcome("poweroff", 0)
        total = m.cpus[0].reg("x", 8)
        want = sum(0x5DEECE66D ^ n for n in range(1, 101))
        assert m.memory.read_u64(total) == want


def test_monitor_boots_to_its_prompt_and_powers_off(engine: str) -> None:
    outcomes: list[Outcome] = []
    with boot(engine, builtin.path("monitor")) as m:
        owner = threading.Thread(target=lambda: outcomes.append(m.run(timeout=60)))
        owner.start()
        m.console.expect("lamina> ")
        m.console.send("poweroff\r")
        owner.join()
    assert outcomes == [Outcome("poweroff", 0)]


# -- the guest's ends ----------------------------------------------------------------------------
@pytest.mark.parametrize("code", [1, 2, 127, 255, 256, 65535])
def test_a_failing_guest_gives_its_code(build: Build, code: int) -> None:
    assert build(guests.finish(code)).run(timeout=30) == Outcome("fail", code)


def test_reboot_then_reset_then_the_same_again(build: Build) -> None:
    m = build(
        "la s0, n; ld s1, 0(s0); addi s1, s1, 1; sd s1, 0(s0)\n" + guests.reboot() + "n: .dword 5"
    )
    for _ in range(3):
        assert m.run(timeout=30).reason == "reboot"
        assert m.regs["x9"] == 6  # memory is as it was loaded
        m.reset()
        assert m.pc == 0x1000
        assert m.clock.ticks() == 0


@pytest.mark.parametrize("value", [0, 1, 0x5554, 0x3332, 0x7776, 0xFFFF, 0x5555_0000])
def test_other_values_in_the_finisher_do_nothing(build: Build, value: int) -> None:
    m = build(f"li t5, FINISHER; li t6, {value}; sw t6, 0(t5)\n" + guests.finish(3))
    assert m.run(timeout=30) == Outcome("fail", 3)


def test_paravirtual_guest_powers_off_by_the_sbi(build: Build) -> None:
    m = build(guests.sbi(0x53525354, 0, 0, 0), firmware="none")
    assert m.run(timeout=30) == Outcome("poweroff", 0)


def test_paravirtual_guest_reboots_by_the_sbi(build: Build) -> None:
    m = build(guests.sbi(0x53525354, 0, 1, 0), firmware="none")
    assert m.run(timeout=30).reason == "reboot"


# -- counted runs --------------------------------------------------------------------------------
@pytest.mark.parametrize("source", [COUNT, TRAPS], ids=["straight", "traps"])
def test_a_limit_is_met_exactly_from_any_point(build: Build, source: str) -> None:
    m = build(source)
    total = 0
    for n in [*range(1, 40), 63, 64, 65, 1000, 2047, 2048, 2049, 2111, 2112, 2113, 2500]:
        assert m.run(max_instructions=n, timeout=30) == Outcome("limit")
        total += n
        assert m.icount == total


def test_where_a_limit_falls_does_not_change_what_happens(build: Build) -> None:
    whole, parts = build(TRAPS), build(TRAPS)
    whole.run(max_instructions=5000, timeout=30)
    for n in (1, 2, 3, 2106, 2888):
        parts.run(max_instructions=n, timeout=30)
    assert parts.regs == whole.regs | {
        k: parts.regs[k] for k in ("pending", "icount_end") if k in parts.regs
    }


def test_a_limit_is_met_exactly_across_wfi(build: Build) -> None:
    source = f"""{guests.vector("trap")}
    li s0, MTIMECMP; li s1, MTIME; li t0, MTIP; csrw mie, t0; csrsi mstatus, 8
    1: ld t0, 0(s1); addi t0, t0, 100; sd t0, 0(s0); wfi; addi s2, s2, 1; j 1b
    .balign 4
    trap: li t0, -1; sd t0, 0(s0); mret"""
    m = build(source, deterministic=True)
    assert m.run(max_instructions=20_000, timeout=60) == Outcome("limit")
    assert m.icount == 20_000
    assert m.regs["x18"] > 1000


def test_limits_of_nothing_and_of_more_than_a_register_holds(build: Build) -> None:
    m = build(COUNT)
    assert m.run(max_instructions=0) == Outcome("limit")
    assert m.icount == 0
    assert m.run(max_instructions=1 << 70, timeout=0.1).reason == "timeout"
    assert m.icount > 0


def test_step_runs_one_instruction_or_takes_one_trap(build: Build) -> None:
    m = build("addi x5, x0, 5; j 1f; .word 0; 1: ecall")
    for _ in range(6):
        m.step()
    assert m.pc == 0x8000_0000
    assert m.step() is Exit.LIMIT
    assert (m.regs["x5"], m.pc) == (5, 0x8000_0004)
    m.step()
    assert m.pc == 0x8000_000C
    m.step()
    assert (m.pc, m.regs["mcause"], m.regs["mepc"]) == (0, 11, 0x8000_000C)


# -- ends from outside ---------------------------------------------------------------------------
@pytest.mark.parametrize("source", [COUNT, WAIT], ids=["busy", "idle"])
@pytest.mark.parametrize("cpus", [1, 3])
def test_timeout_ends_any_guest(build: Build, source: str, cpus: int) -> None:
    assert build(source, cpus=cpus).run(timeout=0.05) == Outcome("timeout")


@pytest.mark.parametrize("source", [COUNT, WAIT], ids=["busy", "idle"])
def test_stop_from_another_thread(build: Build, source: str) -> None:
    m = build(guests.show("go") + source)
    stopper = threading.Thread(target=lambda: (m.console.expect("go"), m.stop()))
    m.console.set_ended(False)
    stopper.start()
    assert m.run(timeout=60) == Outcome("stopped")
    stopper.join()


def test_stop_before_a_run_ends_that_run_and_no_other(build: Build) -> None:
    m = build(COUNT)
    m.stop()
    assert m.run(timeout=30) == Outcome("stopped")
    assert m.run(max_instructions=10, timeout=30) == Outcome("limit")


@pytest.mark.parametrize("timeout", [float("nan"), -1.0, float("-inf")])
def test_a_timeout_that_is_none_is_refused(build: Build, timeout: float) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        build(COUNT).run(timeout=timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_a_timeout_of_for_ever_is_taken(build: Build, timeout: float) -> None:
    assert build(guests.finish(4)).run(timeout=timeout) == Outcome("fail", 4)


def test_until_is_asked(build: Build) -> None:
    m = build(COUNT)
    assert m.run(until=lambda m: m.icount > 10, timeout=30).reason == "until"


def test_until_times_out_though_deterministic_time_stands_still(build: Build) -> None:
    m = build(WAIT, deterministic=True)
    assert m.run(until=lambda m: False, timeout=0.1).reason == "timeout"


def test_breakpoint_stops_before_its_instruction(build: Build) -> None:
    code = guests.assemble("li s0, 1; li s0, 2; here: li s0, 3\n" + guests.finish())
    m = build(code.code)
    m.breakpoints.add(code.symbols["here"])
    assert m.run(timeout=30).reason == "breakpoint"
    assert (m.pc, m.regs["x8"]) == (code.symbols["here"], 2)
    m.breakpoints.clear()
    assert m.run(timeout=30) == Outcome("poweroff")


def test_breakpoint_that_is_never_met_does_not_disable_timeout_and_limit(build: Build) -> None:
    m = build(WAIT)
    m.breakpoints.add(0x1234_5678)
    assert m.run(timeout=0.1) == Outcome("timeout")
    assert m.run(max_instructions=0) == Outcome("limit")


def test_on_trap_hears_of_each_trap(build: Build) -> None:
    m = build(
        guests.vector("trap") + "ecall; ebreak; .word 0\n" + guests.finish() + guests.skip_trap()
    )
    causes: list[int] = []
    m.on_trap = lambda m, cpu: causes.append(m.cpus[cpu].get("mcause"))
    assert m.run(timeout=30).reason == "poweroff"
    assert causes == [11, 3, 2]


# -- looking -------------------------------------------------------------------------------------
def test_memory_is_a_view_and_not_a_copy(build: Build) -> None:
    m = build(guests.finish())
    view = m.memory[0x8010_0000:0x8010_0008]
    m.memory.write(0x8010_0000, b"12345678")
    assert bytes(view) == b"12345678"
    view[0] = ord("x")
    assert m.memory[0x8010_0000] == ord("x")
    m.memory[0x8010_0001] = 7
    assert view[1] == 7


@pytest.mark.parametrize(
    "start", [0, 0x1000_0000, 0x7FFF_FFFF, 0x8000_0000 + guests.MEMORY, 1 << 64]
)
def test_memory_that_is_not_there_is_a_bus_error(build: Build, start: int) -> None:
    m = build(guests.finish())
    with pytest.raises(BusError):
        m.memory[start]
    with pytest.raises(BusError):
        m.memory[start : start + 8]


def test_translate_follows_the_tables_and_changes_nothing(build: Build) -> None:
    m = build(guests.enter("s", "go") + "go: csrw satp, a0; sfence.vma; 1: j 1b")
    root = 0x8010_0000
    m.memory.write(root + 16, guests.table(root + 4096).to_bytes(8, "little"))
    m.memory.write(root + 4096 + 0, guests.leaf(0x8000_0000, "vrwxad").to_bytes(8, "little"))
    m.memory.write(root + 4096 + 8, guests.leaf(0x8040_0000, "vrx").to_bytes(8, "little"))
    m.run(max_instructions=6)
    m.cpus[0].set_reg("x", 10, guests.satp(root))
    m.run(max_instructions=40)
    m.cpus[0].set("menvcfg", 0)  # Svade: an accessed bit that is clear is a fault
    before = (m.regs, m.memory.read(root, 8192))
    assert m.translate(0x8000_1234) == 0x8000_1234
    assert m.translate(0x8020_0010) is None  # accessed bit clear
    assert m.translate(0x9000_0000) is None
    assert (m.regs, m.memory.read(root, 8192)) == before


def test_expect_consumes_and_times_out(build: Build) -> None:
    m = build(guests.show("one two") + guests.finish())
    m.run(timeout=30)
    m.console.set_ended(False)
    assert m.console.expect(r"(\w+) t")[1] == b"one"
    assert m.console.text() == "wo"
    with pytest.raises(ConsoleTimeout, match="never"):
        m.console.expect("never", timeout=0.01)


def test_typed_bytes_arrive(build: Build) -> None:
    source = (
        """li s0, UART; li s1, 1; la s2, buffer; li s3, 3
    1: lbu t0, 5(s0); andi t0, t0, 1; beqz t0, 1b; lbu t1, 0(s0); sb t1, 0(s2); addi s2, s2, 1
    addi s3, s3, -1; bnez s3, 1b; la s2, buffer; lbu a0, 2(s2)
    """
        + guests.finish_with("a0")
        + "buffer: .zero 8"
    )
    m = build(source)
    m.console.send(b"abc")
    assert m.run(timeout=30) == Outcome("fail", ord("c"))


def test_a_step_that_arms_a_timer_is_one_instruction(build: Build) -> None:
    m = build("csrr t0, time\n csrw stimecmp, t0\n nop\n nop\n nop\n", deterministic=True)
    while m.disassemble()[0].find("stimecmp") < 0:
        m.step()
    before = m.icount
    m.step()
    assert m.icount == before + 1
