"""The threaded engine beside QEMU, by single steps of both. Needs qemu-system-riscv64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.base.errors import ConfigError, HostError
from lamina.base.units import MIB
from lamina.debug.against_qemu import compare_with_qemu
from lamina.debug.qemu import Qemu
from lamina.machine import Machine, MachineConfig
from lamina.testing import random_layout as at
from lamina.testing.foreign import NEWER_THAN_7
from lamina.testing.guests import assemble
from lamina.testing.programs import path
from lamina.testing.random_programs import Options, build, generate

ADDI_X5_X5_2 = 0x0022_8293
# Floating point, a trap and its return, an interrupt that software raises, and the end.
PROGRAM = """
        la t0, vector
        csrw mtvec, t0
        li t0, 0x6000
        csrs mstatus, t0
        li t0, 3
        fcvt.d.l f1, t0
        fdiv.d f2, f1, f1
        fdiv.d f3, f2, f1
        ecall
        csrwi mie, 8
        csrsi mstatus, 8
        la t1, CLINT
        li t0, 1
        sw t0, 0(t1)
        nop
        nop
here:   addi t0, t0, 1
        sd t0, 0(sp)
        wfi
        .balign 4
vector: csrr t2, mcause
        bltz t2, interrupt
        csrr t3, mepc
        addi t3, t3, 4
        csrw mepc, t3
        mret
interrupt:
        sw zero, 0(t1)
        mret
"""


def bare(source: str) -> MachineConfig:
    code = assemble("la sp, 0x80100000\n" + source).code + b"\xff" * 4
    return MachineConfig(kernel=code, firmware="bare", memory=32 * MIB)


def test_a_loop_agrees_with_qemu_up_to_the_limit() -> None:
    config = MachineConfig(kernel=path("alu_loop"), firmware="bare", memory=32 * MIB)
    report = compare_with_qemu(config, 300)
    assert report.difference is None, str(report.difference)
    assert (report.instructions, report.ended) == (300, "limit")


def test_floats_traps_and_interrupts_agree_up_to_wfi() -> None:
    report = compare_with_qemu(bare(PROGRAM), 300)
    assert report.difference is None, str(report.difference)
    assert report.ended == "wfi"
    assert report.instructions == 32


@pytest.mark.parametrize("seed", [1, 6])
def test_a_random_program_agrees_to_its_end(seed: int) -> None:
    options = Options(snippets=20, external=True, tame=True, exclude=NEWER_THAN_7 | {"Svinval"})
    memory = bytearray(4 * MIB)
    for gpa, data in build(generate(seed, options), "finisher").pieces:
        memory[gpa - at.BASE : gpa - at.BASE + len(data)] = data
    report = compare_with_qemu(
        MachineConfig(kernel=bytes(memory), firmware="bare", memory=32 * MIB), 6000
    )
    assert report.difference is None, str(report.difference)
    assert report.ended == "poweroff"


def test_an_instruction_that_only_qemu_has_is_reported() -> None:
    source = "li t0, 1\n nop\n nop\n addi t0, t0, 1\n wfi"
    where = 0x8000_0000 + len(assemble("la sp, 0x80100000\n li t0, 1\n nop\n nop").code)

    def patch(machine: Machine, qemu: Qemu) -> None:
        assert machine.space.read(where, 4) != ADDI_X5_X5_2.to_bytes(4, "little")
        qemu.write(where, ADDI_X5_X5_2.to_bytes(4, "little"))

    found = compare_with_qemu(bare(source), 300, before=patch).difference
    assert found is not None
    assert found.what == [("x5", 2, 3)]
    text = str(found).splitlines()
    assert "addi t0, t0, 1" in text[-3]
    assert "threaded and qemu differ" in text[-2]


def test_memory_that_no_register_shows_is_compared_at_the_end() -> None:
    found = compare_with_qemu(
        bare("nop\n wfi"), 300, before=lambda _, qemu: qemu.write(0x8010_0008, b"\x55")
    ).difference
    assert found is not None
    assert found.what == [("[0x80100008]", 0, 0x55)]


def test_a_changed_f_register_is_found_though_ours_stands_still() -> None:
    def change(_: Machine, qemu: Qemu) -> None:
        qemu.set_f(9, 0x1234)

    found = compare_with_qemu(bare("nop\n" * 30 + "wfi"), 300, before=change).difference
    assert found is not None
    assert found.what == [("f9", 0, 0x1234)]


def test_qemu_is_gone_after_an_interruption() -> None:
    pids: list[int] = []

    def interrupt(_: Machine, qemu: Qemu) -> None:
        pids.append(qemu.pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_with_qemu(bare("wfi"), 300, before=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_only_bare_programs_are_compared() -> None:
    config = MachineConfig(kernel=path("alu_loop"), memory=32 * MIB)
    with pytest.raises(ConfigError, match="is for bare programs"):
        compare_with_qemu(config, 300)


def test_a_qemu_that_does_not_start_is_a_host_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="not found"):
        compare_with_qemu(bare("wfi"), 300, "no-such-qemu")
    with pytest.raises(HostError, match="is not a QEMU"):
        compare_with_qemu(bare("wfi"), 300, "true")


def test_the_command_reports_a_counter_as_a_difference(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(assemble("nop\n csrr a0, mcycle\n wfi").code + b"\xff" * 4)
    command = [sys.executable, "-m", "lamina", "lockstep", str(program), "--against", "qemu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "after 2 instructions threaded and qemu differ" in done.stdout
    assert "x10" in done.stdout.splitlines()[-1]
    done = subprocess.run(
        [*command, "--qemu", "no-such-qemu"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
