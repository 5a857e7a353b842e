"""Floating point as routines of integer operations: what compiled engines run.

`routine_for` gives one routine for an op of `ir.ops` at one width: it takes the op's arguments
(the rounding mode in 64 bits) and returns (value, 5-bit flags). `expand_floats` replaces the
float ops of any routine by calls of these. The meaning is that of `ir.floats`, reached another
way: machine words with guard and sticky bits, so that LLVM makes fast code of it.

The parts: `softfloat_pack` (unpacking, jamming shifts, rounding), `softfloat_arith` (add, mul,
div, sqrt, fma), `softfloat_convert` (between formats and integers), `softfloat_compare`
(comparisons, minimum and maximum).
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from lamina.ir import softfloat_arith as arith
from lamina.ir import softfloat_compare as order
from lamina.ir import softfloat_convert as convert
from lamina.ir.graph import Block, Op, Routine, Value
from lamina.ir.ops import OPS
from lamina.ir.passes import simplify
from lamina.ir.verify import verify

_MAKERS: dict[str, Callable[..., Routine]] = {
    "fadd": arith.add,
    "fsub": arith.sub,
    "fmul": arith.mul,
    "fdiv": arith.div,
    "fsqrt": arith.sqrt,
    "fma": arith.fma,
    "fcvt": convert.between,
    "f_from_int": convert.from_int,
    "f_to_int": convert.to_int,
    "frint": convert.round_to_integral,
    **{name: partial(order.compare, name) for name in ("feq", "flt", "fle")},
    **{name: partial(order.extremum, name) for name in ("fmin", "fmax")},
}
MODE_WIDTH = 64  # of the rounding mode, the last parameter of every routine


@cache
def routine_for(op_name: str, arg_width: int, **attrs: Any) -> Routine:
    """The routine of a float op whose first argument has `arg_width` bits."""
    due = set(OPS[op_name].attrs)
    if due != set(attrs):
        raise ValueError(f"{op_name} takes the attributes {sorted(due)}, not {sorted(attrs)}")
    return simplify(verify(_MAKERS[op_name](arg_width, **attrs)))


def has_floats(routine: Routine) -> bool:
    """True if this routine or one that it calls has a float op."""
    own = any(OPS[op.name].result == "float" for op in routine.body.walk())
    return own or any(has_floats(r) for r in routine.callees())


def expand_floats(routine: Routine) -> Routine:
    """The same routine with calls in place of float ops, here and in its callees.

    The original is left as it is; without any float op it is returned itself.
    """
    return _Expansion().routine(routine)


class _Expansion:
    """One run of `expand_floats`: a callee is copied once, however often it is called."""

    def __init__(self) -> None:
        self._done: dict[int, Routine] = {}

    def routine(self, old: Routine) -> Routine:
        if not has_floats(old):
            return old
        if id(old) not in self._done:
            self._done[id(old)] = self._copy(old)
        return self._done[id(old)]

    def _copy(self, old: Routine) -> Routine:
        new = Routine(old.name, (), Block(), (), list(old.variables), old.value_count)
        head = Op("params")
        values = {p.number: Value(p.number, p.width, head) for p in old.params}
        new.params = tuple(values.values())
        new.body = self._block(old.body, values, new)
        new.results = tuple(values[r.number] for r in old.results)
        return verify(new)

    def _block(self, old: Block, values: dict[int, Value], new: Routine) -> Block:
        block = Block()
        for op in old.ops:
            args = tuple(values[a.number] for a in op.args)
            copy = Op(op.name, args, dict(op.attrs))
            if OPS[op.name].result == "float":
                self._float(copy, block, new)
            elif op.name == "call":
                copy.attrs["routine"] = self.routine(op.attrs["routine"])
            copy.results = tuple(Value(r.number, r.width, copy) for r in op.results)
            values.update((r.number, r) for r in copy.results)
            copy.blocks = tuple(self._block(b, values, new) for b in op.blocks)
            block.ops.append(copy)
        return block

    @staticmethod
    def _float(op: Op, block: Block, new: Routine) -> None:
        """Turn a float op into a call; a narrower rounding mode is widened first."""
        callee = routine_for(op.name, op.args[0].width, **op.attrs)
        mode = op.args[-1]
        if mode.width < MODE_WIDTH:
            widen = Op("zext", (mode,))
            widen.results = (Value(new.value_count, MODE_WIDTH, widen),)
            new.value_count += 1
            block.ops.append(widen)
            op.args = (*op.args[:-1], widen.results[0])
        op.name, op.attrs = "call", {"routine": callee}
