"""The commit log, disassembly in place, a step in words, and steal time."""

from pathlib import Path

import pytest

from lamina.base.errors import HostError
from lamina.debug.explain import explain
from lamina.debug.lockstep import compare_machines
from lamina.isa.asm import Assembler
from lamina.isa.riscv.dialect import dialect
from lamina.isa.riscv.hart import RV64
from lamina.machine import Machine, MachineConfig
from lamina.machine.steal import SAMPLE_NS, StealMeter

BASE = 0x8000_0000
PROGRAM = """
    auipc t0, 1
    c.li a0, 5
    sb a0, 1(t0)
    lb a1, 1(t0)
    amoadd.w a2, a0, (t0)
    lr.w a3, (t0)
    sc.w a4, a0, (t0)
    sc.w a4, a0, (t0)
    li t1, 0x2000
    csrs mstatus, t1
    csrw mscratch, a0
    fmv.w.x fa0, zero
    fdiv.s fa1, fa0, fa0
    .word 0
"""
# As Spike writes them, privilege and pc left out.
EXPECTED = """
(0x00001297) x5  0x0000000080001000
(0x4515) x10 0x0000000000000005
(0x00a280a3) mem 0x0000000080001001 0x05
(0x00128583) x11 0x0000000000000005 mem 0x0000000080001001
(0x00a2a62f) x12 0x0000000000000500 mem 0x0000000080001000 mem 0x0000000080001000 0x00000505
(0x1002a6af) x13 0x0000000000000505 mem 0x0000000080001000
(0x18a2a72f) x14 0x0000000000000000 mem 0x0000000080001000 0x00000005
(0x18a2a72f) x14 0x0000000000000001
(0x00002337) x6  0x0000000000002000
(0x30032073) c768_mstatus 0x0000000a00002000
(0x34051073) c832_mscratch 0x0000000000000005
(0xf0000553) f10 0xffffffff00000000 c768_mstatus 0x8000000a00006000
(0x18a575d3) c1_fflags 0x0000000000000010 f11 0xffffffff7fc00000
""".strip().splitlines()
BOOT_ROM = 6  # instructions before the program's


@pytest.fixture(params=["reference", "threaded"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> MachineConfig:
    image = tmp_path / "image"
    image.write_bytes(Assembler(RV64, dialect()).program(PROGRAM, BASE).code)
    return MachineConfig(
        bios_image=image,
        memory=64 << 20,
        engine=request.param,
        deterministic=True,
        log_commits=tmp_path / "log",
    )


def test_every_retired_instruction_is_logged_with_its_effects(config: MachineConfig) -> None:
    with Machine(config) as machine:
        machine.run(max_instructions=BOOT_ROM + len(EXPECTED))
    assert config.log_commits is not None
    lines = config.log_commits.read_text().splitlines()[BOOT_ROM:]
    assert all(line.startswith("core   0: 3 0x0000000080000") for line in lines)
    assert [line[31:] for line in lines] == EXPECTED


def test_an_instruction_that_traps_leaves_no_line(config: MachineConfig) -> None:
    with Machine(config) as machine:
        machine.run(max_instructions=40)
    assert config.log_commits is not None
    assert "(0x00000000)" not in config.log_commits.read_text()


def test_a_log_that_cannot_be_written_is_one_error(config: MachineConfig, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be written"):
        Machine(MachineConfig(log_commits=tmp_path / "no" / "such"))


def test_code_is_disassembled_where_it_lies(config: MachineConfig) -> None:
    with Machine(config) as machine:
        assert machine.disassemble(BASE, 3) == [
            "0x0000000080000000  00001297  auipc t0, 0x1",
            "0x0000000080000004  4515      c.li a0, 5",
            "0x0000000080000006  00a280a3  sb a0, 1(t0)",
        ]
        assert machine.disassemble(0x4000_0000) == []


def test_a_step_is_told_in_words(config: MachineConfig) -> None:
    with Machine(config) as machine:
        machine.pc = BASE + 4
        before = machine.regs["x10"]
        assert explain(machine).splitlines() == [
            "0x0000000080000004  4515      c.li a0, 5",
            *([f"    x10: {before:#x} -> 0x5"] if before != 5 else []),
        ]


def test_engines_agree_on_a_program_that_ends_in_a_trap(config: MachineConfig) -> None:
    plain = MachineConfig(bios_image=config.bios_image, memory=64 << 20)
    report = compare_machines(plain, ("reference", "threaded"), 500)
    assert report.difference is None
    assert report.instructions > 12


def test_stolen_time_adds_up_over_threads_and_at_most_each_10_ms() -> None:
    clock, delay = [0], [500]
    meter = StealMeter(read=lambda: delay[0], now=lambda: clock[0])
    assert meter.sample() and meter.ns == 500
    delay[0], clock[0] = 900, SAMPLE_NS - 1
    assert not meter.sample() and meter.ns == 500
    clock[0] = SAMPLE_NS
    assert meter.sample() and meter.ns == 900
    delay[0], clock[0] = 50, 2 * SAMPLE_NS  # another thread, which begins at nothing
    assert meter.sample() and meter.ns == 950


def test_a_host_that_keeps_no_account_steals_nothing() -> None:
    meter = StealMeter(read=lambda: None, now=lambda: 0)
    assert not meter.sample() and meter.ns == 0
