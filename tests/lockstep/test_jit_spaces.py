"""Compiled regions of several pages while pages are mapped anew, address spaces change, and harts
work together."""

import random
import sys
import threading

import pytest
from bare import BASE, DATA, FULL, RAM, Tables, bare_side, code, satp
from machines import MakeEngine, nothing_compiled
from stops import compare_stops

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit import engine as jit
from lamina.engine.jit import hotspots
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import Side, compare
from lamina.engine.threaded.eager import EagerBaselineEngine
from lamina.engine.threaded.engine import EXACT_MARGIN, ThreadedEngine
from lamina.isa.riscv import fields as f
from lamina.testing.random_layout import entry

# What is compared with handlers: regions, or baseline code. The fixture sets it for each test.
FastEngine: MakeEngine = EagerJitEngine


@pytest.fixture(autouse=True, params=[EagerJitEngine, EagerBaselineEngine], ids=["jit", "baseline"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FastEngine", request.param)


CALLEE = 0x4000_0000  # where the page lies that gives way to another
FIRST, SECOND = DATA, DATA + PAGE_SIZE  # the two pages
SUPERVISOR = f"""
    li t0, {f.MPP}
    csrc mstatus, t0
    li t0, {1 << f.MPP_SHIFT}
    csrs mstatus, t0
    la t0, 1f
    csrw mepc, t0
    mret
1:
"""
# The same length, and the same instructions but for the constants.
PAGES = {
    FIRST: code("addi s1, s1, 1\n slli s2, s2, 1\n xor s2, s2, s1\n ret", CALLEE),
    SECOND: code("addi s1, s1, 64\n slli s2, s2, 3\n xor s2, s2, s1\n ret", CALLEE),
}
LENGTHS = [(1,), (3, 60, 900)]


def identity(tables: Tables, root: int) -> None:
    for at in range(BASE, BASE + RAM, PAGE_SIZE):
        tables.map(root, at, at)


def check(body: str, tables: Tables, lengths: tuple[int, ...], s1: int) -> None:
    with nothing_compiled():
        a = bare_side(ThreadedEngine, body, tables, PAGES)
        b = bare_side(FastEngine, body, tables, PAGES)
        try:
            assert not compare_stops(a, b, random.Random(4), 100_000, lengths)
            assert not compare(a, b)
            assert b.engine.vcpu.reg("x", 9) == s1
        finally:
            a.close()
            b.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("fence", ["sfence.vma", "sfence.vma s5, zero", "sinval.vma s5, zero"])
def test_a_page_of_a_region_is_mapped_anew(fence: str, lengths: tuple[int, ...]) -> None:
    """The callee's page is exchanged now and then, while the caller's region knows both."""
    tables = Tables()
    root = tables.root()
    identity(tables, root)
    leaf = tables.map(root, CALLEE, FIRST)
    one, other = entry(FIRST, FULL), entry(SECOND, FULL)
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li s3, {leaf}
        li s4, {one ^ other}
        li s5, {CALLEE}
        li s6, 200
        {SUPERVISOR}
    2:  jalr ra, 0(s5)
        jal x5, 3f
        andi t0, s6, 7
        bnez t0, 4f
        ld t1, 0(s3)
        xor t1, t1, s4
        sd t1, 0(s3)
        {fence}
    4:  addi s6, s6, -1
        bnez s6, 2b
        j stop
    3:  addi s7, s7, 1
        jr x5
    """
    check(body, tables, lengths, 97 + 103 * 64)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_loop_runs_on_into_a_page_that_is_mapped_anew(lengths: tuple[int, ...]) -> None:
    """One loop over the end of a page, whose second half is exchanged within the loop."""
    start = CALLEE - 16
    head = code("1: addi s7, s7, 1\n add s8, s8, s7\n nop\n nop", start)
    halves = {
        at: code(
            f"addi s1, s1, {step}\n andi t0, s6, 15\n bnez t0, 1f\n ld t1, 0(s3)\n xor t1, t1, s4\n"
            " sd t1, 0(s3)\n sfence.vma s5, zero\n 1: addi s6, s6, -1\n bnez s6, .-48\n jr s9",
            CALLEE,
        )
        for at, step in ((FIRST, 1), (SECOND, 64))
    }
    tables = Tables()
    root = tables.root()
    identity(tables, root)
    leaf = tables.map(root, CALLEE, FIRST)
    third = SECOND + PAGE_SIZE
    tables.map(root, CALLEE - PAGE_SIZE, third)
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li s3, {leaf}
        li s4, {entry(FIRST, FULL) ^ entry(SECOND, FULL)}
        li s5, {CALLEE}
        li s6, 160
        la s9, stop
        li t2, {start}
        {SUPERVISOR}
        jr t2
    """
    pages = {**halves, third + PAGE_SIZE - 16: head}
    with nothing_compiled():
        a = bare_side(ThreadedEngine, body, tables, pages)
        b = bare_side(FastEngine, body, tables, pages)
        try:
            assert not compare_stops(a, b, random.Random(4), 100_000, lengths)
            assert b.engine.vcpu.reg("x", 23) == 160
            assert b.engine.vcpu.reg("x", 9) == 80 + 80 * 64
        finally:
            a.close()
            b.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("fence", ["", "sfence.vma"])
@pytest.mark.parametrize("asids", [(1, 2), (0, 0)], ids=str)
def test_address_spaces_change(
    asids: tuple[int, int], fence: str, lengths: tuple[int, ...]
) -> None:
    """The callee and its data differ between two address spaces; without ASIDs a fence is due."""
    if asids[0] == asids[1] and not fence:
        fence = "sfence.vma zero, zero"
    tables = Tables()
    roots = [tables.root(), tables.root()]
    for root, page in zip(roots, (FIRST, SECOND), strict=True):
        identity(tables, root)
        tables.map(root, CALLEE, page)
        tables.map(root, CALLEE + PAGE_SIZE, page + 0x4000)
    one, other = (satp(r, a) for r, a in zip(roots, asids, strict=True))
    body = f"""
        li s3, {one}
        li s4, {one ^ other}
        csrw satp, s3
        sfence.vma
        li s5, {CALLEE}
        li s8, {CALLEE + PAGE_SIZE}
        li s6, 200
        {SUPERVISOR}
    2:  jalr ra, 0(s5)
        li t1, 3
    3:  ld t0, 0(s8)
        add t0, t0, s1
        sd t0, 0(s8)
        addi t1, t1, -1
        bnez t1, 3b
        andi t0, s6, 3
        bnez t0, 4f
        xor s3, s3, s4
        csrw satp, s3
        {fence}
    4:  addi s6, s6, -1
        bnez s6, 2b
    """
    check(body, tables, lengths, 100 + 100 * 64)


HARTS = f"""
    li s0, {DATA}
    li s1, 3000
    addi s3, s0, 256
1:  addi t1, zero, 1
2:  amoswap.w.aq t0, t1, (s0)
    bnez t0, 2b
    ld t2, 64(s0)
    addi t2, t2, 1
    sd t2, 64(s0)
    amoswap.w.rl zero, zero, (s0)
3:  lr.d t0, (s3)
    addi t0, t0, 1
    sc.d t3, t0, (s3)
    bnez t3, 3b
    addi s1, s1, -1
    bnez s1, 1b
"""
# Each waits for the other by plain loads, as kernels do.
TURNS = f"""
    li s0, {DATA}
    li s1, 60
    xori s2, a0, 1
1:  ld t0, 0(s0)
    bne t0, a0, 1b
    ld t1, 64(s0)
    addi t1, t1, 1
    sd t1, 64(s0)
    fence rw, rw
    sd s2, 0(s0)
    addi s1, s1, -1
    bnez s1, 1b
"""


def harts(make: type[ThreadedEngine], body: str) -> list[Side]:
    first = bare_side(make, body)
    second = bare_side(make, body, space=first.space, index=1)
    vcpus = [first.engine.vcpu, second.engine.vcpu]
    for side in (first, second):
        assert isinstance(side.engine, ThreadedEngine)
        side.engine.set_peers(vcpus)
    return [first, second]


def close(sides: list[Side]) -> None:
    for side in sides:
        side.engine.close()
    sides[0].space.close()


def test_two_harts_in_turn_leave_what_the_threaded_engine_leaves() -> None:
    with nothing_compiled():
        one, other = harts(ThreadedEngine, HARTS), harts(FastEngine, HARTS)
        try:
            rng = random.Random(5)
            for _ in range(60):
                hart, budget = rng.randrange(2), EXACT_MARGIN + rng.randrange(1, 800)
                exits = one[hart].engine.run(budget), other[hart].engine.run(budget)
                assert not compare(one[hart], other[hart], exits)
        finally:
            close(one)
            close(other)


@pytest.mark.parametrize(
    ("make", "body", "count"),
    [(jit.JitEngine, HARTS, 6000), (FastEngine, HARTS, 6000), (jit.JitEngine, TURNS, 120)],
    ids=["locks", "locks-eager", "turns"],
)
def test_two_harts_at_once_lose_nothing(
    make: type[jit.JitEngine], body: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hotspots, "WORTH", 0.0)
    monkeypatch.setattr(hotspots, "FIRST_LOOK", 1)
    with nothing_compiled():
        sides = harts(make, body)
        try:
            budget = 50_000_000_000
            threads = [threading.Thread(target=s.engine.run, args=(budget,)) for s in sides]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert int.from_bytes(sides[0].space.read(DATA + 64, 8), "little") == count
            for side in sides:
                assert side.engine.vcpu.icount < budget
        finally:
            close(sides)
