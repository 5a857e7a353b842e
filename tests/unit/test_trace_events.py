"""Traces: which events are written, and how a line reads."""

from pathlib import Path

import pytest

from lamina.base.errors import ConfigError, HostError
from lamina.cli import main
from lamina.isa.asm import Assembler
from lamina.isa.riscv.dialect import dialect
from lamina.isa.riscv.hart import RV64
from lamina.machine import Machine, MachineConfig, Outcome
from lamina.machine.trace import parse_kinds
from lamina.machine.trace_names import cause_name, register_name, sbi_name

BASE = 0x8000_0000
FINISH = """
    li t0, 0x100000
    li t1, 0x5555
    sw t1, 0(t0)
1:  j 1b
"""
# Machine mode: one exception, then a software interrupt that the hart sends itself.
INTERRUPTED = (
    """
    la t0, handler
    csrw mtvec, t0
    ecall
    li t0, 8
    csrs mie, t0
    csrsi mstatus, 8
    li t0, 0x2000000
    li t1, 1
    sw t1, 0(t0)
2:  j 2b
    .balign 4
handler:
    csrr t2, mcause
    blt t2, zero, done
    csrr t2, mepc
    addi t2, t2, 4
    csrw mepc, t2
    mret
done:
"""
    + FINISH
)
# Supervisor mode of a paravirtual machine: print, ask for what there is not, stop.
CALLS = """
    li a7, 0x4442434e
    li a6, 2
    li a0, 65
    ecall
    li a7, 0x10
    li a6, 3
    li a0, 0x4e41434c
    ecall
    li a7, 0x12345
    ecall
    li a7, 8
    ecall
"""
SERIAL = (
    """
    li t0, 0x10000000
    li t1, 65
    sb t1, 0(t0)
    lb t1, 5(t0)
"""
    + FINISH
)


def elf(source: str, tmp_path: Path) -> Path:
    """A kernel of these instructions: a raw image, which is put at the start of RAM."""
    path = tmp_path / "image"
    path.write_bytes(Assembler(RV64, dialect()).program(source, BASE).code)
    return path


