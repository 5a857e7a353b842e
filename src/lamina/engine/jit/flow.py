"""Decoded instructions as regions see them: where control goes after each, and what ends a path.

Decoding is remembered by the instruction's bits: the same words occur again and again. Called by
`region` (which code belongs together) and `writer` (its LLVM text).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lamina.base.bits import U64, signed
from lamina.engine.threaded.functions import REDISPATCH, mentions
from lamina.engine.threaded.handlers import static_jump
from lamina.ir.graph import Block, Op, Routine, Value
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn, operand_values

# Operations after which a new dispatch must look at what changed.
_ENDING = REDISPATCH | {"exit"}


@dataclass(slots=True, frozen=True)
class Access:
    """The one memory access of an instruction: at register `index` of `file` plus `distance`."""

    file: str
    index: int
    distance: int
    size: int
    write: bool


@dataclass(slots=True, frozen=True)
class Decoded:
    """One instruction word. `target` is the distance of a static jump; `falls`: control may go on
    behind it; `indirect`: there is a computed jump; `links`: it leaves the address behind it in a
    register, as calls do; `ends`: a new dispatch must follow it. `reads` and `writes` are registers
    as bits: 64 for each file, in the order of the architecture's files; what is written on some
    paths only counts as read. `changes` are all registers that may be written. `access` is set if
    there is just one access to memory, at a register plus a constant."""

    bits: int
    length: int
    insn: Insn
    operands: dict[str, int]
    routine: Routine
    target: int | None
    falls: bool
    indirect: bool
    links: bool
    ends: bool
    reads: int
    writes: int
    changes: int
    access: Access | None


class Decoder:
    """Decodes instruction words of an architecture, each once."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self._files = list(arch.layout.files)
        self._known: dict[int, Decoded | None] = {}
        self._routines: dict[Insn, Routine | None] = {}

    def decode(self, bits: int, length: int) -> Decoded | None:
        """The instruction, or None if regions cannot hold it."""
        key = bits << 3 | length
        if key not in self._known:
            self._known[key] = self._decode(bits, length)
        return self._known[key]

    def _decode(self, bits: int, length: int) -> Decoded | None:
        form = self.arch.table.decode(bits, length)
        if form is None:
            return None
        insn = form.base
        if insn not in self._routines:
            self._routines[insn] = _lowerable(expand_floats(insn.routine))
        routine = self._routines[insn]
        if routine is None:
            return None
        operands = operand_values(form, bits)
        target, falls, indirect = None, True, False
        for op, nested in _jumps(routine.body, False):
            falls = falls and nested
            operand = static_jump(op)
            if operand is None:
                indirect = True
            else:
                target = signed(operands[operand] & U64, 64)
        falls = falls and not _always_leaves(routine.body)
        links = _links(routine, operands)
        ends = mentions(routine, _ENDING)
        registers = _registers(routine, operands, {f: i for i, f in enumerate(self._files)})
        return Decoded(
            *(bits, length, insn, operands, routine, target, falls, indirect, links, ends),
            *registers,
            _access(routine, operands),
        )


def _lowerable(routine: Routine) -> Routine | None:
    """The routine, if its registers are known once its operands are."""
    if any(mentions(callee, {"reg.set", "reg.get"}) for callee in routine.callees()):
        return None
    indexes = [op.args[0].op.name for op in routine.body.walk() if op.name.startswith("reg.")]
    return routine if all(name in ("operand", "const") for name in indexes) else None


def _jumps(block: Block, nested: bool) -> Iterator[tuple[Op, bool]]:
    """Jumps with whether they are conditional."""
    for op in block.ops:
        if op.name == "jump":
            yield op, nested
        for inner in op.blocks:
            yield from _jumps(inner, True)


def _always_leaves(block: Block) -> bool:
    """Whether the straight part of a block ends in a trap or an exit."""
    for op in block.ops:
        if op.name in ("trap", "leave", "exit"):
            return True
        if op.name == "if" and all(_always_leaves(b) for b in op.blocks):
            return True
    return False


def _links(routine: Routine, operands: dict[str, int]) -> bool:
    """Whether the address behind the instruction is written to a register."""
    for op in routine.body.walk():
        if op.name != "reg.set" or op.args[1].op.name != "add":
            continue
        if {v.op.name for v in op.args[1].op.args} != {"pc", "insn.length"}:
            continue
        index = op.args[0].op
        if index.name == "const" or operands.get(index.attrs["operand"], 0) != 0:
            return True
    return False


def _registers(
    routine: Routine, operands: dict[str, int], files: dict[str, int]
) -> tuple[int, int, int]:
    """(read, surely written, possibly written) registers of an instruction, as bits."""
    reads = writes = changes = 0
    sure = {id(op) for op in routine.body.ops}
    for op in routine.body.walk():
        if not op.name.startswith("reg."):
            continue
        bit = 1 << 64 * files[op.attrs["file"]] + _constant(op.args[0], operands)
        if op.name == "reg.set":
            changes |= bit
        if op.name == "reg.set" and id(op) in sure:
            writes |= bit
        else:
            reads |= bit & ~writes
    return reads, writes, changes


def _constant(value: Value, operands: dict[str, int]) -> int:
    """The value of a constant or an operand."""
    op = value.op
    return int(op.attrs["value"]) if op.name == "const" else operands[op.attrs["operand"]]


def _access(routine: Routine, operands: dict[str, int]) -> Access | None:
    """The one access of an instruction, if its address is a register plus a constant."""
    ops = [op for op in routine.body.walk() if op.name in ("load", "store", "rmw", "cas", "touch")]
    if len(ops) != 1 or ops[0].name not in ("load", "store") or ops[0] not in routine.body.ops:
        return None
    address, distance = ops[0].args[0].op, 0
    if address.name == "add":
        a, b = (v.op.name for v in address.args)
        if a != "reg.get" or b not in ("operand", "const"):
            return None
        distance = signed(_constant(address.args[1], operands) & U64, 64)
        address = address.args[0].op
    if address.name != "reg.get":
        return None
    index = _constant(address.args[0], operands)
    write = ops[0].name == "store"
    return Access(address.attrs["file"], index, distance, ops[0].attrs["size"], write)
