"""Where control goes after an instruction: all that is needed to choose what to compile together.

This is done in the VM's process for each word that a region may hold, so it takes little: an
instruction form is looked at once, and then a word needs its operands only. What depends on more
than these (which CSR is written) is decided by the whole decoder. Called by `region`.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol, Self

from lamina.base.bits import U64, signed
from lamina.engine.jit.flow import (
    ENDING,
    Decoder,
    Place,
    always_leaves,
    floating_files,
    jumps,
    lowerable,
    uses,
)
from lamina.engine.threaded.functions import mentions
from lamina.engine.threaded.handlers import ACCESSES, static_jump
from lamina.ir.graph import Routine
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn, operand_values


class Step(Protocol):
    """An instruction of a region, as far as control is concerned; `Decoded` says what they mean."""

    @property
    def length(self) -> int: ...
    @property
    def target(self) -> int | None: ...
    @property
    def falls(self) -> bool: ...
    @property
    def indirect(self) -> bool: ...
    @property
    def computed(self) -> bool: ...
    @property
    def links(self) -> bool: ...
    @property
    def ends(self) -> bool: ...
    @property
    def makes(self) -> Place | None: ...
    @property
    def by(self) -> Place | None: ...
    @property
    def floats(self) -> bool: ...
    @property
    def touches(self) -> bool: ...
    def to(self, distance: int) -> Self: ...


@dataclass(slots=True, frozen=True)
class Outline:
    """The least that is a `Step`."""

    length: int
    target: int | None
    falls: bool
    indirect: bool
    computed: bool
    links: bool
    ends: bool
    makes: Place | None = None
    by: Place | None = None
    floats: bool = False
    touches: bool = False

    def to(self, distance: int) -> "Outline":
        """The same, whose computed jump probably goes so far."""
        return replace(self, target=distance, indirect=False, computed=False)


@dataclass(slots=True, frozen=True)
class _Form:
    """What all words of an instruction have in common; `link` and `jump` are operands;
    `makes` and `by` are as in `Decoded`, with operands in place of numbers."""

    falls: bool
    indirect: bool
    jump: str | None
    makes: tuple[str, str, str] | None
    by: tuple[str, str, str] | None
    link: str | None
    ends: bool
    floats: bool
    touches: bool
    depends: bool  # on more than the operands that are jumps and links


class OutlineDecoder:
    """Outlines of instruction words of an architecture, each made once."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self._whole = Decoder(arch)
        self._known: dict[int, Outline | None] = {}
        self._forms: dict[Insn, _Form | None] = {}

    def decode(self, bits: int, length: int) -> Outline | None:
        """The outline of an instruction, or None if regions cannot hold it."""
        key = bits << 3 | length
        if key not in self._known:
            self._known[key] = self._decode(bits, length)
        return self._known[key]

    def _decode(self, bits: int, length: int) -> Outline | None:
        form = self.arch.table.decode(bits, length)
        if form is None:
            return None
        if form.base not in self._forms:
            routine = lowerable(expand_floats(form.base.routine))
            self._forms[form.base] = _form(routine, floating_files(self.arch))
        f = self._forms[form.base]
        if f is None:
            return None
        if f.depends:
            d = self._whole.decode(bits, length)
            if d is None:
                return None
            flags = d.falls, d.indirect, d.computed, d.links, d.ends
            return Outline(d.length, d.target, *flags, d.makes, d.by, d.floats, d.touches)
        target, links, computed, makes, by = None, False, False, None, None
        if f.jump or f.link or f.makes or f.by:
            operands = operand_values(form, bits)
            if f.jump is not None:
                target = signed(operands[f.jump] & U64, 64)
            makes, by = _place(f.makes, operands), _place(f.by, operands)
            computed = by is not None and by[:2] not in self.arch.link_registers
            links = f.link is not None and operands[f.link] != 0
        flags = f.falls, f.indirect, computed, links, f.ends
        return Outline(length, target, *flags, makes, by, f.floats, f.touches)


@cache
def outline_decoder(arch: Arch) -> OutlineDecoder:
    """The process's decoder for an architecture."""
    return OutlineDecoder(arch)


def _form(routine: Routine | None, floating: frozenset[str]) -> _Form | None:
    if routine is None:
        return None
    falls, indirect, jump = not always_leaves(routine.body), False, None
    for op, nested in jumps(routine.body, False):
        falls = falls and nested
        operand = static_jump(op)
        indirect = indirect or operand is None
        jump = operand or jump
    ends = mentions(routine, ENDING)
    here = any(op.name in ENDING for op in routine.body.walk())
    link = None if falls else _link(routine)
    makes = _makes(routine) if falls else None
    by = _by(routine) if indirect and not ends else None
    floats, touches = uses(routine, floating), mentions(routine, ACCESSES)
    return _Form(falls, indirect, jump, makes, by, link, ends, floats, touches, ends and not here)


def _place(form: tuple[str, str, str] | None, operands: dict[str, int]) -> Place | None:
    if form is None:
        return None
    file, index, distance = form
    return file, operands[index], signed(operands[distance] & U64, 64)


def _makes(routine: Routine) -> tuple[str, str, str] | None:
    """Of an instruction that does nothing else: the register and the distance."""
    if not routine.body.ops:
        return None
    op = routine.body.ops[-1]
    if op.name != "reg.set" or op.args[1].op.name != "add":
        return None
    index, (a, b) = op.args[0].op, (v.op for v in op.args[1].op.args)
    if (index.name, a.name, b.name) != ("operand", "pc", "operand"):
        return None
    return op.attrs["file"], str(index.attrs["operand"]), str(b.attrs["operand"])


def _by(routine: Routine) -> tuple[str, str, str] | None:
    """The register and the distance that the last jump goes by."""
    if not routine.body.ops:
        return None
    op = routine.body.ops[-1]
    at = op.args[0].op if op.name == "jump" else op
    if at.name == "and":
        at = at.args[0].op
    if at.name != "add":
        return None
    a, b = (v.op for v in at.args)
    if (a.name, b.name) != ("reg.get", "operand") or a.args[0].op.name != "operand":
        return None
    return a.attrs["file"], str(a.args[0].op.attrs["operand"]), str(b.attrs["operand"])


def _link(routine: Routine) -> str | None:
    """The operand that names the register to which the address behind is written."""
    for op in routine.body.walk():
        if op.name != "reg.set" or op.args[1].op.name != "add":
            continue
        if {v.op.name for v in op.args[1].op.args} == {"pc", "insn.length"}:
            index = op.args[0].op
            return str(index.attrs["operand"]) if index.name == "operand" else None
    return None
