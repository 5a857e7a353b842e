"""Directed programs on the optimising engine: exact state wherever it stops, and in every trap."""

import random
import sys

import pytest
from bare import DATA, END, WINDOW, Tables, bare_side, code, satp, traps
from machines import MakeEngine, nothing_compiled
from stops import compare_stops

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.jit.region import MAX_STRAIGHT
from lamina.engine.lockstep import Side, compare
from lamina.engine.threaded.eager import EagerBaselineEngine
from lamina.engine.threaded.engine import EXACT_MARGIN, ThreadedEngine
from lamina.isa.riscv import fields as f

# What is compared with handlers: regions, or baseline code. The fixture sets it for each test.
FastEngine: MakeEngine = EagerJitEngine


@pytest.fixture(autouse=True, params=[EagerJitEngine, EagerBaselineEngine], ids=["jit", "baseline"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FastEngine", request.param)


WALK = f"""
    li a0, {DATA}
    li a1, {DATA + 0x5000}
    li a2, 700
1:  lw a3, 0(a0)
    addw a3, a3, a2
    xor a4, a4, a3
    sw a3, 4(a0)
    sd a4, 0(a1)
    addi a0, a0, 12
    addi a1, a1, 8
    addi a2, a2, -1
    bnez a2, 1b
"""
ACROSS = f"""
    li a0, {DATA}
    li a2, 300
    j 1f
    .balign {PAGE_SIZE}
    .zero {PAGE_SIZE - 14}
1:  ld a3, 0(a0)
    add a4, a4, a3
    c.addi a4, 3
    sd a4, 8(a0)
    addi a0, a0, 8
    addi a2, a2, -1
    bnez a2, 1b
"""
MISALIGNED = f"""
    li a0, {DATA + 1}
    li a2, 600
1:  lhu a3, 0(a0)
    lwu a4, 3(a0)
    ld a5, -5(a0)
    add a3, a3, a4
    add a3, a3, a5
    sd a3, 7(a0)
    sh a4, 2(a0)
    addi a0, a0, 13
    addi a2, a2, -1
    bnez a2, 1b
"""
GROUPS = f"""
    li a0, {DATA + PAGE_SIZE - 200}
    li a2, 100
1:  addi a3, a3, 1
    sd a3, 0(a0)
    sd a2, 8(a0)
    ld a4, 40(a0)
    sd a4, 16(a0)
    lw a5, 9(a0)
    sd a5, 32(a0)
    addi a0, a0, 24
    ld a6, -16(a0)
    sd a6, 24(a0)
    addi a2, a2, -1
    bnez a2, 1b
"""
OFF_THE_END = f"""
    li a1, 20
2:  li a0, {END - 96}
    li a2, 20
1:  addi a3, a3, 5
    ld a4, 0(a0)
    addi a4, a4, 1
    sd a4, 8(a0)
    addi a5, a5, 7
    addi a0, a0, 8
    addi a2, a2, -1
    bnez a2, 1b
    addi a1, a1, -1
    bnez a1, 2b
"""
OFF_THE_END_IN_A_GROUP = f"""
    li a1, 60
    li a0, {END - 64}
1:  addi a3, a3, 1
    sd a3, 0(a0)
    sd a3, 8(a0)
    addi a4, a4, 3
    ld a5, 24(a0)
    sd a4, 32(a0)
    sd a5, 40(a0)
    addi a0, a0, 2
    addi a1, a1, -1
    bnez a1, 1b
"""
ATOMICS = f"""
    li a0, {DATA}
    li a2, 200
1:  addi a3, a3, 1
    amoadd.d a4, a3, (a0)
    add a5, a5, a4
    amomaxu.w a6, a2, (a0)
    lr.d a7, (a0)
    addi a7, a7, 1
    sc.d s2, a7, (a0)
    add s3, s3, s2
    addi a0, a0, 2
    addi a2, a2, -1
    bnez a2, 1b
"""
FLOATS = f"""
    li a0, {DATA}
    li a2, 300
    fcvt.d.w fa0, a2
1:  addi a3, a3, 1
    fcvt.d.w fa1, a2
    fdiv.d fa2, fa1, fa3
    fadd.d fa4, fa4, fa2
    andi a4, a2, 15
    addi a4, a4, -8
    fcvt.d.w fa3, a4
    fsqrt.d fa5, fa3
    fcvt.l.d a5, fa2, rup
    fcvt.w.s a6, fa5
    fsd fa4, 0(a0)
    fmin.d fa6, fa5, fa1
    csrrci a7, fflags, 31
    add s2, s2, a7
    addi a2, a2, -1
    bnez a2, 1b
"""
CALLS = """
    li s0, 60
1:  mv a0, s0
    call even
    add s1, s1, a0
    addi s0, s0, -1
    bnez s0, 1b
    j over
even:
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    beqz a0, 2f
    addi a0, a0, -1
    andi a0, a0, 7
    call odd
    ld s0, 0(sp)
    ld ra, 8(sp)
    addi sp, sp, 16
    ret
2:  li a0, 1
    ld ra, 8(sp)
    addi sp, sp, 16
    ret
odd:
    beqz a0, 3f
    addi a0, a0, -1
    j even
3:  ret
over:
"""
REWRITES = """
    li a2, 40
    la a3, 2f
1:  addi a4, a4, 1
2:  addi a5, a5, 1
    ld a6, 0(sp)
    andi t0, a2, 3
    bnez t0, 3f
    lw t1, 0(a3)
    li t2, 0x100000
    add t1, t1, t2
    sw t1, 0(a3)
    fence.i
3:  addi a2, a2, -1
    bnez a2, 1b
"""
DOWNWARDS = f"""
    li a0, {DATA + 0x3000 - 8}
    li a1, {DATA + 0x5003}
    li a2, 900
1:  ld a3, 0(a0)
    xor a4, a4, a3
    sd a4, -8(a0)
    sw a2, 0(a1)
    addi a0, a0, -8
    addi a1, a1, -20
    addi a2, a2, -1
    bnez a2, 1b
"""
SUMS = f"""
    li s0, 12
2:  li a0, {DATA}
    li a1, {DATA + 0x2FF8}
    li a2, 0
    li a3, 150
1:  slli a4, a2, 3
    add a4, a4, a0
    ld a5, 0(a4)
    sh1add a6, a2, a1
    lhu a7, 0(a6)
    add a5, a5, a7
    sd a5, 16(a4)
    sh a5, 2(a6)
    addi a2, a2, 3
    addi a3, a3, -1
    bnez a3, 1b
    addi s0, s0, -1
    bnez s0, 2b
"""
SEARCHES = f"""
    li a0, {DATA + 0xF80}
    li a1, 77
    sb a1, 700(a0)
    sb a1, 100(a0)
    li s0, 9
2:  mv a2, a0
1:  lbu a3, 0(a2)
    beq a3, a1, 3f
    addi a2, a2, 1
    lbu a4, 4(a2)
    sb a4, 1600(a2)
    bltu a2, a1, 4f
    j 1b
3:  addi s1, s1, 1
4:  addi a0, a0, 61
    addi s0, s0, -1
    bnez s0, 2b
"""
PROGRAMS = {
    name.lower(): source
    for name, source in list(globals().items())
    if name.isupper() and isinstance(source, str) and name != "END"
}


def sides(body: str, tables: Tables | None = None) -> tuple[Side, Side]:
    return bare_side(ThreadedEngine, body, tables), bare_side(FastEngine, body, tables)


@pytest.mark.parametrize("lengths", [(1,), (1, 9, 70), (2000, 1)], ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_state_is_exact_at_every_stop(name: str, lengths: tuple[int, ...]) -> None:
    with nothing_compiled():
        a, b = sides(PROGRAMS[name])
        try:
            assert not compare_stops(a, b, random.Random(1), 100_000, lengths)
            assert b.engine.vcpu.pc == a.engine.vcpu.pc
            assert not compare(a, b)
            if name.startswith("off") or name == "atomics":
                assert traps(b) > 10
        finally:
            a.close()
            b.close()


@pytest.mark.parametrize("name", ["walk", "across", "calls", "floats"])
def test_a_run_ends_after_exactly_its_budget(name: str) -> None:
    """Each of many budgets, one after the other, over the program again and again."""
    body = "9:\n" + PROGRAMS[name] + "\n j 9b"
    with nothing_compiled():
        a, b = sides(body)
        try:
            for budget in range(EXACT_MARGIN + 1, EXACT_MARGIN + 40):
                exits = a.engine.run(budget), b.engine.run(budget)
                assert not compare(a, b, exits)
        finally:
            a.close()
            b.close()


def test_a_run_ends_after_exactly_its_budget_in_the_longest_straight_code() -> None:
    """A page of short instructions, at whose end a region of as many as there may be is entered."""
    at = DATA
    first = (PAGE_SIZE - 100) // 2
    long = code("c.addi a0, 1\n" * (first + MAX_STRAIGHT - 5) + "ret", at)
    body = f"""
        li s5, {at}
        li s6, {at + 2 * first}
    9:  li s7, 6
    1:  jalr ra, 0(s6)
        addi s7, s7, -1
        bnez s7, 1b
        jalr ra, 0(s5)
        j 9b
    """
    budgets = random.Random(1)
    with nothing_compiled():
        a, b = (bare_side(make, body, more={at: long}) for make in (ThreadedEngine, FastEngine))
        try:
            for _ in range(60):
                budget = budgets.randrange(EXACT_MARGIN + 1, EXACT_MARGIN + 4000)
                exits = a.engine.run(budget), b.engine.run(budget)
                assert not compare(a, b, exits)
        finally:
            a.close()
            b.close()


@pytest.mark.parametrize("broken", [0, f.PTE_V, f.PTE_R | f.PTE_W, f.PTE_A, f.PTE_D, f.PTE_W])
def test_page_faults_in_loops_are_exact(broken: int) -> None:
    """Pages in turn that are fine and that are not, walked over by loops with groups."""
    tables = Tables()
    root = tables.root()
    tables.map_in_turn(root, 6, broken)
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li a0, {WINDOW + PAGE_SIZE - 128}
        li a2, 40
        li t1, {f.MPRV | 1 << f.MPP_SHIFT}
        csrs mstatus, t1
    1:  addi a3, a3, 1
        ld a4, 0(a0)
        addi a5, a5, 2
        sd a3, 8(a0)
        addi a6, a6, 3
        sd a6, 24(a0)
        ld a7, 48(a0)
        csrs mstatus, t1
        addi a0, a0, 116
        addi a2, a2, -1
        bnez a2, 1b
    """
    for lengths in ((1,), (60, 1, 5)):
        with nothing_compiled():
            a, b = sides(body, tables)
            try:
                assert not compare_stops(a, b, random.Random(2), 100_000, lengths)
                assert not compare(a, b)
                assert (traps(b) > 0) == (broken != 0)
            finally:
                a.close()
                b.close()


def test_interrupts_from_outside_are_taken_at_once() -> None:
    """A line that goes up and down at every stop; the handler counts."""
    body = f"""
        li t0, {1 << 11 | 1 << 7 | 1 << 3}
        csrs mie, t0
        csrsi mstatus, 8
        {WALK}
        {CALLS}
    """
    with nothing_compiled():
        a, b = sides(body)
        count = {id(a): 0, id(b): 0}

        def poke(side: Side) -> None:
            count[id(side)] += 1
            side.engine.vcpu.set_irq(7, count[id(side)] % 3 == 0)

        try:
            assert not compare_stops(a, b, random.Random(3), 60_000, (5, 1, 40), poke)
            assert not compare(a, b)
            assert traps(b) > 50
        finally:
            a.close()
            b.close()
