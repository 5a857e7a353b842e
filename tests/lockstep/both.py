"""A small program on the optimising engine, which compiles all that it meets, beside handlers."""

import random

from bare import Tables, bare_side, traps
from machines import nothing_compiled
from stops import compare_stops

from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import compare
from lamina.engine.threaded.engine import ThreadedEngine

LENGTHS = [(1,), (60, 1, 5), (3000, 7)]  # instructions between stops, at random


def check(body: str, lengths: tuple[int, ...], tables: Tables | None = None) -> tuple[int, int]:
    """The traps, and s1, after both engines came to the end with the same state and memory."""
    with nothing_compiled():
        a, b = bare_side(ThreadedEngine, body, tables), bare_side(EagerJitEngine, body, tables)
        try:
            assert not compare_stops(a, b, random.Random(6), 200_000, lengths)
            assert not compare(a, b)
            return traps(b), b.engine.vcpu.reg("x", 9)
        finally:
            a.close()
            b.close()