@pytest.fixture(params=["reference", "threaded"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def traced(
    source: str, kinds: set[str], tmp_path: Path, engine: str, paravirtual: bool = False
) -> tuple[Outcome, list[list[str]]]:
    """How the run ended; instruction count and text (from the vCPU on) of each line."""
    image, events = elf(source, tmp_path), tmp_path / "events"
    start = {"kernel": image} if paravirtual else {"bios_image": image}
    config = MachineConfig(
        **start,
        memory=64 << 20,
        engine=engine,
        trace=kinds,
        trace_file=events,
        deterministic=True,
    )
    with Machine(config) as machine:
        outcome = machine.run(max_instructions=10_000)
    lines = [line.split(maxsplit=3) for line in events.read_text().splitlines()]
    return outcome, lines


def texts(lines: list[list[str]]) -> list[str]:
    return [line[3] for line in lines]


def test_device_accesses_name_device_register_and_value(tmp_path: Path, engine: str) -> None:
    outcome, lines = traced(SERIAL, {"mmio"}, tmp_path, engine)
    assert outcome.reason == "poweroff"
    assert texts(lines) == [
        "mmio uart0    write THR <- 0x41 'A'",
        "mmio uart0    read  LSR -> 0x60",
        "mmio finisher write FINISH <- 0x00005555",
    ]


def test_accesses_may_be_limited_to_devices(tmp_path: Path, engine: str) -> None:
    _, lines = traced(SERIAL, {"mmio:finisher"}, tmp_path, engine)
    assert texts(lines) == ["mmio finisher write FINISH <- 0x00005555"]


def test_lines_carry_the_exact_instruction_count(tmp_path: Path, engine: str) -> None:
    _, lines = traced(SERIAL, {"mmio"}, tmp_path, engine)
    first = int(lines[0][0])
    assert [int(line[0]) - first for line in lines] == [0, 1, 5]
    assert {line[2] for line in lines} == {"cpu0"}


def test_traps_say_cause_and_way(tmp_path: Path, engine: str) -> None:
    _, lines = traced(INTERRUPTED, {"trap"}, tmp_path, engine)
    exception, interrupt = texts(lines)
    assert exception.startswith("trap ecall from M tval 0x0, M 0x8000000c -> M 0x800000")
    assert interrupt.startswith("trap machine software interrupt, M 0x800000")


def test_interrupt_pins_are_traced_in_order_with_what_drives_them(
    tmp_path: Path, engine: str
) -> None:
    _, lines = traced(INTERRUPTED, {"irq", "mmio:clint", "trap"}, tmp_path, engine)
    assert [text.split(",")[0] for text in texts(lines)[1:]] == [
        "mmio clint    write msip[0] <- 0x00000001",
        "irq  hart 0 MSI raised",
        "trap machine software interrupt",
    ]


def test_sbi_calls_say_name_arguments_and_answer(tmp_path: Path, engine: str) -> None:
    _, lines = traced(CALLS, {"sbi"}, tmp_path, engine, paravirtual=True)
    unknown = "extension 0x12345 function 0x3(0x0, 0x0, 0x0, 0x0, 0x0, 0x0)"
    assert texts(lines) == [
        "sbi  DBCN console_write_byte(0x41) -> SUCCESS, 0x0",
        "sbi  BASE probe_extension(0x4e41434c) -> SUCCESS, 0x0",
        f"sbi  {unknown} -> NOT_SUPPORTED, 0x0",
        "sbi  legacy shutdown() -> does not return",
    ]


def test_exits_of_the_engine_are_named(tmp_path: Path, engine: str) -> None:
    _, lines = traced(CALLS, {"exit"}, tmp_path, engine, paravirtual=True)
    assert [text.split()[1] for text in texts(lines)].count("HYPERCALL") == 4


def test_without_a_trace_nothing_is_wrapped(tmp_path: Path) -> None:
    config = MachineConfig(bios_image=elf(SERIAL, tmp_path), memory=64 << 20, engine="reference")
    with Machine(config) as machine:
        assert type(machine.runners[0].engine).__name__ == "ReferenceEngine"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("bogus", "there are trap, irq, sbi, mmio, exit and mmio:DEVICE"),
        ("mmio:uart9", "the devices are uart0, plic"),
        ("irq:uart0", "there are trap"),
        ("mmio:", "the devices are uart0, plic"),
    ],
)
def test_an_unknown_kind_or_device_is_refused(item: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{item!r}.*{said}"):
        parse_kinds({item}, ["uart0", "plic"])


def test_all_devices_win_over_some() -> None:
    assert parse_kinds({"mmio", "mmio:uart0"}, ["uart0"]) == ({"mmio"}, set())


def test_a_file_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    config = MachineConfig(
        bios_image=elf(SERIAL, tmp_path),
        memory=64 << 20,
        trace={"irq"},
        trace_file=tmp_path / "no" / "such",
    )
    with pytest.raises(HostError, match="cannot be written"):
        Machine(config)


def test_the_command_line_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = elf(SERIAL, tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["boot", "--bios-image", str(image), "--trace", "irq,mmio:uart9"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "mmio:uart9" in error and "virtio7" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("device", "offset", "write", "name"),
    [
        ("uart0", 0, True, "THR"),
        ("uart0", 0, False, "RBR"),
        ("uart0", 0x40, False, "+0x40"),
        ("clint", 0x4008, True, "mtimecmp[1]"),
        ("clint", 0x400C, True, "mtimecmp[1].high"),
        ("clint", 0xBFF8, False, "mtime"),
        ("plic", 40, True, "priority[10]"),
        ("plic", 0x1004, False, "pending[1]"),
        ("plic", 0x2084, True, "enable[1][1]"),
        ("plic", 0x20_1004, False, "claim[1]"),
        ("virtio3", 0x50, True, "QUEUE_NOTIFY"),
        ("virtio3", 0x104, False, "CONFIG+0x4"),
        ("rtc", 0, False, "TIME_LOW"),
    ],
)
def test_registers_have_their_names(device: str, offset: int, write: bool, name: str) -> None:
    assert register_name(device, offset, write) == name


def test_numbers_without_a_name_are_shown_as_they_are() -> None:
    assert cause_name(1 << 63 | 17) == "interrupt 17"
    assert cause_name(99) == "exception 99"
    assert sbi_name(0x10, 99) == ("BASE function 0x63", 6)
