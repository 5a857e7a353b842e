"""What a sample tells of code that a compiled region was left to."""

import pytest
from bare import BASE, DATA, WINDOW, Tables, bare_side, satp
from machines import nothing_compiled
from test_jit_spaces import SUPERVISOR, identity

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.jit.hotspots import PageOf, Spot


def test_where_a_region_is_left_in_its_middle_another_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop whose accesses lie over the end of a page, behind which another lies in memory."""
    tables = Tables()
    root = tables.root()
    identity(tables, root)
    for i in range(2):
        tables.map(root, WINDOW + i * PAGE_SIZE, DATA + 2 * i * PAGE_SIZE)
    body = f"""
        li t0, {satp(root)}
        csrw satp, t0
        sfence.vma
        li a0, {WINDOW + PAGE_SIZE - 8}
        li s0, 300
        {SUPERVISOR}
    1:  addi a6, a6, 1
        ld a3, 0(a0)
        ld a4, 8(a0)
        add a5, a3, a4
        addi s0, s0, -1
        bnez s0, 1b
    """
    with nothing_compiled():
        side = bare_side(EagerJitEngine, body, tables)
        engine = side.engine
        assert isinstance(engine, EagerJitEngine)
        sample, found = engine._spots.sample, dict[int, Spot | None]()

        def note(pc: int, page_of: PageOf, weight: int = 1, middle: bool = False) -> Spot | None:
            spot = sample(pc, page_of, weight, middle)
            if middle:
                found.setdefault(pc, spot)
                assert spot is None or spot.takes_over
            return spot

        monkeypatch.setattr(engine._spots, "sample", note)
        try:
            engine.run(50_000)
            assert engine.vcpu.reg("x", 8) == 0
            (place,) = found  # behind the first access of the group
            assert found[place] is not None
        finally:
            side.close()


@pytest.mark.parametrize("left", [True, False])
def test_a_return_inside_of_a_region_that_was_left_for_a_sample_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    """Control is behind a call of the region's; it comes back to the region soon."""
    body = """
        li s0, 300
    1:  call f
        addi a6, a6, 1
        addi s0, s0, -1
        bnez s0, 1b
        j stop
    f:  addi a5, a5, 1
        ret
    """
    with nothing_compiled():
        side = bare_side(EagerJitEngine, body)
        engine = side.engine
        assert isinstance(engine, EagerJitEngine)
        try:
            engine.run(50_000)
            assert engine.vcpu.reg("x", 8) == 0
            ((behind,),) = engine._compiler.library._returns.values()
            counted = list[int]()
            monkeypatch.setattr(engine._spots, "sample", lambda pc, *rest: counted.append(pc))
            engine.vcpu.words[engine.layout.at["left_to"] // 8] = (BASE + behind) * left
            engine._sample(BASE + behind)
            assert counted == ([] if left else [BASE + behind])
        finally:
            side.close()
