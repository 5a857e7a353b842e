"""Compiled regions with jumps by registers: switches, calls by pointers, far calls.

All of these also where they go somewhere else than they probably do.
"""

import random

import pytest
from bare import DATA, Tables, bare_side, code, satp
from machines import nothing_compiled
from stops import compare_stops
from test_jit_spaces import CALLEE, FIRST, LENGTHS, PAGES, SECOND, SUPERVISOR, identity

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import compare
from lamina.engine.threaded.engine import ThreadedEngine

TABLE = DATA + 0x2000
CALLED = CALLEE + 5 * PAGE_SIZE  # on another entry of the TLB than the caller
SWITCH = f"""
    li s0, {TABLE}
    la t0, case0
    sd t0, 0(s0)
    la t0, case1
    sd t0, 8(s0)
    la t0, case2
    sd t0, 16(s0)
    la t0, away
    sd t0, 24(s0)
    li s1, 400
    li s2, 12345
1:  slli t1, s2, 13
    xor s2, s2, t1
    srli t1, s2, 7
    xor s2, s2, t1
    andi t0, s2, 3
    slli t0, t0, 3
    add t0, t0, s0
    ld t0, 0(t0)
    jr t0
case0:
    addi s3, s3, 1
    sd s3, 64(s0)
    j 2f
case1:
    ld s4, 64(s0)
    addi s4, s4, 3
    sd s4, 72(s0)
2:  addi s1, s1, -1
    bnez s1, 1b
    j done
case2:
    addi s5, s5, 5
    j 2b
    .balign {PAGE_SIZE}
away:
    addi s6, s6, 7
    xor s6, s6, s2
    j 2b
done:
"""
POINTERS = f"""
    li s0, {TABLE}
    la t0, one
    sd t0, 0(s0)
    la t0, two
    sd t0, 8(s0)
    la t0, three
    sd t0, 16(s0)
    li s1, 300
    li s7, 3
1:  remu t1, s1, s7
    slli t1, t1, 3
    add t1, t1, s0
    ld t1, 0(t1)
    jalr ra, 0(t1)
    add s2, s2, a0
    addi s1, s1, -1
    bnez s1, 1b
    j done
one:
    addi a0, s1, 1
    ret
    .balign {PAGE_SIZE}
two:
    slli a0, s1, 1
    mv t5, ra
    jal ra, three
    addi a0, a0, 2
    jr t5
three:
    xori a0, a0, 99
    ret
done:
"""
# `pair` is reached from before, which makes the address that it jumps to, and from elsewhere.
FAR = """
    li s1, 200
    la s3, other
1:  auipc ra, 0
    jalr ra, 40(ra)
    addi s1, s1, -1
    beqz s1, done
    andi t0, s1, 7
    bnez t0, 1b
    addi ra, s3, -40
    j 1b+4
    nop
    nop
near:
    addi s2, s2, 1
    ret
other:
    addi s2, s2, 64
    ret
done:
"""


@pytest.mark.parametrize("lengths", [*LENGTHS, (25, 400)], ids=str)
@pytest.mark.parametrize("body", [SWITCH, POINTERS, FAR], ids=["switch", "pointers", "far"])
def test_jumps_by_registers(body: str, lengths: tuple[int, ...]) -> None:
    with nothing_compiled():
        sides = [bare_side(make, body) for make in (ThreadedEngine, EagerJitEngine)]
        try:
            assert not compare_stops(*sides, random.Random(2), 100_000, lengths)
            assert not compare(*sides)
            assert sides[1].engine.vcpu.reg("x", 9) == 0
            assert sides[1].engine.vcpu.reg("x", 18) != 0
        finally:
            for side in sides:
                side.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("call", ["jalr ra, 0(s3)", "auipc ra, {far}\n jalr ra, {near}(ra)"])
def test_what_is_called_gives_way_to_another(call: str, lengths: tuple[int, ...]) -> None:
    """The page that a pointer leads to, or a far call, is mapped to one and the other page."""
    tables = Tables()
    root = tables.root()
    identity(tables, root)
    where = tables.map(root, CALLED, FIRST)
    flip = (FIRST ^ SECOND) >> 12 << 10
    at = DATA + 0x4000
    distance = CALLED - (at + 4)
    call = call.format(
        far=distance + 0x800 >> 12 & 0xFFFFF, near=(distance + 0x800 & 0xFFF) - 0x800
    )
    caller = code(f"mv t5, ra\n {call}\n addi s7, s7, 1\n jr t5", at)
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li s3, {CALLED}
        li s4, {where}
        li s5, {flip}
        li s6, 90
        li s8, {at}
        {SUPERVISOR}
        jalr ra, 0(s3)
    2:  jalr ra, 0(s8)
        andi t0, s6, 7
        bnez t0, 3f
        ld t1, 0(s4)
        xor t1, t1, s5
        sd t1, 0(s4)
        sfence.vma
    3:  addi s6, s6, -1
        bnez s6, 2b
    """
    with nothing_compiled():
        sides = [
            bare_side(make, body, tables, {**PAGES, at: caller})
            for make in (ThreadedEngine, EagerJitEngine)
        ]
        try:
            assert not compare_stops(*sides, random.Random(4), 100_000, lengths)
            assert not compare(*sides)
            assert sides[1].engine.vcpu.reg("x", 23) == 90
        finally:
            for side in sides:
                side.close()
