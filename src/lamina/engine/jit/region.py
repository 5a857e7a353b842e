"""Choosing what to compile together: a region of hot code inside one guest page.

From a hot address the region grows along the static control flow that stays in the page, up to a
number of instructions. What it cannot hold (jumps out of the page, instructions that change the
translation) is an exit back to the threaded engine. Offsets are bytes in the page.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lamina.base.bits import PAGE_SIZE, U64, signed
from lamina.engine.threaded.functions import REDISPATCH, mentions
from lamina.engine.threaded.handlers import static_jump
from lamina.ir.graph import Block, Op, Routine
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn, operand_values

MAX_INSTRUCTIONS = 400
# What a region leaves to the threaded engine: whatever must be followed by a new dispatch.
_FOREIGN = REDISPATCH | {"exit"}
_FOREIGN |= {"notify", "leave", "touch"}


@dataclass(slots=True)
class Member:
    """One instruction of a region."""

    offset: int
    length: int
    bits: int
    insn: Insn
    operands: dict[str, int]
    routine: Routine


@dataclass(slots=True)
class Region:
    """Instructions by offset; `leaders` begin a basic block; `returns` follow calls."""

    start: int
    members: dict[int, Member] = field(default_factory=dict)
    leaders: set[int] = field(default_factory=set)
    returns: set[int] = field(default_factory=set)

    @property
    def loops(self) -> bool:
        """Whether control can come back inside: only then a region surely pays."""
        for member in self.members.values():
            target = flow_of(member).target
            if target is not None and target <= member.offset and target in self.members:
                return True
        return False


class Lowerable:
    """Which instructions regions can hold, by their routines; remembered per instruction."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        self._known: dict[Insn, Routine | None] = {}

    def routine(self, insn: Insn) -> Routine | None:
        """The routine with floats expanded, or None if the instruction is left out."""
        if insn not in self._known:
            expanded = expand_floats(insn.routine)
            self._known[insn] = expanded if self._fits(expanded) else None
        return self._known[insn]

    def _fits(self, routine: Routine) -> bool:
        if mentions(routine, _FOREIGN):
            return False
        for callee in routine.callees():
            if mentions(callee, {"reg.set"}):
                return False
        indexes = [op.args[0].op.name for op in routine.body.walk() if op.name.startswith("reg.")]
        return all(name in ("operand", "const") for name in indexes)


@dataclass(slots=True)
class Flow:
    """Where control goes after an instruction: static offset, the next one, elsewhere."""

    target: int | None = None
    falls: bool = True
    indirect: bool = False


def flow_of(member: Member) -> Flow:
    """Successors of an instruction, from its jumps."""
    flow = Flow()
    for op, nested in _jumps(member.routine.body, False):
        if not nested:
            flow.falls = False
        relative = jump_offset(op, member)
        if relative is None:
            flow.indirect = True
        else:
            flow.target = member.offset + relative
    return flow


def _jumps(block: Block, nested: bool) -> Iterator[tuple[Op, bool]]:
    """Jumps with whether they are conditional."""
    for op in block.ops:
        if op.name == "jump":
            yield op, nested
        for inner in op.blocks:
            yield from _jumps(inner, True)


def jump_offset(jump: Op, member: Member) -> int | None:
    """The signed distance of a jump to pc + operand; None for other targets."""
    operand = static_jump(jump)
    return None if operand is None else signed(member.operands[operand] & U64, 64)


def form_region(arch: Arch, lowerable: Lowerable, source: bytes, start: int) -> Region | None:
    """The region that begins at `start`; None if there is nothing to compile."""
    region = Region(start)
    work = [start]
    while work and len(region.members) < MAX_INSTRUCTIONS:
        offset = work.pop(0)
        if offset in region.members:
            region.leaders.add(offset)
            continue
        region.leaders.add(offset)
        _grow(arch, lowerable, source, region, offset, work)
    if start not in region.members:
        return None
    targets = {flow_of(member).target for member in region.members.values()}
    region.leaders = {o for o in region.members if o in region.leaders or o in targets}
    region.returns = {o for o in region.returns if o in region.members}
    return region


def _grow(
    arch: Arch, lowerable: Lowerable, source: bytes, region: Region, offset: int, work: list[int]
) -> None:
    """Follow straight code from `offset`, noting where else control may go."""
    while len(region.members) < MAX_INSTRUCTIONS:
        if offset in region.members:
            region.leaders.add(offset)
            return
        member = _decode(arch, lowerable, source, offset)
        if member is None:
            return
        region.members[offset] = member
        following = offset + member.length
        flow = flow_of(member)
        if flow.target is not None and 0 <= flow.target < PAGE_SIZE:
            work.append(flow.target)
            if not flow.falls and member.operands.get("rd", 0) != 0:
                region.returns.add(following)
                work.append(following)
        if not flow.falls:
            return
        if flow.target is not None:
            region.leaders.add(following)
        offset = following


def _decode(arch: Arch, lowerable: Lowerable, source: bytes, offset: int) -> Member | None:
    low = int.from_bytes(source[offset : offset + 2], "little")
    length = arch.insn_length(low)
    if offset + length > PAGE_SIZE:
        return None
    bits = int.from_bytes(source[offset : offset + length], "little")
    form = arch.table.decode(bits, length)
    if form is None:
        return None
    routine = lowerable.routine(form.base)
    if routine is None:
        return None
    return Member(offset, length, bits, form.base, operand_values(form, bits), routine)
