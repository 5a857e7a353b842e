"""What is known of a pure operation before it runs: constants, identities, single bits.

Used by `ir.specialise` for each operation that it makes; the meaning of operations is `ir.ops`.
"""

from collections.abc import Callable
from typing import Any

from lamina.base.bits import mask
from lamina.ir.graph import Value
from lamina.ir.ops import OPS

Known = int | Value  # a constant, or a value of the routine

FOLD: dict[str, Callable[..., Any]] = {
    name: spec.pure for name, spec in OPS.items() if spec.pure is not None
}
COMMUTATIVE = frozenset({"add", "mul", "and", "or", "xor", "eq", "ne"})
COMPARISONS = frozenset(name for name, spec in OPS.items() if spec.result == "bool")
_UNCHANGED_BY_ZERO = frozenset({"add", "sub", "or", "xor", "shl", "lshr", "ashr"})
_ZERO_BY_ZERO = frozenset({"and", "mul", "ult"})
_ZERO_OF_ZERO = frozenset({"shl", "lshr", "ashr", "urem"})
_OF_SAME: dict[str, int | None] = {"sub": 0, "xor": 0, "eq": 1, "ne": 0, "ult": 0, "ule": 1}
_OF_SAME |= {"slt": 0, "sle": 1, "and": None, "or": None}  # None: the argument itself


def fold(name: str, width: int, a: Known, b: Known) -> Known | None:
    """The result of a binary operation over `width` bits if it need not be made. A constant
    argument of a commutative operation is the right one."""
    if isinstance(b, int):
        if isinstance(a, int):
            result: int = FOLD[name](width, a, b)
            return result
        return _with_right(name, width, a, b)
    if a is b and name in _OF_SAME:
        same = _OF_SAME[name]
        return a if same is None else same
    if a == 0:
        return 0 if name in _ZERO_OF_ZERO else 1 if name == "ule" else None
    return None


def _with_right(name: str, width: int, a: Value, b: int) -> Known | None:
    """The result if the right side is the constant `b`."""
    if b == 0:
        if name in _UNCHANGED_BY_ZERO or (name == "ne" and width == 1):
            return a
        return 0 if name in _ZERO_BY_ZERO else None
    if b == mask(width):
        if name == "and" or (name == "eq" and width == 1):
            return a
        return b if name == "or" else 1 if name == "ule" else None
    if b >= width and name in ("shl", "lshr"):
        return 0
    return a if b == 1 and name in ("mul", "udiv") else None
