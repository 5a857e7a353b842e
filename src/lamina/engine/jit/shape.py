"""The shape of a region: its basic blocks, its loops, and what is known at the start of each.

Three analyses over the blocks: which registers may have been written but not stored to the state,
which ones may be read before they are written (an entry loads only these), and which of the
region's pages have surely been checked (control that moves into another page must check that it is
the one that was compiled). Small loops are set apart. Called by `writer`.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from lamina.base.bits import PAGE_SHIFT
from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.region import Region

MAX_LOOP = 120  # instructions
MAX_BASES = 4  # of which the page is remembered: more want more registers than the host has
MAX_LOOP_STORES = 400  # that leaving it on all its ways takes


@dataclass(eq=False, slots=True)
class Loop:
    """A small loop: its blocks by first offset, the registers that it writes, all that it has to do
    with, and by which ones it accesses memory most."""

    parts: frozenset[int]
    writes: int
    uses: int = 0
    bases: frozenset[tuple[str, int]] = frozenset()


@dataclass(slots=True)
class Part:
    """A basic block: straight instructions that need the same pages."""

    first: int
    offsets: list[int]
    pages: frozenset[int]
    successors: list[int] = field(default_factory=list)
    reads: int = 0  # registers (bits as in Decoded) read before they are written
    writes: int = 0
    live: int = 0
    dirty: int = 0  # registers that the state may lack here: variables have them
    known: frozenset[int] = frozenset()
    changes: int = 0  # registers that may be written
    accesses: int = 0  # instructions that access memory
    loop: Loop | None = None


def pages_of(offset: int, member: Decoded) -> frozenset[int]:
    """The pages in which an instruction lies: two if it crosses."""
    return frozenset((offset >> PAGE_SHIFT, (offset + member.length - 1) >> PAGE_SHIFT))


# The offsets of the blocks that all returns and all other computed jumps go through, behind all
# others.
RETURNS, JUMPS = 1 << 40, 1 << 41


def parts_of(region: Region[Decoded], late: bool = False) -> dict[int, Part]:
    """The blocks by first offset, in the order of their addresses, with all analyses done; the
    last ones are the empty blocks `RETURNS` and `JUMPS`, which send what has no static target to
    where it goes. `late`: registers are stored where the region is left; else only small loops
    keep back what they write."""
    parts = _cut(region)
    for part in parts.values():
        _link(region, part)
    parts[RETURNS] = Part(RETURNS, [], frozenset(), region.behind_calls)
    parts[JUMPS] = Part(JUMPS, [], frozenset(), list(dict.fromkeys(region.jumps)))
    _find_loops(region, parts, late)
    if late:
        _find_dirty(parts)
    for part in parts.values():
        if part.loop is not None and not late:
            part.dirty = part.loop.writes
        part.reads |= part.dirty  # to be stored where control leaves
    _find_live(parts)
    _find_known(region, parts)
    return parts


def _leaders(region: Region[Decoded]) -> set[int]:
    leaders = {*region.entries, *region.jumps}
    for offset, after in pairwise([*sorted(region.members), RETURNS]):
        m = region.members[offset]
        following = offset + m.length
        if following != after:  # there is a gap, or an instruction begins within this one
            leaders.add(following)
        if m.target is not None:
            leaders.add(offset + m.target)
        if m.target is not None or m.ends or m.indirect or not m.falls:
            leaders.add(following)
    return leaders


def _cut(region: Region[Decoded]) -> dict[int, Part]:
    leaders, parts = _leaders(region), {}
    part: Part | None = None
    expected = None
    for offset in sorted(region.members):
        m = region.members[offset]
        pages = pages_of(offset, m)
        if part is None or offset in leaders or offset != expected or pages != part.pages:
            part = parts[offset] = Part(offset, [], pages)
        part.offsets.append(offset)
        part.reads |= m.reads & ~part.writes
        part.writes |= m.writes
        part.changes |= m.changes
        part.accesses += m.access is not None
        expected = offset + m.length
    return parts


def _link(region: Region[Decoded], part: Part) -> None:
    last = part.offsets[-1]
    m = region.members[last]
    found = []
    if m.target is not None:
        found.append(last + m.target)
    if m.falls and not m.ends:
        found.append(last + m.length)
    part.successors = [f for f in found if f in region.members]
    by = switch_of(m)
    if by is not None:
        part.successors.append(by)


def switch_of(m: Decoded) -> int | None:
    """The block that an instruction's jump goes through, if it has no static target."""
    if not m.indirect or m.ends or (m.links and not m.computed):
        return None
    return JUMPS if m.computed else RETURNS


