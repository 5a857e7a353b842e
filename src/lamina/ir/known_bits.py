"""What is known of the single bits of a value: zero, one, or the same bit of another value.

That tells which fields of a register a write leaves alone: with new = old | 2 the bits of
old ^ new are known to be zero but for one. Asked for by `ir.partial` at comparisons with a
constant; it looks back over a few operations only.
"""

from collections.abc import Callable
from typing import NamedTuple

from lamina.base.bits import mask
from lamina.ir.folding import Known
from lamina.ir.graph import Value

DEPTH = 12  # operations to look back over


class Bits(NamedTuple):
    """Disjoint sets of bits, as masks: those that are `base`'s at the same place, ones, zeros."""

    base: Value | None
    same: int
    ones: int
    zeros: int


Memory = dict[Value, Bits]


def compare(value: Value, constant: int, memory: Memory) -> int | None:
    """1 if the value is the constant, 0 if it is not, None if that depends."""
    if value.op.name not in _RULES:
        return None
    known = bits_of(value, value.width, memory)
    if known.ones & ~constant or known.zeros & constant:
        return 0
    return 1 if known.ones | known.zeros == mask(value.width) else None


def merge(a: Value, b: Value, memory: Memory) -> Bits:
    """What is known of a | b."""
    return _or(a, bits_of(a, a.width, memory), bits_of(b, b.width, memory))


def bits_of(value: Known, width: int, memory: Memory, depth: int = DEPTH) -> Bits:
    """What is known of the bits; `memory` holds what was found before."""
    full = mask(width)
    if isinstance(value, int):
        return _constant(value, full)
    if value.op.name == "const":
        return _constant(value.op.attrs["value"], full)
    found = memory.get(value)
    if found is not None:
        return found
    rule = _RULES.get(value.op.name)
    if rule is None or not depth:
        return Bits(value, full, 0, 0)
    parts = [bits_of(a, a.width, memory, depth - 1) for a in value.op.args]
    found = memory[value] = rule(value, *parts)
    return found


def _constant(value: int, full: int) -> Bits:
    return Bits(None, 0, value, full & ~value)


def _and(value: Value, a: Bits, b: Bits) -> Bits:
    base, same = _same(a, b, a.same & b.ones, b.same & a.ones)
    return Bits(base, same, a.ones & b.ones, a.zeros | b.zeros)


def _or(value: Value, a: Bits, b: Bits) -> Bits:
    base, same = _same(a, b, a.same & b.zeros, b.same & a.zeros)
    return Bits(base, same, a.ones | b.ones, a.zeros & b.zeros)


def _same(a: Bits, b: Bits, from_a: int, from_b: int) -> tuple[Value | None, int]:
    """What the result has of a base; the bits that both have of the same one are its, too."""
    if a.base is b.base:
        return a.base, from_a | from_b | a.same & b.same
    return (a.base, from_a) if from_a else (b.base, from_b)


def _xor(value: Value, a: Bits, b: Bits) -> Bits:
    from_a, from_b = a.same & b.zeros, b.same & a.zeros
    ones = a.ones & b.zeros | a.zeros & b.ones
    zeros = a.ones & b.ones | a.zeros & b.zeros
    if a.base is b.base:
        return Bits(a.base, from_a | from_b, ones, zeros | a.same & b.same)
    return Bits(a.base, from_a, ones, zeros) if from_a else Bits(b.base, from_b, ones, zeros)


def _select(value: Value, condition: Bits, a: Bits, b: Bits) -> Bits:
    same = a.same & b.same if a.base is b.base else 0
    return Bits(a.base, same, a.ones & b.ones, a.zeros & b.zeros)


def _zext(value: Value, a: Bits) -> Bits:
    above = mask(value.width) ^ mask(value.op.args[0].width)
    return Bits(a.base, a.same, a.ones, a.zeros | above)


def _trunc(value: Value, a: Bits) -> Bits:
    full = mask(value.width)
    return Bits(a.base, a.same & full, a.ones & full, a.zeros & full)


def _shift(value: Value, a: Bits, b: Bits) -> Bits:
    full = mask(value.width)
    if b.ones | b.zeros != full or b.ones >= value.width:
        return Bits(value, full, 0, 0)
    if value.op.name == "shl":
        return Bits(None, 0, a.ones << b.ones & full, a.zeros << b.ones & full | mask(b.ones))
    return Bits(None, 0, a.ones >> b.ones, a.zeros >> b.ones | full & ~(full >> b.ones))


_RULES: dict[str, Callable[..., Bits]] = {
    "and": _and,
    "or": _or,
    "xor": _xor,
    "select": _select,
    "zext": _zext,
    "trunc": _trunc,
    "shl": _shift,
    "lshr": _shift,
}
