"""Decoded instructions as regions see them: where control goes after each, and what ends a path.

Decoding is remembered by the instruction's bits: the same words occur again and again. Called by
`region` (which code belongs together) and `writer` (its LLVM text).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lamina.base.bits import U64, signed
from lamina.engine.threaded.functions import REDISPATCH, mentions
from lamina.engine.threaded.handlers import ACCESSES, restartable
from lamina.engine.threaded.hostfloat import HOST_INSTRUCTIONS
from lamina.ir.graph import Block, Op, Routine
from lamina.ir.softfloat import expand_floats
from lamina.ir.specialise import Specialiser
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn, operand_values

# A place: a register of a file, and a distance from it, or from the pc.
Place = tuple[str, int, int]

# Operations after which a new dispatch must look at what changed.
ENDING = REDISPATCH | {"exit"}


@dataclass(slots=True, frozen=True)
class Access:
    """The one memory access of an instruction: at register `index` of `file` plus `distance`.
    `atomic`: it reads and writes at once."""

    file: str
    index: int
    distance: int
    size: int
    write: bool
    atomic: bool = False


@dataclass(slots=True, frozen=True)
class Decoded:
    """One instruction word. `target` is the distance of a static jump; `falls`: control may go on
    behind it; `indirect`: there is a jump to an address from a register, `computed`: which is no
    return; `links`: it leaves the address behind it in a register, as calls do; `ends`: a new
    dispatch must follow it. `reads` and `writes` are registers as bits: 64 for each file, in the
    order of the architecture's files; what is written on some paths only counts as read. `changes`
    are all registers that may be written. `makes`: it puts the pc plus a distance into a register;
    `by`: where its jump goes. `access` is set if there is just one access to memory, at a register
    plus a constant. `restartable`: it may be begun again where a rare case comes up, because
    nothing was changed before. `floats`: it has to do with registers of floats."""

    bits: int
    length: int
    routine: Routine
    target: int | None
    falls: bool
    indirect: bool
    computed: bool
    links: bool
    ends: bool
    reads: int
    writes: int
    changes: int
    makes: Place | None
    by: Place | None
    access: Access | None
    restartable: bool
    floats: bool

    @property
    def touches(self) -> bool:
        """Whether it accesses memory."""
        return mentions(self.routine, ACCESSES)

    def to(self, distance: int) -> "Decoded":
        """The same, whose computed jump probably goes so far."""
        return replace(self, target=distance, indirect=False, computed=False)


class Decoder:
    """Decodes instruction words of an architecture, each once."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self._files = list(arch.layout.files)
        self._floating = floating_files(arch)
        zero = tuple(f.name for f in arch.layout.files.values() if f.zero)
        apart = ("pc", arch.flags_slot)
        self._specialiser = Specialiser(zero_files=zero, keep=HOST_INSTRUCTIONS, apart=apart)
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
            self._routines[insn] = lowerable(expand_floats(insn.routine))
        routine = self._routines[insn]
        if routine is None:
            return None
        operands = operand_values(form, bits)
        known = {name: value & U64 for name, value in operands.items()} | {"insn": bits}
        routine = self._specialiser.routine(routine, known, length)
        target, falls, indirect = None, True, False
        for op, nested in jumps(routine.body, False):
            falls = falls and nested
            distance = jump_distance(op.args[0].op)
            if distance is None:
                indirect = True
            else:
                target = distance
        falls = falls and not always_leaves(routine.body)
        links = not falls and _links(routine)
        ends = mentions(routine, ENDING)
        registers = _registers(routine, {f: i for i, f in enumerate(self._files)})
        by = _by(routine)
        back = by is None or by[:2] in self.arch.link_registers
        computed = indirect and not ends and not back
        return Decoded(
            *(bits, length, routine, target, falls, indirect, computed, links, ends),
            *registers,
            _makes(routine),
            by,
            _access(routine),
            restartable(routine),
            uses(routine, self._floating),
        )


def floating_files(arch: Arch) -> frozenset[str]:
    """The register files that hold floats."""
    return frozenset(f.name for f in arch.layout.files.values() if f.floating)


def uses(routine: Routine, files: frozenset[str]) -> bool:
    """Whether a routine reads or writes registers of these files."""
    return any(op.attrs.get("file") in files for op in routine.body.walk())


