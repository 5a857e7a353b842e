"""Accesses that share one look into the TLB: same base register, nearby, in one basic block, or of
one instruction.

A prologue that saves registers, a structure's fields, an unrolled copy: the first access checks
the whole range for all of them. It may lie over the end of a page: if both pages are one behind
the other in the host, that makes no difference; in regions for which it often does, each access
takes one of two pages (`paired`). Where the check fails the region is left at that access, and the
threaded engine does the rest. No access at an entry is in a group, so that an entry always gets on.
Called by `writer`.
"""

from dataclasses import dataclass

from lamina.base.bits import signed
from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.region import Region
from lamina.engine.jit.shape import Part
from lamina.ir.graph import Routine

MAX_SPAN = 2048  # bytes between the first and the last; far below the reach of the TLB's index


@dataclass(slots=True)
class Group:
    """Accesses from `low` to `high` (exclusive) about one value of a register. `base` is the name
    in the text of what the first access found: a host pointer to `low`. In a `paired` group that
    holds for `room` bytes, then `beyond` points there; `align`: what the register must be a
    multiple of, so that no access lies in two pages."""

    low: int = 0
    high: int = 0
    reads: bool = False
    writes: bool = False
    count: int = 0
    base: str = ""
    paired: bool = False
    align: int = 1
    beyond: str = ""
    room: str = ""

    @property
    def span(self) -> int:
        """Bytes."""
        return self.high - self.low

    @property
    def kinds(self) -> list[bool]:
        """Of its accesses, whether they write: one or both."""
        return [False] * self.reads + [True] * self.writes

    def take(self, distance: int, size: int, write: bool) -> bool:
        """Add an access, if it is near enough."""
        low, high = distance, distance + size
        if self.count:
            low, high = min(self.low, low), max(self.high, high)
        if high - low > MAX_SPAN:
            return False
        self.low, self.high = low, high
        self.align = max(self.align, size)
        self.reads |= not write
        self.writes |= write
        self.count += 1
        return True


def groups_of(region: Region[Decoded], part: Part, files: list[str]) -> dict[int, Group]:
    """The groups of a basic block, by the offsets of their instructions."""
    paired = not region.grouped
    found: dict[int, Group] = {}
    active: dict[tuple[str, int], Group] = {}
    for offset in part.offsets:
        member = region.members[offset]
        access = member.access
        if access is not None and paired and access.distance % access.size:
            access = None
        if access is not None and not access.atomic and offset not in region.entries:
            register = (access.file, access.index)
            group = active.setdefault(register, Group(paired=paired))
            if not group.take(access.distance, access.size, access.write):
                group = active[register] = Group(paired=paired)
                group.take(access.distance, access.size, access.write)
            found[offset] = group
        for file, index in list(active):
            if member.changes >> 64 * files.index(file) + index & 1:
                del active[file, index]
    return {offset: group for offset, group in found.items() if group.count > 1}


def group_within(routine: Routine) -> tuple[Group, dict[int, int]] | None:
    """The group of an instruction that makes several accesses about one address, and the distance
    of each by the identity of its operation; None if it is not of that kind."""
    group, distances, about = Group(), {}, None
    for op in routine.body.walk():
        if op.name not in ("load", "store"):
            continue
        address, distance = op.args[0], 0
        if address.op.name == "add" and address.op.args[1].op.name == "const":
            distance = signed(address.op.args[1].op.attrs["value"], 64)
            address = address.op.args[0]
        about = about or address
        if address is not about or not group.take(distance, op.attrs["size"], op.name == "store"):
            return None
        distances[id(op)] = distance
    return (group, distances) if group.count > 1 else None
