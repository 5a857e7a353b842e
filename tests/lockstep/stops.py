"""Stopping an optimising engine anywhere: its state there is the one of an engine that steps.

`run` ends with single steps, which hides what the fast code left behind. `compare_stops` makes
short fast runs instead, each of which ends where the fast code itself gives up control, and brings
the other side to the same number of instructions.
"""

import random
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from lamina.base.exits import Exit
from lamina.engine.lockstep import Side, compare
from lamina.engine.threaded.layout import SAMPLE
from lamina.engine.vcpu import ALWAYS_PENDING, VCpu
from lamina.isa.arch import Arch


@runtime_checkable
class Stoppable(Protocol):
    """An engine of the kind that makes code for the guest."""

    arch: Arch
    vcpu: VCpu

    def run_for(self, budget: int) -> int:
        """Run to the first boundary behind so many instructions; the runtime's exit code."""

    def compile_here(self) -> None:
        """Make code for where it is."""

    def _served(self, code: int) -> bool: ...


Difference = tuple[str, int, int]


def compare_stops(
    a: Side,
    b: Side,
    rng: random.Random,
    limit: int,
    lengths: tuple[int, ...],
    poke: Callable[[Side], None] = lambda side: None,
) -> list[Difference]:
    """What differs at the first stop where anything does; `b` is the optimising side. Both end
    when the guest waits, or after `limit` instructions. `poke` is done to both at each stop."""
    engine = b.engine
    assert isinstance(engine, Stoppable)
    pending = engine.arch.layout.index["pending"]
    while engine.vcpu.icount < limit:
        engine.vcpu.words[pending] = ALWAYS_PENDING
        code = engine.run_for(rng.choice(lengths))
        if code not in (Exit.LIMIT, SAMPLE):
            if not engine._served(code):
                return _catch_up(a, b, (Exit(code),)) if code == Exit.IDLE else []
            continue
        found = _catch_up(a, b, ())
        if found:
            return found
        engine.compile_here()
        poke(a)
        poke(b)
    return []


def _catch_up(a: Side, b: Side, ended: tuple[Exit, ...]) -> list[Difference]:
    due = b.engine.vcpu.icount
    exits = {a.engine.run(due - a.engine.vcpu.icount)} if due > a.engine.vcpu.icount else set()
    # Exceptions and interrupts that were taken since then retire nothing.
    for _ in range(4):
        if a.engine.vcpu.pc == b.engine.vcpu.pc or a.engine.vcpu.icount != due:
            break
        exits.add(a.engine.step())
    if a.engine.vcpu.icount == due + 1:
        # Asked for a sample right behind an interrupt, the other side stopped before it went on.
        b.engine.step()
    found = compare(a, b, memory=False)
    if found or not ended:
        return found
    return compare(a, b)
