"""Random programs: the threaded engine against the reference, and against QEMU."""

from functools import partial

import pytest
from machines import BUDGET, disassemble, memory, side

from lamina.base.exits import Exit
from lamina.engine.lockstep import compare, compare_runs, lockstep
from lamina.engine.reference.engine import ReferenceEngine
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.isa.riscv import RISCV64
from lamina.testing import random_layout as at
from lamina.testing.foreign import NEWER_THAN_7, QEMU_CPU_7, run_qemu
from lamina.testing.random_programs import Options, build, generate, shrink

GROUPS = 12
GROUP = 10  # programs a test
SHORT = Options(snippets=25, trap_limit=60)
OUTSIDE = Options(
    snippets=60, trap_limit=200, external=True, tame=True, exclude=NEWER_THAN_7 | {"Svinval"}
)


@pytest.mark.parametrize("group", range(GROUPS))
def test_free_runs_end_in_the_same_state(group: int) -> None:
    for seed in range(group * GROUP, (group + 1) * GROUP):
        image = build(generate(seed, SHORT))
        a, b = side(ReferenceEngine, image), side(ThreadedEngine, image)
        try:
            exits = a.engine.run(BUDGET), b.engine.run(BUDGET)
            different = compare(a, b, exits)
            ended = a.engine.vcpu.pc == image.symbols["stop"] + 4
        finally:
            a.close()
            b.close()
        assert ended, f"seed {seed}: exit {exits[0]!r}"
        if different:
            makers = partial(side, ReferenceEngine, image), partial(side, ThreadedEngine, image)
            found = compare_runs(*makers, BUDGET, BUDGET, disassemble)
            pytest.fail(f"seed {seed}: {found or different}")


@pytest.mark.parametrize("seed", range(1000, 1020))
def test_every_step_leaves_the_same_state(seed: int) -> None:
    image = build(generate(seed, SHORT))
    a, b = side(ReferenceEngine, image), side(ThreadedEngine, image)
    try:
        found = lockstep(a, b, 3000, disassemble)
    finally:
        a.close()
        b.close()
    assert found is None, f"seed {seed}: {found}"


@pytest.mark.parametrize("seed", range(2000, 2020))
def test_qemu_leaves_the_same_memory(seed: int) -> None:
    """Needs qemu-system-riscv64 7.2 or later; what may differ is kept out of these programs."""
    program = generate(seed, OUTSIDE)
    theirs = run_qemu(build(program, "finisher"), cpu=QEMU_CPU_7)
    ours = memory(ThreadedEngine, build(program))
    wrong = [
        hex(gpa + i)
        for gpa, size in at.COMPARED
        for i in range(0, size, 8)
        if ours[gpa][i : i + 8] != theirs[gpa][i : i + 8]
    ]
    assert not wrong, f"seed {seed}: memory differs at {', '.join(wrong[:10])}"


def test_a_difference_is_found_and_told() -> None:
    image = build(generate(1, SHORT))
    a, b = side(ReferenceEngine, image), side(ThreadedEngine, image)
    try:
        assert lockstep(a, b, 50) is None
        b.engine.vcpu.set_reg("x", 27, 0x1234)
        found = lockstep(a, b, 1, disassemble)
    finally:
        a.close()
        b.close()
    assert found is not None
    assert [name for name, *_ in found.what] == ["x27"]
    assert "reference and threaded differ" in str(found)


def test_programs_depend_on_nothing_but_the_seed() -> None:
    assert generate(7, SHORT) == generate(7, SHORT)
    assert generate(7, SHORT) != generate(8, SHORT)


def test_shrinking_keeps_what_fails() -> None:
    program = generate(3, SHORT)
    wanted = program.snippets[5]
    small = shrink(program, lambda p: wanted in p.snippets)
    assert small.snippets == (wanted,)


def test_random_programs_use_every_kind_of_form() -> None:
    """Over some seeds, nine forms of ten are decoded somewhere in a body."""
    seen: set[str] = set()
    for seed in range(40):
        for snippet in generate(seed, Options(snippets=100)).snippets:
            i = 0
            while i < len(snippet):
                length = RISCV64.insn_length(int.from_bytes(snippet[i : i + 2], "little"))
                word = int.from_bytes(snippet[i : i + length], "little")
                form = RISCV64.table.decode(word, length)
                if form is not None:
                    seen.add(form.encoding.pattern)
                i += length
    forms = {form.encoding.pattern for form in RISCV64.table.forms}
    assert len(seen & forms) > 0.9 * len(forms)


def test_the_reference_stops_after_exactly_the_budget() -> None:
    s = side(ReferenceEngine, build(generate(2, SHORT)))
    try:
        assert s.engine.run(1000) == Exit.LIMIT
        assert s.engine.vcpu.icount == 1000
        assert s.engine.run(0) == Exit.LIMIT
        assert s.engine.vcpu.icount == 1000
    finally:
        s.close()
