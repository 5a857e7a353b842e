"""Loops whose passes are counted before they begin, and done several at once: how they end, what
registers are left, copies that overlap, accesses of all sizes, limits and traps."""

import pytest
from bare import DATA, WINDOW, Tables, satp
from both import LENGTHS, check
from test_jit_spaces import SUPERVISOR, identity

from lamina.base.bits import PAGE_SIZE
from lamina.isa.riscv import fields as f

FILL = f"""
        li a0, {DATA}
        li a1, {DATA + 3 * PAGE_SIZE}
        li a2, 0x9e3779b97f4a7c15
    9:  mul a3, a0, a2
        xor a4, a4, a3
        sd a4, 0(a0)
        addi a0, a0, 8
        bltu a0, a1, 9b
"""
SUM = f"""
        li a0, {DATA}
        li a1, {DATA + 3 * PAGE_SIZE}
    8:  ld a3, 0(a0)
        slli a4, s1, 7
        srli a5, s1, 57
        or s1, a4, a5
        add s1, s1, a3
        addi a0, a0, 8
        bltu a0, a1, 8b
        j stop
"""


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize(
    ("step", "limit", "branch"),
    [
        *[(step, 1500, "bltu a0, a2") for step in (1, 4, 7)],
        (4, 1500, "bne a0, a2"),
        (-4, -1500, "bne a2, a0"),
        (-4, -1499, "bgtu a0, a2"),
        (-8, -1600, "bgeu a0, a2"),
        (8, 1600, "bgeu a2, a0"),
        (2, 40, "bne a0, a2"),  # hardly any pass
        (2, 20, "bne a0, a2"),
        (2, 2, "bne a0, a2"),
    ],
)
def test_how_a_loop_ends(step: int, limit: int, branch: str, lengths: tuple[int, ...]) -> None:
    start = DATA + PAGE_SIZE + 24
    body = f"""
        {FILL}
        li a0, {start}
        li a2, {start + limit}
    1:  lbu a3, 0(a0)
        lb a4, 1(a0)
        mul a5, a3, a4
        sub s2, s2, a5
        sb a5, 0(a0)
        addi a0, a0, {step}
        addi s3, s3, 3
        {branch}, 1b
        {SUM}
    """
    assert check(body, lengths)[0] == 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("apart", [-64, -9, -8, -3, -1, 0, 1, 2, 7, 8, 31, 64, 4096])
def test_copies_that_overlap(size: int, apart: int) -> None:
    load, store = {1: ("lb", "sb"), 2: ("lh", "sh"), 4: ("lw", "sw"), 8: ("ld", "sd")}[size]
    body = f"""
        {FILL}
        li a0, {DATA + PAGE_SIZE - 100}
        li a1, {DATA + PAGE_SIZE - 100 + apart}
        li a2, {DATA + PAGE_SIZE - 100 + 160 * size}
    1:  {load} a3, 0(a0)
        addi a0, a0, {size}
        {store} a3, 0(a1)
        addi a1, a1, {size}
        bne a0, a2, 1b
        {SUM}
    """
    for lengths in LENGTHS:
        assert check(body, lengths)[0] == 0


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize(
    "work",
    [
        "mulw a5, a3, a4\n addw s2, s2, a5",
        "sraw a5, a3, a4\n xor s2, s2, a5",
        "div a5, a3, a4\n add s2, s2, a5",
        "remuw a5, a4, a3\n add s2, s2, a5",
        "sltu a5, a3, a4\n slli a5, a5, 3\n add s2, s2, a5",
        "mulhu a5, a3, a4\n sub s2, s2, a5",
        "mv a5, s2\n mv s2, s4\n mv s4, a5\n add s4, s4, a3",  # what a pass leaves to the next ones
        "clz a5, a3\n cpop a4, a4\n max a5, a5, a4\n add s2, s2, a5",
        "rol a5, a3, a4\n andn s2, a5, s2",
    ],
)
def test_what_passes_compute(work: str, lengths: tuple[int, ...]) -> None:
    body = f"""
        {FILL}
        li a0, {DATA + 16}
        li a1, {DATA + PAGE_SIZE}
        li a2, 700
    1:  ld a3, 0(a0)
        ld a4, 8(a1)
        {work}
        sd a5, 16(a0)
        sw s2, 0(a1)
        addi a0, a0, 8
        addi a1, a1, 4
        addi a2, a2, -1
        bnez a2, 1b
        add s1, s2, s4
        {SUM}
    """
    assert check(body, lengths)[0] == 0


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("broken", [f.PTE_V, f.PTE_A, f.PTE_D, f.PTE_W])
def test_pages_that_trap(broken: int, lengths: tuple[int, ...]) -> None:
    """Each other page; `bare` goes on behind the instruction that trapped."""
    tables = Tables()
    root = tables.root()
    identity(tables, root)
    tables.map_in_turn(root, 4, broken)
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li a0, {WINDOW + 8}
        li a2, {WINDOW + 3 * PAGE_SIZE + 408}
        {SUPERVISOR}
    1:  ld a3, 0(a0)
        add a3, a3, a0
        sd a3, 0(a0)
        addi a0, a0, 16
        addi s1, s1, 1
        bne a0, a2, 1b
        j stop
    """
    found, s1 = check(body, lengths, tables)
    assert found > 0
    assert s1 == (3 * PAGE_SIZE + 400) // 16
