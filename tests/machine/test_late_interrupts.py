"""Interrupts that came while they were off are taken as soon as they are on: enabling them asks no
clock, it relies on what the machine said when the timer was due."""

from collections.abc import Callable
from typing import Any

import pytest

from lamina.machine import Machine, Outcome
from lamina.testing import guests

Build = Callable[..., Machine]
SET_TIMER = "li a7, 0x54494d45; li a6, 0; ecall\n"
ENABLE = {
    "csrsi": "csrsi sstatus, 2\n",
    "csrw": "csrr t0, sstatus; ori t0, t0, 2; csrw sstatus, t0\n",
    "sret": "li t0, 0x120; csrs sstatus, t0; la t0, 9f; csrw sepc, t0; sret\n9:\n",
}
TIMES: list[dict[str, Any]] = [{"deterministic": False}, {"deterministic": True}]


@pytest.mark.parametrize("settings", TIMES, ids=["real", "deterministic"])
@pytest.mark.parametrize("way", ENABLE)
@pytest.mark.parametrize("by_call", [True, False])
def test_a_timer_that_ran_out_while_interrupts_were_off(
    build: Build, way: str, by_call: bool, settings: dict[str, Any]
) -> None:
    """Three times: a deadline passes with interrupts off. Once they are on, the interrupt comes: at
    once in deterministic time, else when a busy host has told it. The handler sets the timer to
    never."""
    wait, patience = (300, 0) if settings["deterministic"] else (100_000, 100_000_000)
    arm = SET_TIMER if by_call else "csrw stimecmp, a0\n"
    source = f"""
    {guests.vector("trap", "stvec")}
    li t0, 32; csrw sie, t0; li s2, 3
1:  li s1, 0; rdtime a0; addi a0, a0, 200; mv s3, a0
    {arm}
    li t1, {wait}; add s3, s3, t1
2:  rdtime t0; bltu t0, s3, 2b
    bnez s1, bad
    {ENABLE[way]}
    nop; nop; nop; nop
    rdtime s3; li t1, {patience}; add s3, s3, t1
3:  bnez s1, 4f; rdtime t0; bltu t0, s3, 3b
4:  csrci sstatus, 2
    li t0, 1; bne s1, t0, bad
    addi s2, s2, -1; bnez s2, 1b
    {guests.finish(7)}
bad: {guests.finish(8)}
    .balign 4
trap: addi s1, s1, 1; li t0, -1; csrw stimecmp, t0; sret
"""
    m = build(source, firmware="none", **settings)
    assert m.run(timeout=60) == Outcome("fail", 7)


@pytest.mark.parametrize("settings", TIMES, ids=["real", "deterministic"])
def test_a_timer_that_is_not_due_interrupts_nobody(build: Build, settings: dict[str, Any]) -> None:
    """A deadline far away, after one that was met: interrupts on and off, none comes."""
    source = f"""
    {guests.vector("trap", "stvec")}
    li t0, 32; csrw sie, t0; csrsi sstatus, 2; li s1, 0
    rdtime a0; addi a0, a0, 100; csrw stimecmp, a0
1:  beqz s1, 1b
    li s1, 0; rdtime a0; li t0, 100000000000; add a0, a0, t0; csrw stimecmp, a0
    li s2, 1000
2:  csrci sstatus, 2; csrsi sstatus, 2; addi s2, s2, -1; bnez s2, 2b
    bnez s1, bad
    {guests.finish(7)}
bad: {guests.finish(8)}
    .balign 4
trap: addi s1, s1, 1; li t0, -1; csrw stimecmp, t0; sret
"""
    m = build(source, firmware="none", **settings)
    assert m.run(timeout=60) == Outcome("fail", 7)


@pytest.mark.parametrize("way", ENABLE)
def test_a_software_interrupt_that_waits(build: Build, way: str) -> None:
    """mip.SSIP set with interrupts off, then on."""
    source = f"""
    {guests.vector("trap", "stvec")}
    li s1, 0; csrwi sie, 2; csrsi sip, 2
    {ENABLE[way]}
    nop; nop; nop; nop
    csrci sstatus, 2
    {guests.finish_with("s1")}
    .balign 4
trap: addi s1, s1, 1; csrci sip, 2; sret
"""
    assert build(source, firmware="none").run(timeout=60) == Outcome("fail", 1)
