"""Accesses that share a check and lie over the end of a page: pages that follow each other in the
host and such that do not, addresses that are no multiples, pages that trap."""

import pytest
from bare import DATA, FULL, WINDOW, Tables, satp
from both import LENGTHS, check
from test_jit_spaces import SUPERVISOR, identity

from lamina.base.bits import PAGE_SIZE
from lamina.isa.riscv import fields as f


@pytest.mark.parametrize("apart", [1, 2, -1], ids=["following", "with a gap", "the other way"])
@pytest.mark.parametrize("more", range(4))  # instructions: eager engines check in turn
@pytest.mark.parametrize("step", [0, 8, -16, 2])
def test_accesses_over_the_end_of_a_page(step: int, more: int, apart: int) -> None:
    """A walk over it, and the same frame again and again."""
    body = f"""
        li s0, 60
        j 1f
        .balign 64
    1:  ld a3, 0(a0)
        addi a3, a3, 5
        sd a3, 8(a0)
        {"addi a6, a6, 1;" * more}
        lw a4, 16(a0)
        lbu a5, 27(a0)
        add a4, a4, a5
        sh a4, 30(a0)
        sw a3, -20(a0)
        lhu a5, -2(a0)
        ld a7, 20(a0)
        add s1, s1, a7
        sb a5, 40(a0)
        beqz s0, 2f
    2:  addi a0, a0, {step}
        addi s0, s0, -1
        bnez s0, 1b
    """
    for lengths in LENGTHS:
        assert check(start(body), lengths, tables(apart))[0] == 0


@pytest.mark.parametrize("broken", [f.PTE_V, f.PTE_A, f.PTE_D, f.PTE_W])
@pytest.mark.parametrize("more", range(4))
@pytest.mark.parametrize("which", [0, 1])
def test_one_of_the_two_traps(which: int, more: int, broken: int) -> None:
    body = f"""
        li s0, 40
        j 1f
        .balign 64
    1:  ld a3, 0(a0)
        ld a4, 8(a0)
        {"addi a6, a6, 1;" * more}
        add a3, a3, a4
        sd a3, 16(a0)
        sd a4, 24(a0)
        addi a0, a0, 8
        addi s0, s0, -1
        bnez s0, 1b
    """
    for lengths in LENGTHS:
        assert check(start(body), lengths, tables(2, which, broken))[0] > 0


def tables(apart: int, which: int = -1, broken: int = 0) -> Tables:
    """Two pages of the window; the second lies so many behind the first in memory."""
    made = Tables()
    root = made.root()
    identity(made, root)
    for i in range(2):
        flags = FULL & ~(broken if i == which else 0)
        made.map(root, WINDOW + i * PAGE_SIZE, DATA + (3 + apart * i) * PAGE_SIZE, flags)
    return made


def start(body: str) -> str:
    """In supervisor mode, again and again with a0 shortly before the end of the first page."""
    return f"""
        li t0, {satp(Tables().root())}
        csrw satp, t0
        sfence.vma
        li a0, {WINDOW + PAGE_SIZE - 24}
        {SUPERVISOR}
        mv s3, a0
        li s2, 20
    9:  mv a0, s3
        {body}
        addi s2, s2, -1
        bnez s2, 9b
        j stop
    """
