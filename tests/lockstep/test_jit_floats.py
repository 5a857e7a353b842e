"""Compiled regions of floats, entered with the FPU off, unused or used and in other rounding
modes: what is looked at where they are entered holds all over them."""

import random

import pytest
from bare import DATA, bare_side, traps
from machines import nothing_compiled
from stops import compare_stops

from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import compare
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.isa.riscv import fields as f

FS_SHIFT = 13
FPU = {
    "any": f"""
        srli t2, s1, 3
        andi t2, t2, 3
        slli t2, t2, {FS_SHIFT}
        csrc mstatus, s3
        csrs mstatus, t2
    """,
    "used": "nop",
}
BODY = f"""
    li s0, {DATA}
    li s3, {f.FS}
    li t0, 0x3ff0000000000001
    fmv.d.x fa0, t0
    fmv.d.x fa1, t0
    li t0, 0x3f800001
    fmv.w.x fa5, t0
    li t0, 0x40400000
    fmv.w.x fa6, t0
    li s1, 96
1:  csrs mstatus, s3
    andi t0, s1, 7
    csrw frm, t0
    {{fpu}}
    li s2, 6
    la t1, 2f
    jalr ra, 0(t1)
    addi s1, s1, -1
    bnez s1, 1b
    j done
2:  fadd.d fa0, fa0, fa1
    fmul.d fa2, fa0, fa1
    fld fa3, 0(s0)
    fadd.d fa3, fa3, fa2
    fsd fa3, 0(s0)
    fdiv.s fa4, fa5, fa6
    addi s2, s2, -1
    bnez s2, 2b
    ret
done:
"""


@pytest.mark.parametrize("lengths", [(1,), (3, 60, 900), (25, 400)], ids=str)
@pytest.mark.parametrize("fpu", ["any", "used"])
def test_floats_in_any_state_of_the_fpu(fpu: str, lengths: tuple[int, ...]) -> None:
    """Off, initial, clean and dirty, in each rounding mode, valid or not; `used`: always dirty."""
    body = BODY.format(fpu=FPU[fpu])
    with nothing_compiled():
        sides = [bare_side(make, body) for make in (ThreadedEngine, EagerJitEngine)]
        try:
            assert not compare_stops(*sides, random.Random(3), 100_000, lengths)
            assert not compare(*sides)
            assert sides[1].engine.vcpu.reg("x", 9) == 0
            assert traps(sides[1]) > 100
        finally:
            for side in sides:
                side.close()
