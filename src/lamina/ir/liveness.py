"""Which registers a specialised routine reads and writes: what liveness across instructions needs.

Register numbers are constants after `ir.specialise`. Compilers of guest code ask `register_uses`
for each instruction that they hold together.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from lamina.ir.graph import LEAVING, Op, Routine

Register = tuple[str, int]  # file, index


@dataclass(slots=True)
class RegisterUses:
    """The registers of one instruction.

    `reads`: read on some path before that path has written them. `writes`: written on every path
    that completes the instruction. `may_write`: written on some path. `any_of`: files of which
    any register may be read or written, by a number that is no constant. `leaves`: a path may
    abandon the instruction; what looks at the state then sees every register.
    """

    reads: set[Register] = field(default_factory=set)
    writes: set[Register] = field(default_factory=set)
    may_write: set[Register] = field(default_factory=set)
    any_of: set[str] = field(default_factory=set)
    leaves: bool = False


def register_uses(routine: Routine) -> RegisterUses:
    """The uses of a routine and of all that it calls."""
    survey = _Survey()
    end = survey.ops(routine.body.ops, set())
    completed = survey.jumps if end is None else [*survey.jumps, end]
    survey.uses.writes = set.intersection(*completed) if completed else set()
    return survey.uses


class _Survey:
    """A walk along all paths; `written` is what the path so far has surely written."""

    def __init__(self) -> None:
        self.uses = RegisterUses()
        self.jumps: list[set[Register]] = []  # what was written where a jump completes a path

    def ops(self, ops: Iterable[Op], written: set[Register]) -> set[Register] | None:
        """What is written behind these operations; None if control does not get there."""
        for op in ops:
            name = op.name
            if name in ("reg.get", "reg.set"):
                self.access(op, written)
            elif name == "call":
                after = self.ops(op.attrs["routine"].body.ops, written)
                if after is None:
                    return None
                written = after
            elif name == "loop":
                self.ops(op.blocks[0].ops, set(written))  # it may be left before any write
            elif op.blocks:
                ends = [self.ops(block.ops, set(written)) for block in op.blocks]
                reached = [end for end in ends if end is not None]
                if not reached:
                    return None
                written = set.intersection(*reached)
            elif name == "jump":
                self.jumps.append(set(written))
            elif name == "break":
                return None
            if name in LEAVING:
                self.uses.leaves = True
                if name in ("trap", "leave"):
                    return None
        return written

    def access(self, op: Op, written: set[Register]) -> None:
        index = op.args[0].op
        if index.name != "const":
            self.uses.any_of.add(op.attrs["file"])
            return
        register = op.attrs["file"], int(index.attrs["value"])
        if op.name == "reg.set":
            self.uses.may_write.add(register)
            written.add(register)
        elif register not in written:
            self.uses.reads.add(register)
