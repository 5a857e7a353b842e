"""How a region finds one of many places by its offset: a comparison or two, or a table.

LLVM makes a table of a switch whose cases lie close together, and a tree of comparisons of any
other, which the host predicts badly where what comes next is anybody's guess. So offsets that lie
far apart are hashed: by a multiplier for which they all lie at different places of a small table.
Called by `writer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.base.bits import U64, signed

FEW = 4  # cases that are compared one after the other
DENSE = 8  # halfwords a case, at most, where LLVM makes a table: it wants a tenth to be cases
_STEP = 0x9E37_79B9_7F4A_7C15  # odd; 2**64 by the golden ratio
_TRIES = 200  # multipliers for a size of table


@dataclass(frozen=True, slots=True)
class Hash:
    """The place of an offset: the highest `bits` of its product with `multiplier`."""

    multiplier: int
    bits: int

    def of(self, offset: int) -> int:
        return (offset * self.multiplier & U64) >> 64 - self.bits


def turned(offset: int) -> int:
    """An offset rotated to the right by one bit, as a signed number of 64 bits."""
    return signed((offset & U64) >> 1 | (offset & 1) << 63, 64)


def is_table(offsets: Sequence[int]) -> bool:
    """Whether a switch by offsets, halved, is quick as it is."""
    return len(offsets) <= FEW or max(offsets) - min(offsets) <= 2 * DENSE * len(offsets)


def perfect_hash(offsets: Sequence[int]) -> Hash:
    """A hash that tells different offsets apart."""
    bits, multiplier = max(1, (len(offsets) - 1).bit_length()), 1
    while True:
        bits += 1
        for _ in range(_TRIES):
            multiplier = multiplier + _STEP + _STEP & U64 | 1
            found = Hash(multiplier, bits)
            if len({found.of(o) for o in offsets}) == len(offsets):
                return found
