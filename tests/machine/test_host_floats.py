"""The guest's floating-point flags are its own, whoever computes on the host's FPU."""

from itertools import product

import pytest

from lamina.engine.threaded.hostfloat import HOST_INSTRUCTIONS
from lamina.ir.softfloat import routine_for
from lamina.testing.guests import machine

START = """
  li t0, 0x6000
  csrs mstatus, t0
  li t1, 3
  fcvt.d.w fa0, t1
  li t1, 7
  fcvt.d.w fa1, t1
"""
DEVICE = """
  li t2, 0x10000005
  lbu t3, 0(t2)
"""
END = """
  csrr a0, fflags
  li t0, 0x100000
  li t1, 0x5555
  sw t1, 0(t0)
1: j 1b
"""
INEXACT, UNDERFLOW, OVERFLOW, BY_ZERO, INVALID = 1, 2, 4, 8, 16


def flags(engine: str, body: str) -> int:
    with machine(START + body + END, engine=engine) as m:
        uart = m.board.devices["uart0"]
        read = uart.read

        def read_inexactly(offset: int, size: int) -> int:
            assert 1.0 / (offset + 3) > 0  # rounds: raises the host's inexact flag
            return read(offset, size)

        uart.read = read_inexactly  # type: ignore[method-assign]
        outcome = m.run(timeout=60)
        assert outcome.reason == "poweroff"
        return m.regs["x10"]


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        ("", 0),
        ("fmul.d fa2, fa0, fa1", 0),
        ("fdiv.d fa2, fa0, fa1", INEXACT),
        ("fdiv.d fa2, fa0, fa1, rup", INEXACT),
        ("fmv.d.x fa2, zero\n fdiv.d fa3, fa0, fa2", BY_ZERO),
        ("fmv.d.x fa2, zero\n fdiv.d fa3, fa2, fa2", INVALID),
        ("fsgnjn.d fa2, fa0, fa0\n fsqrt.d fa3, fa2", INVALID),
        ("li t1, 0x7fe0000000000000\n fmv.d.x fa2, t1\n fmul.d fa2, fa2, fa2", OVERFLOW | INEXACT),
        ("li t1, 1\n fmv.d.x fa2, t1\n fdiv.d fa3, fa2, fa0", UNDERFLOW | INEXACT),
        ("li t1, 1\n fmv.d.x fa2, t1\n fadd.d fa3, fa2, fa2", 0),
        ("fdiv.d fa2, fa0, fa1\n csrw fflags, zero", 0),
        ("fdiv.d fa2, fa0, fa1\n csrwi fflags, 8", BY_ZERO),
    ],
)
def test_flags_are_those_of_the_guests_operations(engine: str, body: str, raised: int) -> None:
    assert flags(engine, f"  {body}\n") == raised
    assert flags(engine, f"  {body}\n{DEVICE}") == raised  # Python computed in between
    assert flags(engine, f"{DEVICE}  {body}\n") == raised


def test_every_host_instruction_stands_for_a_routine() -> None:
    made = set()
    for w in (32, 64):
        for op in ("fadd", "fsub", "fmul", "fdiv", "fsqrt", "fma"):
            made.add(routine_for(op, w).name)
        made.add(routine_for("fcvt", w, width=96 - w).name)
        for i, signed in product((32, 64), (True, False)):
            made.add(routine_for("f_from_int", i, width=w, signed=signed).name)
            made.add(routine_for("f_to_int", w, width=i, signed=signed).name)
        for op, quiet in product(("feq", "flt", "fle"), (True, False)):
            made.add(routine_for(op, w, quiet=quiet).name)
        for op, numbers in product(("fmin", "fmax"), (True, False)):
            made.add(routine_for(op, w, numbers=numbers).name)
    assert set(HOST_INSTRUCTIONS) <= made
    assert len(HOST_INSTRUCTIONS) >= len(made) - 2  # a host may lack fused multiply-add
