"""What is usually so of the state in all of a region: that the FPU is on and marked as used, that
rounding is to nearest.

Instructions tell some cases to be rare; where such a case depends on the state alone, and nothing
in the region changes that, its condition is looked at once, where the region is entered: where it
holds, the region is not for now. Only regions that mostly ask for it are worth that. Called by
`writer`.
"""

from collections.abc import Iterator

from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.region import Region
from lamina.engine.threaded.functions import mentions
from lamina.engine.threaded.hostfloat import HOST_INSTRUCTIONS
from lamina.ir.graph import Block, Routine, Value
from lamina.ir.ops import OPS

SHARE = 6  # one of so many instructions asks
ANY = "*"  # of the slots


def rare_conditions(region: Region[Decoded]) -> list[Value]:
    """Conditions that must not hold where the region is entered, and then hold nowhere in it."""
    found: dict[object, Value] = {}
    asking, changed = 0, set[str]()
    for member in region.members.values():
        conditions = dict(_conditions(member.routine))
        asking += bool(conditions)
        found.update(conditions)
        if not member.ends:
            changed |= _changed(member.routine.body, {v.number for v in conditions.values()})
    if asking * SHARE < len(region.members) or ANY in changed:
        return []
    return [c for c in found.values() if not _slots(c) & changed]


def _conditions(routine: Routine) -> Iterator[tuple[object, Value]]:
    """The rare cases of an instruction that depend on the state alone."""
    for op in routine.body.ops:
        if op.name == "if" and op.attrs.get("rare"):
            key = _key(op.args[0])
            if key is not None and _slots(op.args[0]):
                yield key, op.args[0]


def _key(value: Value) -> object:
    """What tells an expression of slots and constants from another; None for any other value."""
    op = value.op
    if op.name == "const":
        return op.attrs["value"]
    if op.name == "get":
        return "get", op.attrs["slot"]
    parts: list[object] = []
    for argument in op.args:
        parts.append(_key(argument))
        if parts[-1] is None:
            return None
    return (op.name, value.width, *parts) if parts and OPS[op.name].pure is not None else None


def _slots(value: Value) -> set[str]:
    """The slots that an expression depends on."""
    if value.op.name == "get":
        return {value.op.attrs["slot"]}
    return {slot for a in value.op.args for slot in _slots(a)}


def _changed(block: Block, rare: set[int]) -> set[str]:
    """The slots that a block may change where none of the conditions, by their numbers, holds."""
    changed: set[str] = set()
    for op in block.ops:
        if op.name == "set":
            changed.add(op.attrs["slot"])
        elif op.name == "call":
            routine = op.attrs["routine"]
            if routine.name not in HOST_INSTRUCTIONS and mentions(routine, {"set"}):
                changed.add(ANY)
        unusual = op.name == "if" and op.args[0].number in rare
        for inner in op.blocks[1:] if unusual else op.blocks:
            changed |= _changed(inner, rare)
    return changed
