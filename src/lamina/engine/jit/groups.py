"""Accesses that share one look into the TLB: same base register, nearby, in one basic block.

A prologue that saves registers, a structure's fields, an unrolled copy: the first access checks
the whole range for all of them. Where that fails the region is left at that access, and the
threaded engine does the rest. No access at an entry is in a group, so that an entry always gets on.
Called by `writer`.
"""

from dataclasses import dataclass

from lamina.engine.jit.flow import Access
from lamina.engine.jit.region import Region
from lamina.engine.jit.shape import Part

MAX_SPAN = 2048  # bytes between the first and the last; far below the reach of the TLB's index


@dataclass(slots=True)
class Group:
    """Accesses from `low` to `high` (exclusive) about one value of a register. `base` is the name
    in the text of what the first access found: host minus guest address."""

    file: str
    index: int
    low: int
    high: int
    reads: bool
    writes: bool
    count: int = 1
    base: str = ""

    def take(self, access: Access) -> bool:
        """Add an access, if it is near enough."""
        low, high = min(self.low, access.distance), max(self.high, access.distance + access.size)
        if high - low > MAX_SPAN:
            return False
        self.low, self.high = low, high
        self.reads |= not access.write
        self.writes |= access.write
        self.count += 1
        return True


def groups_of(region: Region, part: Part, files: list[str]) -> dict[int, Group]:
    """The groups of a basic block, by the offsets of their instructions."""
    if not region.grouped:
        return {}
    found: dict[int, Group] = {}
    active: dict[tuple[str, int], Group] = {}
    for offset in part.offsets:
        member = region.members[offset]
        access = member.access
        if access is not None and offset not in region.entries:
            register = (access.file, access.index)
            group = active.get(register)
            if group is None or not group.take(access):
                low, high = access.distance, access.distance + access.size
                reads, writes = not access.write, access.write
                group = active[register] = Group(*register, low, high, reads, writes)
            found[offset] = group
        for file, index in list(active):
            if member.changes >> 64 * files.index(file) + index & 1:
                del active[file, index]
    return {offset: group for offset, group in found.items() if group.count > 1}
