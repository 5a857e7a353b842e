"""Compiled regions beside devices, aliases of pages, equal pages, changes from outside, and exits
at traps."""

import random
import sys

import pytest
from bare import DATA, Tables, bare_side, code, satp
from machines import MakeEngine, nothing_compiled
from stops import compare_stops
from test_jit_exact import ATOMICS, CALLS, FLOATS, OFF_THE_END, OFF_THE_END_IN_A_GROUP, WALK
from test_jit_spaces import LENGTHS, SUPERVISOR, identity

from lamina.base.bits import PAGE_SIZE
from lamina.base.exits import Exit
from lamina.engine.jit import engine as jit
from lamina.engine.jit import hotspots
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import Side, compare
from lamina.engine.threaded.eager import EagerBaselineEngine
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.engine.vcpu import REQUEST_SAMPLE

# What is compared with handlers: regions, or baseline code. The fixture sets it for each test.
FastEngine: MakeEngine = EagerJitEngine


@pytest.fixture(autouse=True, params=[EagerJitEngine, EagerBaselineEngine], ids=["jit", "baseline"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FastEngine", request.param)


DEVICE = 0x1000_0000
ALIAS, OTHER = 0x4000_0000, 0x5000_0000


class Recorder:
    """A device whose reads count, and which remembers what was done to it."""

    name = "recorder"
    size = PAGE_SIZE
    access_sizes = frozenset({1, 2, 4, 8})

    def __init__(self) -> None:
        self.log: list[tuple[int, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.log.append((offset, size))
        return len(self.log) * 0x0101_0101_0101_0101 & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append((offset, size, value))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_devices_in_loops_and_groups(lengths: tuple[int, ...]) -> None:
    body = f"""
        li a0, {DEVICE}
        li a1, {DATA}
        li a2, 100
    1:  lw a3, 0(a0)
        add a4, a4, a3
        sd a4, 8(a0)
        lb a5, 3(a0)
        lhu a6, 2(a0)
        sd a4, 0(a1)
        ld a7, 8(a1)
        sb a5, 16(a1)
        ld s2, 1(a0)
        amoadd.w s3, a2, (a0)
        sw a2, 2044(a0)
        xor s4, a0, a1
        mv a1, a0
        xor a0, a1, s4
        addi a2, a2, -1
        bnez a2, 1b
    """
    with nothing_compiled():
        a, b = bare_side(ThreadedEngine, body), bare_side(FastEngine, body)
        devices = []
        for side in (a, b):
            device = Recorder()
            side.space.add_device(DEVICE, device)
            devices.append(device)
        try:
            assert not compare_stops(a, b, random.Random(1), 100_000, lengths)
            assert not compare(a, b)
            assert devices[0].log == devices[1].log
            assert len(devices[1].log) > 300
        finally:
            a.close()
            b.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_equal_pages_follow_each_other(lengths: tuple[int, ...]) -> None:
    """Control goes through three pages of the same bytes, of which each leads to the next."""
    at = DATA
    page = code(
        f"addi s1, s1, 1\n slli s2, s2, 1\n xor s2, s2, s1\n jal zero, .+{PAGE_SIZE - 12}", at
    )
    pages = {at + i * PAGE_SIZE: page for i in range(3)}
    pages[at + 3 * PAGE_SIZE] = code("ret", at)
    body = f"""
        li s5, {at}
        li s6, 80
    2:  jalr ra, 0(s5)
        andi t0, s6, 3
        bnez t0, 3f
        li t1, {at + PAGE_SIZE}
        jalr ra, 0(t1)
    3:  addi s6, s6, -1
        bnez s6, 2b
    """
    with nothing_compiled():
        sides = [bare_side(make, body, more=pages) for make in (ThreadedEngine, FastEngine)]
        try:
            assert not compare_stops(*sides, random.Random(1), 100_000, lengths)
            assert sides[1].engine.vcpu.reg("x", 9) == 80 * 3 + 20 * 2
        finally:
            for side in sides:
                side.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_page_has_another_neighbour_at_another_address(lengths: tuple[int, ...]) -> None:
    """One page of memory at two addresses; code runs on from it into different pages."""
    head, one, other = DATA, DATA + 0x2000, DATA + 0x3000
    tables = Tables()
    root = tables.root()
    identity(tables, root)
    for gva, behind in ((ALIAS, one), (OTHER, other)):
        tables.map(root, gva, head)
        tables.map(root, gva + PAGE_SIZE, behind)
    pages = {
        head + PAGE_SIZE - 8: code("addi s1, s1, 1\n slli s2, s2, 1", 0),
        one: code("addi s1, s1, 16\n xor s2, s2, s1\n ret", 0),
        other: code("addi s1, s1, 256\n sub s2, s2, s1\n ret", 0),
    }
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li s3, {ALIAS + PAGE_SIZE - 8}
        li s4, {ALIAS ^ OTHER}
        li s6, 120
        {SUPERVISOR}
    2:  jalr ra, 0(s3)
        andi t0, s6, 3
        bnez t0, 3f
        xor s3, s3, s4
    3:  addi s6, s6, -1
        bnez s6, 2b
    """
    with nothing_compiled():
        sides = [bare_side(make, body, tables, pages) for make in (ThreadedEngine, FastEngine)]
        try:
            assert not compare_stops(*sides, random.Random(1), 100_000, lengths)
            high = sides[1].engine.vcpu.reg("x", 9)
            assert high & 15 == 120 & 15
            assert high > 50 * 256
        finally:
            for side in sides:
                side.close()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_code_changes_from_outside(lengths: tuple[int, ...]) -> None:
    """As a debugger does it: an instruction within a loop that is compiled, changed at stops."""
    at = DATA
    loop = "1: addi s1, s1, 1\n xor s2, s2, s1\n addi s6, s6, -1\n bnez s6, 1b\n ret"
    words = [code(f"addi s1, s1, {step}", at) for step in (1, 7, 100)]
    body = f"li s6, 3000\n li s5, {at}\n jalr ra, 0(s5)"
    turn = {0: 0, 1: 0}

    with nothing_compiled():
        sides = [
            bare_side(make, body, more={at: code(loop, at)})
            for make in (ThreadedEngine, FastEngine)
        ]

        def poke(side: Side) -> None:
            who = sides.index(side)
            turn[who] += 1
            if turn[who] % 5 == 0:
                side.space.write(at, words[turn[who] // 5 % 3])
                assert isinstance(side.engine, ThreadedEngine)
                side.engine.state_changed()

        try:
            assert not compare_stops(*sides, random.Random(1), 100_000, lengths, poke)
            assert not compare(*sides)
            assert sides[1].engine.vcpu.reg("x", 22) == 0
            assert sides[1].engine.vcpu.reg("x", 9) > 3000
        finally:
            for side in sides:
                side.close()


@pytest.mark.parametrize(
    "body", [OFF_THE_END, OFF_THE_END_IN_A_GROUP, ATOMICS, WALK, FLOATS], ids=range(5)
)
def test_a_run_may_end_at_every_trap(body: str) -> None:
    with nothing_compiled():
        sides = [bare_side(make, body) for make in (ThreadedEngine, FastEngine)]
        try:
            for side in sides:
                assert isinstance(side.engine, ThreadedEngine)
                side.engine.watch_traps(True)
            ends = Exit.TRAP
            while ends == Exit.TRAP:
                exits = sides[0].engine.run(50_000), sides[1].engine.run(50_000)
                assert not compare(*sides, exits, memory=False)
                ends = exits[0]
            assert ends == Exit.IDLE
        finally:
            for side in sides:
                side.close()


def test_an_engine_may_be_closed_while_its_code_is_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hotspots, "WORTH", 0.0)
    monkeypatch.setattr(hotspots, "FIRST_LOOK", 1)
    monkeypatch.setattr(hotspots, "OLD_ENOUGH", 0)
    waited = 0
    with nothing_compiled():
        for i in range(8):
            body = f"li s1, {i}\n" + WALK.replace("li a2, 700", "li a2, 1000000") + CALLS
            side = bare_side(jit.JitEngine, body.replace("addi a0, a0, 12", "xori a0, a0, 16"))
            engine = side.engine
            assert isinstance(engine, jit.JitEngine)
            service = engine._compiler
            while not service._others:
                engine.vcpu.request(REQUEST_SAMPLE)
                if engine.run(20_000) != Exit.LIMIT:
                    break
            waited += bool(service._others)
            side.close()
        service.wait()
    assert waited > 0
    assert not caplog.records
