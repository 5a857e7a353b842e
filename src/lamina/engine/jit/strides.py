"""Loops whose accesses go through memory with constant strides: where each pass will access is
known when the first begins.

Only simple cycles of blocks, whose every instruction is done once a pass. An address is followed as
a sum of registers at the head of the loop, with factors, and a constant; if each pass adds the same
to it, how many passes stay in a page can be computed, and these need no check (`loop_writer`).
"""

from collections import Counter
from dataclasses import dataclass

from lamina.base.bits import U64, signed
from lamina.engine.jit.counted import Count, count_of
from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.groups import Group
from lamina.engine.jit.region import Region
from lamina.engine.jit.shape import Part, loop_blocks, predecessors
from lamina.engine.jit.sinking import sinkable
from lamina.engine.jit.sums import Register, Registers, Sum, change, execute

MAX_INSTRUCTIONS = 80  # of such a loop: it is compiled twice
MAX_STRIDES = 5  # each wants a register of the host's
MAX_STEP = 1024  # bytes


@dataclass(eq=False, slots=True)
class Stride:
    """Accesses at one sum of registers, which a pass changes by `step`. The group's distances are
    from this sum at the head."""

    terms: tuple[tuple[Register, int], ...]
    step: int
    group: Group


@dataclass(eq=False, slots=True)
class Cycle:
    """A loop: its blocks from the head on, its instructions, its strides, and of which each
    instruction's access is, with the distance from its sum. `sunk`: the offsets of instructions
    that can be done when a pass is over (`sinking`). `count`: how many passes it will do, if that
    is known and it has no other way out."""

    parts: tuple[int, ...]
    length: int
    strides: list[Stride]
    accesses: dict[int, tuple[Stride, int]]
    sunk: tuple[int, ...] = ()
    count: Count | None = None

    @property
    def head(self) -> int:
        return self.parts[0]


def cycles_of(region: Region[Decoded], parts: dict[int, Part]) -> dict[int, Cycle]:
    """The loops of that kind in a region, by the offset of each of their blocks."""
    before = predecessors(parts)
    found: dict[int, Cycle] = {}
    for part in parts.values():
        for head in part.successors:
            if head > part.first or head not in region.members:
                continue
            blocks = loop_blocks(parts, before, head, part.first, MAX_INSTRUCTIONS)
            order = _in_turn(parts, head, blocks or frozenset())
            if order and not any(b in found for b in order):
                cycle = _cycle(region, parts, order)
                if cycle.strides:
                    found.update(dict.fromkeys(order, cycle))
    return found


def _in_turn(parts: dict[int, Part], head: int, blocks: frozenset[int]) -> tuple[int, ...]:
    """The blocks in the order in which they are done, if there is just one, in one set of pages and
    one small loop; else nothing."""
    order: list[int] = []
    at = head
    while blocks and at not in order:
        inside = [s for s in parts[at].successors if s in blocks]
        like = parts[at].pages == parts[head].pages and parts[at].loop is parts[head].loop
        if len(inside) != 1 or not like or parts[at].loop is None:
            return ()
        order.append(at)
        (at,) = inside
    return tuple(order) if at == head and len(order) == len(blocks) else ()


def _cycle(region: Region[Decoded], parts: dict[int, Part], order: tuple[int, ...]) -> Cycle:
    offsets = [o for b in order for o in parts[b].offsets]
    now: Registers = {}
    places: dict[int, Sum] = {}
    for offset in offsets:
        m = region.members[offset]
        if m.access is not None and not m.access.atomic:
            base = m.access.file, m.access.index
            at = now.get(base, Sum(((base, 1),)))
            if at is not None:
                places[offset] = at.plus(Sum((), m.access.distance & U64))
        execute(m, now)
    strides: dict[tuple[tuple[Register, int], ...], Stride] = {}
    counts = Counter(place.terms for place in places.values())
    accesses = {}
    for terms, _ in counts.most_common():
        step = _step(terms, now)
        if step is not None and len(strides) < MAX_STRIDES:
            strides[terms] = Stride(terms, step, Group())
    for offset, place in places.items():
        access, stride = region.members[offset].access, strides.get(place.terms)
        distance = signed(place.constant, 64)
        if access is None or stride is None:
            continue
        if stride.group.take(distance, access.size, access.write):
            accesses[offset] = (stride, distance)
    used = [s for s in strides.values() if s.group.count]
    members = [region.members[o] for o in offsets]
    sunk: tuple[int, ...] = ()
    if not any(b in region.entries for b in order[1:]):  # a pass that began there has not done it
        sunk = tuple(offsets[i] for i in sinkable(members, len(parts[order[0]].offsets)))
    walked = {o for o in offsets if region.members[o].touches} == accesses.keys()
    count = count_of(members, now) if walked and len(order) == 1 else None
    return Cycle(order, len(offsets), used, accesses, sunk, count)


def _step(terms: tuple[tuple[Register, int], ...], end: Registers) -> int | None:
    """What a pass adds to a sum, if that is a small constant."""
    step = change(Sum(terms), end)
    return step if step is not None and abs(step) <= MAX_STEP else None
