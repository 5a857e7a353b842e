"""Addresses and counts of loops as sums of registers at the head, with factors, and a constant.

What an instruction makes of them is followed through the IR of the instruction. Called by `strides`
and `counted`.
"""

from dataclasses import dataclass

from lamina.base.bits import U64, signed
from lamina.engine.jit.flow import Decoded
from lamina.ir.graph import Op, Value

Register = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sum:
    """Registers, as they are at the head of a loop, with factors, plus a constant; modulo 2^64."""

    terms: tuple[tuple[Register, int], ...] = ()
    constant: int = 0

    def plus(self, other: "Sum", factor: int = 1) -> "Sum":
        """This, and another so many times."""
        found = dict(self.terms)
        for register, times in other.terms:
            found[register] = found.get(register, 0) + times * factor & U64
        terms = tuple(sorted((r, times) for r, times in found.items() if times))
        return Sum(terms, self.constant + other.constant * factor & U64)


# Registers in a pass that differ from what they are at the head; None: not known.
Registers = dict[Register, Sum | None]


def change(of: Sum, end: Registers) -> int | None:
    """What a pass adds to a sum, if that is a constant; `end`: the registers when it is over."""
    step = 0
    for register, times in of.terms:
        after = end.get(register, Sum(((register, 1),)))
        if after is None or after.terms != ((register, 1),):
            return None
        step += after.constant * times
    return signed(step & U64, 64)


def execute(m: Decoded, now: Registers) -> None:
    """What an instruction does to registers."""
    values: dict[int, Sum | None] = {}
    surely = {id(op) for op in m.routine.body.ops}
    for op in m.routine.body.walk():
        if op.name == "reg.set":
            register = op.attrs["file"], op.args[0].op.attrs["value"]
            known = values.get(op.args[1].number) if id(op) in surely else None
            now[register] = known
        elif op.results:
            values[op.results[0].number] = value_of(op, values, now)


def value_of(op: Op, values: dict[int, Sum | None], now: Registers) -> Sum | None:
    """The result of an operation, if it is such a sum."""
    if op.results[0].width != 64:
        return None
    if op.name == "const":
        return Sum((), op.attrs["value"])
    if op.name == "reg.get":
        register = op.attrs["file"], op.args[0].op.attrs["value"]
        return now.get(register, Sum(((register, 1),)))
    if op.name not in ("add", "sub", "shl"):
        return None

    def known(value: Value) -> Sum | None:
        return values.get(value.number)

    a, b = known(op.args[0]), known(op.args[1])
    if a is None or b is None:
        return None
    if op.name == "shl":
        return None if b.terms or b.constant > 63 else Sum().plus(a, 1 << b.constant)
    return a.plus(b, 1 if op.name == "add" else -1)