def lowerable(routine: Routine) -> Routine | None:
    """The routine, if its registers are known once its operands are."""
    if any(mentions(callee, {"reg.set", "reg.get"}) for callee in routine.callees()):
        return None
    indexes = [op.args[0].op.name for op in routine.body.walk() if op.name.startswith("reg.")]
    return routine if all(name in ("operand", "const") for name in indexes) else None


def jump_distance(target: Op) -> int | None:
    """The signed distance of an address that is the pc plus a constant; None for others."""
    if target.name == "pc":
        return 0
    if target.name != "add":
        return None
    a, b = (v.op for v in target.args)
    return signed(b.attrs["value"], 64) if (a.name, b.name) == ("pc", "const") else None


def jumps(block: Block, nested: bool) -> Iterator[tuple[Op, bool]]:
    """Jumps with whether they are conditional."""
    for op in block.ops:
        if op.name == "jump":
            yield op, nested
        for inner in op.blocks:
            yield from jumps(inner, True)


def always_leaves(block: Block) -> bool:
    """Whether the straight part of a block ends in a trap or an exit."""
    for op in block.ops:
        if op.name in ("trap", "leave", "exit"):
            return True
        if op.name == "if" and all(always_leaves(b) for b in op.blocks):
            return True
    return False


def _links(routine: Routine) -> bool:
    """Whether the address behind the instruction is written to a register."""
    for op in routine.body.walk():
        if op.name == "reg.set" and op.args[1].op.name == "add":
            a, b = (v.op.name for v in op.args[1].op.args)
            if a == "pc" and b in ("const", "insn.length"):
                return True
    return False


def _makes(routine: Routine) -> Place | None:
    """The register that gets the pc plus a distance, of an instruction that falls."""
    op = routine.body.ops[-1] if routine.body.ops else None
    distance = jump_distance(op.args[1].op) if op is not None and op.name == "reg.set" else None
    if op is None or distance is None:
        return None
    return op.attrs["file"], op.args[0].op.attrs["value"], distance


def _by(routine: Routine) -> Place | None:
    """The place that the last jump goes to. That its lowest bits are cleared does not count: who
    follows it must look whether it came there."""
    op = routine.body.ops[-1] if routine.body.ops else None
    if op is None or op.name != "jump":
        return None
    at, distance = op.args[0].op, 0
    if at.name == "and":
        at = at.args[0].op
    if at.name == "add" and at.args[1].op.name == "const":
        distance, at = signed(at.args[1].op.attrs["value"], 64), at.args[0].op
    if at.name != "reg.get":
        return None
    return at.attrs["file"], at.args[0].op.attrs["value"], distance


def _registers(routine: Routine, files: dict[str, int]) -> tuple[int, int, int]:
    """(read, surely written, possibly written) registers of an instruction, as bits."""
    reads = writes = changes = 0
    sure = {id(op) for op in routine.body.ops}
    for op in routine.body.walk():
        if not op.name.startswith("reg."):
            continue
        bit = 1 << 64 * files[op.attrs["file"]] + op.args[0].op.attrs["value"]
        if op.name == "reg.set":
            changes |= bit
        if op.name == "reg.set" and id(op) in sure:
            writes |= bit
        else:
            reads |= bit & ~writes
    return reads, writes, changes


def _access(routine: Routine) -> Access | None:
    """The one access of an instruction, if its address is a register plus a constant."""
    ops = [op for op in routine.body.walk() if op.name in ACCESSES]
    if len(ops) != 1 or ops[0].name == "touch" or ops[0] not in routine.body.ops:
        return None
    address, distance = ops[0].args[0].op, 0
    if address.name == "add":
        a, b = (v.op.name for v in address.args)
        if (a, b) != ("reg.get", "const"):
            return None
        distance = signed(address.args[1].op.attrs["value"], 64)
        address = address.args[0].op
    if address.name != "reg.get":
        return None
    index = address.args[0].op.attrs["value"]
    name, size = ops[0].name, ops[0].attrs["size"]
    atomic = name in ("rmw", "cas")
    return Access(address.attrs["file"], index, distance, size, name != "load", atomic)
