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
    routine.body.ops = sweep(routine.body.ops, used, set())
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


def sweep(ops: list[Op], used: set[int], read: set[int]) -> list[Op]:
    """The operations without those of no effect. `used` are the values, `read` the variables, by
    number, that the operations behind these need; those needed here are added."""
    kept = []
    for op in reversed(ops):
        if op.blocks:
            if op.name == "loop":  # what its end sets, its beginning may read
                gets = (o for o in op.blocks[0].walk() if o.name == "var.get")
                read.update(o.attrs["var"].number for o in gets)
            for block in op.blocks:
                block.ops = sweep(block.ops, used, read)
            empty = op.name != "loop" and not any(block.ops for block in op.blocks)
            if empty and not op.attrs.get("rare"):
                continue  # even without operations, that a case is rare is worth knowing
        elif op.name == "var.set":
            if op.attrs["var"].number not in read:
                continue
        elif op.name in _REMOVABLE:
            if not any(r.number in used for r in op.results):
                continue
            if op.name == "var.get":
                read.add(op.attrs["var"].number)
        for arg in op.args:
            used.add(arg.number)
        kept.append(op)
    kept.reverse()
    return kept


def size(ops: list[Op]) -> int:
    """Operations, those in blocks included, constants not."""
    inner = sum(size(block.ops) for op in ops for block in op.blocks)
    return inner + sum(op.name != "const" for op in ops)