def late_stores(parts: dict[int, Part]) -> int:
    """How many stores it takes, about, to store registers only where a region may be left."""
    return sum(
        (part.dirty | part.changes).bit_count() * (part.accesses + 1) for part in parts.values()
    )


def _find_loops(region: Region[Decoded], parts: dict[int, Part], late: bool) -> None:
    """Set small loops apart, the largest that are small enough first."""
    before = predecessors(parts)
    found = []
    for part in parts.values():
        for head in part.successors:
            if head <= part.first:
                blocks = loop_blocks(parts, before, head, part.first, MAX_LOOP)
                if blocks is not None:
                    found.append(blocks)
    for blocks in sorted(found, key=len, reverse=True):
        if any(parts[b].loop for b in blocks):
            continue
        changes, ways = 0, 1
        for b in blocks:
            changes |= parts[b].changes
            ways += parts[b].accesses + sum(s not in blocks for s in parts[b].successors)
        if not late and changes.bit_count() * ways > MAX_LOOP_STORES:
            continue
        offsets = [o for b in sorted(blocks) for o in parts[b].offsets]
        accesses = [a for o in offsets if (a := region.members[o].access) is not None]
        bases = Counter((a.file, a.index) for a in accesses).most_common(MAX_BASES)
        uses = changes
        for o in offsets:
            uses |= region.members[o].reads
        loop = Loop(blocks, changes, uses, frozenset(base for base, _ in bases))
        for b in blocks:
            parts[b].loop = loop


def predecessors(parts: dict[int, Part]) -> dict[int, list[int]]:
    """From where each block is reached."""
    before: dict[int, list[int]] = {first: [] for first in parts}
    for part in parts.values():
        for s in part.successors:
            before[s].append(part.first)
    return before


def loop_blocks(
    parts: dict[int, Part], before: dict[int, list[int]], head: int, tail: int, most: int
) -> frozenset[int] | None:
    """The blocks from which the jump at `tail` back to `head` is reached without passing `head`;
    None if they have too many instructions, or returns are among them."""
    blocks, work, size = {head}, [tail], len(parts[head].offsets)
    while work:
        b = work.pop()
        if b in blocks:
            continue
        blocks.add(b)
        size += len(parts[b].offsets)
        if b == RETURNS or size > most:
            return None
        work += before[b]
    return frozenset(blocks) if size <= most else None


def _find_dirty(parts: dict[int, Part]) -> None:
    """Which registers may have been written since the region was entered."""
    work = [first for first, part in parts.items() if part.changes]
    while work:
        part = parts[work.pop()]
        out = part.dirty | part.changes
        for s in part.successors:
            if out & ~parts[s].dirty:
                parts[s].dirty |= out
                work.append(s)


def _find_live(parts: dict[int, Part]) -> None:
    order = list(parts.values())[::-1]
    changed = True
    while changed:
        changed = False
        for part in order:
            out = 0
            for s in part.successors:
                out |= parts[s].live
            live = part.reads | out & ~part.writes
            if live != part.live:
                part.live, changed = live, True


def _find_known(region: Region[Decoded], parts: dict[int, Part]) -> None:
    everything = frozenset(region.pages)
    for part in parts.values():
        part.known = everything
    for entry in region.entries:
        parts[entry].known = parts[entry].pages
    work = list(region.entries)
    while work:
        part = parts[work.pop()]
        for s in part.successors:
            after = parts[s]
            known = after.known & (part.known | after.pages)
            if known != after.known:
                after.known = known
                work.append(s)
    # Blocks that nothing reaches keep only what they need themselves.
