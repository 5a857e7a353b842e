"""The intermediate representation: values, operations, blocks and routines.

An instruction's meaning (and each shared piece of it: trap entry, page walk, CSR access) is one
`Routine`: a structured tree of operations over values of a known bit width. Every value is
defined once and used below its definition; what must survive a conditional block lives in a local
variable (`var.*` operations). `ir.build` makes routines, `ir.verify` checks them, `ir.evaluate`
defines what they mean, the engines lower them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


class Value:
    """One result of one operation: `width` bits, never negative."""

    __slots__ = ("number", "op", "width")

    def __init__(self, number: int, width: int, op: "Op") -> None:
        self.number = number
        self.width = width
        self.op = op

    def __repr__(self) -> str:
        return f"%{self.number}:{self.width}"


@dataclass(slots=True)
class Op:
    """One operation: a name of `ir.ops.OPS`, its arguments, attributes, results and blocks."""

    name: str
    args: tuple[Value, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    results: tuple[Value, ...] = ()
    blocks: tuple["Block", ...] = ()


@dataclass(slots=True)
class Block:
    """A straight list of operations, some of which hold further blocks."""

    ops: list[Op] = field(default_factory=list)

    def walk(self) -> Iterator[Op]:
        """Every operation here and in the blocks below, in program order."""
        for op in self.ops:
            yield op
            for block in op.blocks:
                yield from block.walk()


@dataclass(slots=True)
class Variable:
    """A local variable of a routine; it is zero until it is set."""

    number: int
    width: int
    name: str


@dataclass(slots=True)
class Routine:
    """A captured function: parameters, a body and the values that it returns."""

    name: str
    params: tuple[Value, ...]
    body: Block
    results: tuple[Value, ...] = ()
    variables: list[Variable] = field(default_factory=list)
    value_count: int = 0

    @property
    def may_leave(self) -> bool:
        """True if control may abandon the current instruction from inside (a trap, an exit)."""
        return any(_leaves(op) for op in self.body.walk())

    def callees(self) -> list["Routine"]:
        """The routines that this one calls, each once, in order of first call."""
        found: dict[int, Routine] = {}
        for op in self.body.walk():
            if op.name == "call":
                routine = op.attrs["routine"]
                found.setdefault(id(routine), routine)
        return list(found.values())


LEAVING = frozenset({"trap", "leave", "load", "store", "rmw", "cas", "touch"})


def _leaves(op: Op) -> bool:
    if op.name == "call":
        return bool(op.attrs["routine"].may_leave)
    return op.name in LEAVING
