"""Baseline code for operands that have templates of their own: registers in which there is nothing
to read or to write, one that is source and target, immediates that 8 bits hold just so or not."""

import random
from collections.abc import Callable, Iterator

import pytest
from bare import DATA, bare_side, traps
from stops import compare_stops

from lamina.engine.lockstep import compare
from lamina.engine.threaded.eager import EagerBaselineEngine
from lamina.engine.threaded.engine import ThreadedEngine

TARGETS = ("zero", "t0", "a0", "s2")
REGISTERS = (*TARGETS, "t4")
IMMEDIATES = (-2048, -1024, -136, -129, -128, -127, -1, 0, 1, 119, 120, 121, 124, 127, 128, 2047)
SUMS = ("add", "sub", "xor", "sltu", "addw", "subw", "sll", "sra", "srlw", "slt", "mul", "divu")
SHIFTS = ("slli", "srli", "srai", "slliw", "sraiw")
BRANCHES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")
LOADS, STORES = ("lb", "lhu", "lw", "lwu", "ld"), ("sb", "sh", "sw", "sd")


def sums() -> Iterator[str]:
    for name in SUMS:
        for a in REGISTERS:
            for target in TARGETS:
                yield f"{name} {target}, {a}, {REGISTERS[(len(name) + len(a)) % 5]}"
                yield f"{name} {target}, {a}, {target}"
            yield f"{name} t0, {a}, zero"


def immediates() -> Iterator[str]:
    for name in ("addi", "addiw", "andi", "xori", "slti", "sltiu"):
        for number in IMMEDIATES:
            yield f"{name} t0, t0, {number}"
            yield f"{name} a5, t4, {number}"
            yield f"{name} s2, zero, {number}"
            yield f"{name} zero, s2, {number}"
            yield f"{name} s3, t0, {number}"
    for name in SHIFTS:
        for number in (0, 1, 7, 31):
            yield f"{name} s3, s3, {number}"
            yield f"{name} a0, s3, {number}"
            yield f"{name} t0, zero, {number}"
            yield f"{name} zero, t4, {number}"


def accesses() -> Iterator[str]:
    """Alone, at a base that changes, and as groups."""
    yield f"li a0, {DATA + 0x1000}"
    yield f"li t4, {DATA + 0x3000}"
    for number in IMMEDIATES:
        for name in STORES:
            yield f"{name} s2, {number}(a0)"
            yield "add s2, s2, a0"
            yield f"{name} zero, {number}(t4)"
            yield f"{name} t4, {number + 64 if number < 1000 else number}(t4)"
            yield "addi t4, t4, 8"
        for name in LOADS:
            yield f"{name} s3, {number}(a0)"
            yield "xor t0, t0, s3"
            yield f"{name} t1, {number}(t4)"
            yield "addi t4, t4, -8"
            yield "add s4, s4, t1"
            yield f"{name} zero, {number}(a0)"


def branches() -> Iterator[str]:
    label = 100
    for name in BRANCHES:
        for a in ("zero", "a5", "s2"):
            for b in ("zero", "a5", "t4"):
                yield f"{name} {a}, {b}, {label}f"
                yield "addi s3, s3, 3"
                yield f"{label}: xori a5, a5, -1"
                label += 1


def calls() -> Iterator[str]:
    """Within a page and over its end, with and without a link."""
    yield "jal ra, 50f"
    yield "jal zero, 51f"
    yield "50: addi s3, s3, 1"
    yield "jalr zero, 0(ra)"
    yield "51: la t0, far"
    yield "jalr ra, 0(t0)"
    yield "jalr t0, 0(t0)"
    yield "la t0, far"
    yield "jal ra, far"
    yield "la t0, 52f"
    yield "jalr zero, 1(t0)"
    yield "52: add s4, s4, t0"
    yield "la ra, 53f"
    yield "jalr ra, 0(ra)"
    yield "53: add s4, s4, ra"
    yield "jal zero, farther"
    yield "home: auipc a5, 0x12345"


PARTS = (sums, immediates, accesses, branches, calls)


@pytest.mark.parametrize("part", PARTS, ids=[p.__name__ for p in PARTS])
@pytest.mark.parametrize("lengths", [(1, 3, 50), (100_000,)], ids=str)
def test_special_operands(part: Callable[[], Iterator[str]], lengths: tuple[int, ...]) -> None:
    body = "\n".join(part())
    program = f"""
        li s10, 6
    again:
        li a0, -3
        li a5, 0x12345
        li s2, -0x7654
        li t4, 77
        {body}
        {"" if part is calls else "home:"}
        addi s10, s10, -1
        beqz s10, out
        la t1, again
        jalr zero, 0(t1)
        .balign 4096
    far:
        addi s3, s3, 7
        beq t0, ra, 60f
        la t1, far
        bne t0, t1, 61f
    60: jalr zero, 0(ra)
    61: jalr zero, 0(t0)
    farther:
        la t0, home
        jalr zero, 0(t0)
    out:
        add s3, s3, s4
    """
    sides = [bare_side(make, program) for make in (ThreadedEngine, EagerBaselineEngine)]
    try:
        handlers = sides[0].engine
        assert isinstance(handlers, ThreadedEngine)
        handlers.set_baseline(None)
        assert not compare_stops(*sides, random.Random(1), 30_000, lengths)
        assert not compare(*sides)
        assert not traps(sides[1])
        assert sides[1].engine.vcpu.reg("x", 26) == 0, "it ended"
        fast = sides[1].engine
        assert isinstance(fast, ThreadedEngine)
        assert fast.statistics().baseline_blocks
    finally:
        for side in sides:
            side.close()
