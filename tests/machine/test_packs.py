"""Packs of handlers are loaded when an instruction of theirs is first met, and just there."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.code.arena import process_arena
from lamina.engine.threaded import engine as module
from lamina.engine.threaded.engine import EXACT_MARGIN, ThreadedEngine
from lamina.engine.threaded.runtime import Runtime
from lamina.isa.asm import Assembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect

BASE = 0x8000_0000
PROGRAM = """
    addi x5, x0, 3
    sh1add x6, x5, x5
    fcvt.d.l f1, x6
    fadd.d f2, f1, f1
    fcvt.l.d x7, f2
    xperm8 x8, x5, x0
loop:
    addi x9, x9, 1
    jal x0, loop
"""
BEFORE_LOOP = 6


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedEngine]:
    """At the start of PROGRAM, with a runtime that has the core pack only."""
    fresh = Runtime(RISCV64)
    monkeypatch.setattr(module, "runtime", lambda arch: fresh)
    space = AddressSpace()
    space.add_ram(BASE, 1 << 20, "ram")
    space.write(BASE, Assembler(RISCV64.table, dialect()).program(PROGRAM, BASE).code)
    made = ThreadedEngine(RISCV64, 0, space)
    made.vcpu.reset(pc=BASE)
    made.vcpu.set("mstatus", 1 << 13)  # floating point is on
    made.state_changed()
    yield made
    made.close()


def loaded(engine: ThreadedEngine) -> set[str]:
    return set(engine._runtime._packs)


def results(engine: ThreadedEngine) -> list[int]:
    return [engine.vcpu.reg("x", n) for n in (6, 7)]


def test_packs_come_one_by_one_and_no_instruction_is_lost(engine: ThreadedEngine) -> None:
    assert loaded(engine) == {"core"}
    budget = EXACT_MARGIN + 100
    assert engine.run(budget) is Exit.LIMIT
    assert engine.vcpu.icount == budget
    assert results(engine) == [9, 18]
    assert engine.vcpu.reg("x", 9) == (budget - BEFORE_LOOP + 1) // 2
    assert loaded(engine) == {"core", "bits", "float", "crypto"}


def test_single_steps_load_packs_too(engine: ThreadedEngine) -> None:
    seen = []
    for number in range(1, BEFORE_LOOP + 1):
        assert engine.step() is Exit.LIMIT
        assert engine.vcpu.icount == number and engine.vcpu.pc == BASE + 4 * number
        seen.append(len(loaded(engine)))
    assert results(engine) == [9, 18] and seen == [1, 2, 3, 3, 3, 4]


def test_code_from_elsewhere_may_ask_for_a_routine_first(engine: ThreadedEngine) -> None:
    address = engine._runtime.resolve("r.f64_add")
    assert loaded(engine) >= {"core", "float"} and address == engine._runtime.resolve("r.f64_add")


def test_threads_that_want_a_pack_at_once_get_the_same(engine: ThreadedEngine) -> None:
    runtime = engine._runtime
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(runtime.resolve, ["r.f64_add"] * 8))
    assert len(found) == 1 and found == {runtime.resolve("r.f64_add")}


def test_code_from_the_cache_looks_at_no_instruction() -> None:
    """What instructions mean takes a while to find out, and is in the code already."""
    program = (
        "from lamina.isa.riscv import RISCV64 as arch\n"
        "from lamina.engine.threaded.runtime import runtime\n"
        "cached = runtime(arch).from_cache\n"
        "known = [f.base.name for f in arch.table.forms if 'routine' in vars(f.base)]\n"
        "print(cached, known)"
    )
    Runtime(RISCV64)  # which is in the cache now
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True []"


def test_memory_for_baseline_code_comes_back_from_engines_that_nobody_closes() -> None:
    def forget() -> None:
        ThreadedEngine(RISCV64, 0, AddressSpace())

    forget()  # the first one loads the runtime, which stays
    gc.collect()
    before = process_arena().used
    forget()
    gc.collect()
    assert process_arena().used == before
