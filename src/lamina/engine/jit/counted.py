"""Loops that end by a comparison of two sums of registers: how many passes are to come is known.

Only loops of one block, whose instructions all compute or access memory with constant strides.
So many passes have no way out, which leaves LLVM free to do several at once (`counted_writer`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.base.bits import U64
from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.sinking import PLAIN
from lamina.engine.jit.sums import Registers, Sum, change, value_of
from lamina.ir.graph import Op
from lamina.ir.ops import OPS

MAX_STEP = 1 << 20  # of what is compared, a pass
_STRICT = frozenset(("ne", "ult", "slt"))
_COMPARED = _STRICT | {"ule", "sle"}
_DONE = PLAIN | {"load", "store"}


@dataclass(frozen=True, slots=True)
class Count:
    """Of a loop that has just gone on to another pass: `margin`, a sum of registers at its head,
    by `step` is how many passes are sure to be followed by one more."""

    margin: Sum
    step: int


def count_of(members: Sequence[Decoded], now: Registers) -> Count | None:
    """How many passes there are of a loop of these instructions, the last of which is the branch
    to its head; `now`: the registers at the end of a pass.

    If it was taken because of a < b, and each pass moves a up or b down by constants, it is taken
    as long as these come to less than b - a: until then neither wraps around."""
    *body, branch = members
    condition = _condition(branch)
    if condition is None or not all(_is_plain(m) for m in body):
        return None
    known: dict[int, Sum | None] = {}
    for op in branch.routine.body.ops[:-1]:
        if op.results:
            known[op.results[0].number] = value_of(op, known, now)
    a, b = (known.get(v.number) for v in condition.args)
    if a is None or b is None:
        return None
    up, down = change(a, now), change(b, now)
    if up is None or down is None:
        return None
    step, margin = up - down, b.plus(a, -1)
    if condition.name == "ne":
        if step < 0:
            step, margin = -step, a.plus(b, -1)
    elif up < 0 or down > 0:
        return None
    if not 0 < step <= MAX_STEP:
        return None
    # At the head these sums are what the next pass ends with: the branch was taken a step before.
    behind = step - (condition.name in _STRICT)
    return Count(margin.plus(Sum((), behind & U64)), step)


def _condition(m: Decoded) -> Op | None:
    """The comparison that a branch depends on."""
    last = m.routine.body.ops[-1] if m.routine.body.ops else None
    if last is None or last.name != "if" or m.target is None or not m.falls or m.changes:
        return None
    then, *other = last.blocks
    if [op.name for op in then.ops][-1:] != ["jump"] or any(b.ops for b in other):
        return None
    condition = last.args[0].op
    wide = condition.name in _COMPARED and condition.args[0].width == 64
    return condition if wide else None


def _is_plain(m: Decoded) -> bool:
    """Whether an instruction only computes, or accesses memory."""
    if m.target is not None or m.indirect or m.ends or m.floats or not m.falls:
        return False
    return all(op.name in _DONE or OPS[op.name].pure for op in m.routine.body.walk())
