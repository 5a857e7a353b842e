"""Loops with constant strides, which run without checks as far as their pages go: pages that come
to be forbidden, code that is written over, interrupts, limits."""

import random

import pytest
from bare import BASE, DATA, RAM, WINDOW, Tables, bare_side, satp, traps
from both import LENGTHS, check
from machines import nothing_compiled
from stops import compare_stops
from test_jit_spaces import SUPERVISOR, identity

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.jit.shape import MAX_LOOP
from lamina.engine.lockstep import compare
from lamina.engine.threaded.engine import EXACT_MARGIN, ThreadedEngine
from lamina.isa.riscv import fields as f

SUMS_SO_FAR = """
    1:  ld a3, 0(a0)
        add a4, a4, a3
        sd a4, 8(a0)
        addi a0, a0, 8
        addi a2, a2, -1
        bnez a2, 1b
"""


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("step", [8, -8, 24, 1000, -1000])
@pytest.mark.parametrize("broken", [0, f.PTE_V, f.PTE_A, f.PTE_D, f.PTE_W])
def test_a_loop_comes_to_pages_that_are_not_as_the_last(
    broken: int, step: int, lengths: tuple[int, ...]
) -> None:
    """Pages in turn that may be accessed and that may not; in the host they lie the other way."""
    tables = Tables()
    root = tables.root()
    identity(tables, root)
    tables.map_in_turn(root, 4, broken)
    passes = 3 * PAGE_SIZE // abs(step)
    start = WINDOW + 64 if step > 0 else WINDOW + 4 * PAGE_SIZE - 64
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li a0, {start}
        li a1, {DATA + 0x8000}
        li a2, {passes}
        {SUPERVISOR}
    1:  ld a4, 0(a0)
        add a3, a3, a4
        sd a3, 8(a0)
        lwu a5, 4(a1)
        addi a0, a0, {step}
        sw a5, 12(a1)
        addi a1, a1, 4
        addi s1, s1, 1
        addi a2, a2, -1
        bnez a2, 1b
        j stop
    """
    found, s1 = check(body, lengths, tables)
    assert (found > 0) == (broken != 0)
    assert s1 == passes


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_loop_writes_instructions_into_its_own_page(lengths: tuple[int, ...]) -> None:
    """Two functions in turn, each called behind a fence."""
    body = """
        li s0, 40
        j 2f
        .balign 512
    2:  la a0, 5f
        la a1, 3f
        andi t0, s0, 1
        beqz t0, 1f
        la a1, 4f
    1:  lw a3, 0(a1)
        addi a1, a1, 4
        sw a3, 0(a0)
        addi a0, a0, 4
        bnez a3, 1b
        fence.i
        call 5f
        addi s0, s0, -1
        bnez s0, 2b
        j stop
    3:  addi s1, s1, 1
        addi s2, s2, 2
        jr ra
        .word 0
    4:  addi s1, s1, 16
        xor s2, s2, s1
        jr ra
        .word 0
        .balign 64
    5:  nop
        nop
        nop
        nop
    """
    assert check(body, lengths) == (0, 20 * 17)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_loop_runs_off_the_end_of_memory(lengths: tuple[int, ...]) -> None:
    body = f"""
        li a0, {BASE + RAM - 400}
        li a2, 60
    1:  ld a3, 0(a0)
        sd a2, 0(a0)
        addi a0, a0, 8
        addi s1, s1, 1
        addi a2, a2, -1
        bnez a2, 1b
    """
    assert check(body, lengths) == (20, 60)


def test_a_run_ends_after_exactly_its_budget() -> None:
    body = f"""
    9:  li a0, {DATA}
        li a2, 400
        {SUMS_SO_FAR}
        j 9b
    """
    with nothing_compiled():
        a, b = bare_side(ThreadedEngine, body), bare_side(EagerJitEngine, body)
        try:
            for budget in range(EXACT_MARGIN + 1, EXACT_MARGIN + 60):
                exits = a.engine.run(budget), b.engine.run(budget)
                assert not compare(a, b, exits)
        finally:
            a.close()
            b.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_an_interrupt_is_not_put_off_by_more_than_the_passes_of_a_page(
    lengths: tuple[int, ...],
) -> None:
    """Lines that change at every stop."""
    body = f"""
        li t0, {1 << 11 | 1 << 7 | 1 << 3}
        csrs mie, t0
        csrsi mstatus, 8
        li s0, 6
    2:  li a0, {DATA}
        li a2, 600
        {SUMS_SO_FAR}
        addi s0, s0, -1
        bnez s0, 2b
    """
    with nothing_compiled():
        a, b = bare_side(ThreadedEngine, body), bare_side(EagerJitEngine, body)
        count = {id(a): 0, id(b): 0}

        def poke(side: object) -> None:
            count[id(side)] += 1
            side.engine.vcpu.set_irq(7, count[id(side)] % 3 == 0)  # type: ignore[attr-defined]

        try:
            assert not compare_stops(a, b, random.Random(3), 60_000, lengths, poke)
            assert not compare(a, b)
            assert traps(b) > 3
        finally:
            a.close()
            b.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("step", [8, -8, 1000])
def test_what_is_computed_at_the_ends_of_a_loop(step: int, lengths: tuple[int, ...]) -> None:
    """Registers that nobody in the loop needs, at two ways out, at traps and at every stop."""
    passes = 3 * PAGE_SIZE // abs(step)
    body = f"""
        li a0, {BASE + RAM - 2 * PAGE_SIZE if step > 0 else DATA + 3 * PAGE_SIZE}
        li a2, {passes}
        li s3, {passes // 2}
    1:  ld a3, 0(a0)
        srli a4, a3, 8
        slliw a5, a3, 5
        xor a6, a4, a5
        sb a4, 1(a0)
        beq a2, s3, 2f
        srli a7, a3, 16
        sb a7, 2(a0)
        addi a0, a0, {step}
        addi s1, s1, 1
        addi a2, a2, -1
        bnez a2, 1b
        j stop
    2:  add s2, a6, a7
        addi a2, a2, -1
        j 1b
    """
    check(body, lengths)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("others", [0, 16], ids=["few registers", "many"])
def test_a_loop_goes_on_in_another_that_writes_the_same_registers(
    others: int, lengths: tuple[int, ...]
) -> None:
    """Of many registers the state has what was written outside of loops, of few only at the end."""
    names = [f"x{i}" for i in range(16, 16 + others)]
    lines = [f"addi {names[i % others] if others else 's2'}, s3, {i}" for i in range(MAX_LOOP)]
    around = "\n".join(lines)  # so much that all of it is no small loop
    body = f"""
        li s0, 50
    0:  {around}
        li a2, 9
    1:  add s1, s1, a2
        addi a2, a2, -1
        bnez a2, 1b
    2:  add s1, s1, s1
        addi a2, a2, 1
        xor s1, s1, a2
        bne a2, s0, 2b
        addi s0, s0, -1
        bnez s0, 0b
    """
    assert check(body, lengths)[0] == 0
