"""How long control would stay in a region that is not compiled yet: whether it is worth compiling.

To come into a region and to leave it again costs what it gains over some tens of instructions. So a
region is followed before it is compiled: a *visit* begins at one of its entries and ends where the
region would be left. The vCPU stops at each taken jump in between, so what is followed at a time is
so many instructions, one behind the other. Called by `trial`.
"""

from lamina.engine.jit.outline import Step
from lamina.engine.jit.region import Region

EVEN = 60  # instructions of a visit for which a region takes as long as baseline code does
FLOAT = 8  # instructions that one of floats counts for: a region gains so much more by it
LONG = 25 * EVEN  # that need not be followed any further
ENOUGH = 24  # visits that tell how long they are,
ENOUGH_LONG = 3 * LONG  # or instructions of them all: what is this long takes long to follow
STAYS = 5 * EVEN  # to load all registers where it begins, and store them where it ends, is little


def gain(length: float) -> float:
    """What a region gains, as a part of what it gains if it is never left."""
    return 1.0 if length >= LONG else max(0.0, 1.0 - EVEN / max(length, 1.0))


class Visits:
    """Visits to a region so far. `inside`: one is going on."""

    def __init__(self, region: Region[Step]) -> None:
        self._members = region.members
        self._jumps = frozenset(region.jumps)
        self._last: Step | None = None  # what ran last in this visit
        self.inside = False
        self.count = 0
        self.instructions = 0

    @property
    def length(self) -> float:
        """The mean length of a visit in instructions of integers; 0 if there was none."""
        return self.instructions / self.count if self.count else 0.0

    @property
    def enough(self) -> bool:
        """Whether more visits would not tell more."""
        return self.count >= ENOUGH or self.instructions >= ENOUGH_LONG or self.is_long

    @property
    def is_long(self) -> bool:
        """Whether this visit tells enough already."""
        return self.length >= LONG

    def begin(self) -> None:
        """Control has come to an entry."""
        self.count += 1
        self.inside, self._last = True, None

    def leave(self) -> None:
        """Control is elsewhere."""
        self.inside = False

    def follow(self, offset: int, count: int) -> None:
        """So many instructions ran from an offset on, one behind the other."""
        last = self._last
        if last is not None and last.computed and offset not in self._jumps:
            self.inside = False
        while self.inside and count > 0:
            self._last = m = self._members.get(offset)
            if m is None:
                self.inside = False
                return
            self.instructions += FLOAT if m.floats else 1
            self.inside = not m.ends
            offset += m.length
            count -= 1
