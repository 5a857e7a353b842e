"""Instructions of a loop whose results are functions of registers that are there when a pass is
over: what can be sunk to its ends.

Compilers of guests know where a register is dead; we must have it at each end of a loop. What a
pass has computed for itself only (bytes of a word that LLVM stores as a whole, both halves of a
rotation) would have to be kept for that, and computed. `writer` writes such instructions at the
ends once more, and LLVM drops the first ones if nothing in the loop reads them.
"""

from collections.abc import Sequence

from lamina.engine.jit.flow import Decoded
from lamina.ir.ops import OPS

PLAIN = frozenset(("const", "reg.get", "reg.set", "zext", "sext", "trunc"))


def sinkable(members: Sequence[Decoded], first: int) -> tuple[int, ...]:
    """Of the instructions of a pass, in order, the positions of those that can be done when it is
    over. Only the `first` so many are asked, before which no way leads out."""
    return tuple(i for i in range(first) if _is_function(members[i]) and _stays(members, i))


def _is_function(m: Decoded) -> bool:
    """Whether an instruction only makes one register of others."""
    plain = m.target is None and not m.indirect and m.falls and not m.ends
    one = m.changes == m.writes and m.changes.bit_count() == 1 and not m.changes & m.reads
    pure = all(op.name in PLAIN or OPS[op.name].pure for op in m.routine.body.walk())
    return plain and one and pure


def _stays(members: Sequence[Decoded], i: int) -> bool:
    """Whether what an instruction writes is written by no other, and what it reads not later."""
    mine, later = members[i], [m.changes for m in members[i + 1 :]]
    others = [*later, *(m.changes for m in members[:i])]
    return not any(c & mine.changes for c in others) and not any(c & mine.reads for c in later)
