"""Clean-up passes over captured routines: dead pure operations and repeated ones.

LLVM does the heavy work later; these keep the reference engine quick and golden texts short.
"""

from lamina.ir.graph import Block, Op, Routine, Value
from lamina.ir.ops import OPS

_REMOVABLE = {"const", "operand", "get", "reg.get", "pc", "insn.length", "var.get", "zext", "sext"}
_REMOVABLE |= {"trunc"} | {name for name, spec in OPS.items() if spec.pure is not None}
_REPEATABLE = _REMOVABLE - {"get", "reg.get", "var.get"}


def simplify(routine: Routine) -> Routine:
    """Remove repeated pure operations, then those whose results nobody uses; in place."""
    merged: dict[int, Value] = {}
    _merge(routine.body, {}, merged)
    routine.results = tuple(_final(r, merged) for r in routine.results)
    used: set[int] = {r.number for r in routine.results}
    _sweep(routine.body, used)
    return routine


def _final(value: Value, merged: dict[int, Value]) -> Value:
    return merged.get(id(value), value)


def _merge(block: Block, seen: dict[object, Op], merged: dict[int, Value]) -> None:
    kept = []
    for op in block.ops:
        op.args = tuple(_final(a, merged) for a in op.args)
        key = None
        if op.name in _REPEATABLE:
            attrs = tuple(sorted(op.attrs.items()))
            widths = tuple(r.width for r in op.results)
            key = (op.name, tuple(a.number for a in op.args), attrs, widths)
            earlier = seen.get(key)
            if earlier is not None:
                for old, new in zip(op.results, earlier.results, strict=True):
                    merged[id(old)] = new
                continue
            seen[key] = op
        kept.append(op)
        for inner in op.blocks:
            _merge(inner, dict(seen), merged)
    block.ops = kept


def _sweep(block: Block, used: set[int]) -> None:
    kept = []
    for op in reversed(block.ops):
        for inner in op.blocks:
            _sweep(inner, used)
        if op.name in _REMOVABLE and not any(r.number in used for r in op.results):
            continue
        used.update(a.number for a in op.args)
        kept.append(op)
    block.ops = kept[::-1]
