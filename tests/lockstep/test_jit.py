"""Random programs with everything compiled at its first run: the optimising engine against the
threaded one, which the other tests here hold to the reference."""

import pytest
from machines import BUDGET, side

from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import compare
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.testing.random_programs import Options, build, generate

SHORT = Options(snippets=25, trap_limit=60)


@pytest.mark.parametrize("seed", range(3000, 3016))
def test_compiled_regions_leave_the_same_state(seed: int) -> None:
    image = build(generate(seed, SHORT))
    a, b = side(ThreadedEngine, image), side(EagerJitEngine, image)
    try:
        exits = a.engine.run(BUDGET), b.engine.run(BUDGET)
        different = compare(a, b, exits)
        ended = a.engine.vcpu.pc == image.symbols["stop"] + 4
    finally:
        a.close()
        b.close()
    assert ended, f"seed {seed}: exit {exits[0]!r}"
    assert not different, f"seed {seed}: {different}"
