"""The templates of a pack: its stencils, shortened where operands allow it, as they lie in memory.

A template is a head of words of 64 bits (`baseline.HEAD`); then the rows, three words each, which
say where a hole is, which, and what is added to it; then the code. An instruction has several, for
all operands or for some only, in a chain. They are made into one image, in the process that
compiles: its symbols are handlers (and `PARTS`), its relocations are addresses in templates.
`templates` only settles these.
"""

import struct
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import NamedTuple

from lamina.base.bits import U8, U64, align_up
from lamina.base.errors import CodeError
from lamina.engine.code.image import END, CodeImage, Relocation
from lamina.engine.code.x86 import Instruction, instructions, registers
from lamina.engine.threaded.baseline import (
    CHECKS,
    COLD,
    ENDS,
    EXACT,
    FIRST_SHIFT,
    HEAD,
    HIGH_BIT,
    HOLES,
    JUMPS,
    LINKS,
    LOAD,
    OTHER_SHIFT,
    PARTS,
    SPOILS,
    STORE,
    ZERO,
)
from lamina.engine.threaded.baseline import RESULT as HAS_RESULT
from lamina.engine.threaded.decoder import PLACES, Handler, PackTable, Variants
from lamina.engine.threaded.layout import RECORD, TEMPLATE_MAX
from lamina.engine.threaded.stencil_forms import PLAIN, about_registers, specials
from lamina.engine.threaded.stencil_module import stencil_name
from lamina.engine.threaded.stencil_registers import (
    FIRST,
    HELD,
    OTHER,
    RESULT,
    Roles,
    roles_of,
)
from lamina.isa.arch import Arch

_HEAD = struct.Struct(f"<{len(HEAD)}Q")
_ROW = struct.Struct("<IIiIq")  # offset, hole, -1 if from the place's own address, bytes, addend
_ADDEND = 16  # where that stands in a row
_JUMP = b"\xe9"  # jmp, with a 32-bit distance
_JUMP_BYTES = 5
_NUMBER = {name: i for i, name in enumerate(HOLES)}
_BYTES = {"pc32": 4, "abs32": 4, "abs64": 8, "abs8": 1, "register": 0}
_REGISTERS = {name: i for i, name in enumerate(("a8", "b8", "c8", "d8", "base8"))}
_MOD, _MOD_8, _MOD_32 = 0xC0, 0x40, 0x80  # of a ModRM byte: bits of the displacement
_REX_MOVE, _MOVE_8, _MOVE_4, _MODRM_REGISTER = 0x48, 0xB8, 0xC7, 0xC0  # mov of a number, REX.W
_SMALL = frozenset(("imm", "low", "high"))  # signed 32 bits are enough for these
_PARTS_ROLES = {
    LOAD: Roles(result="a"),
    ZERO: Roles(result="a"),
    **dict.fromkeys((STORE, *CHECKS), Roles(("a",))),
}
_OUTSIDE = frozenset(("dispatch", "h.decode", "taken"))  # where control leaves a block, or may
_DISCARD = 0x20  # in the number of a register: it is the one where discarded writes go


class _Piece(NamedTuple):
    """A stencil."""

    code: bytes
    rows: list[Relocation]


class _Fitting(NamedTuple):
    """A stencil, what it has in registers, and which operands it is for: `baseline.HEAD`."""

    piece: _Piece
    roles: Roles = Roles()
    mask: int = 0
    match: int = 0
    room: int = U64


class _Owner(NamedTuple):
    """What all templates of an instruction have in common: the bytes of its records, what flags say
    of its registers, the function where it is done if it leaves by a thunk."""

    step: int = 0
    about: int = 0
    slow: str = ""


def template_image(arch: Arch, pack: str, stencils: CodeImage) -> CodeImage:
    """The templates of the instructions of a pack, from its stencils."""
    pieces, writer = _pieces(stencils), _Writer()
    for name in PARTS:
        if name in pieces:
            short = _shorter(pieces[name], _REGISTERS.keys())[0]
            part = _Fitting(short, _PARTS_ROLES.get(name, Roles()))
            writer.symbols[name] = writer.chain(_Owner(), [part], None)
    for handler in PackTable(arch, pack, Variants(arch)).handlers:
        name = stencil_name(handler.insn, handler.local)
        if name in pieces and _is_of_use(pieces[name], roles_of(arch, handler.insn)):
            writer.symbols[f"h.{handler.name}"] = _enter(arch, writer, pieces, handler)
    return CodeImage(bytes(writer.text), writer.symbols, tuple(writer.relocations))


def _is_of_use(piece: _Piece, roles: Roles) -> bool:
    """Whether a stencil is short, and does not use registers that its operands may be in."""
    return len(piece.code) <= TEMPLATE_MAX and not (_in_roles(roles) and _is_greedy(piece, roles))


def _enter(arch: Arch, writer: "_Writer", pieces: dict[str, _Piece], handler: Handler) -> int:
    """Add all templates of a handler; where the one for all operands is."""
    insn = handler.insn
    rows = pieces[stencil_name(insn, handler.local)].rows
    local = any(r.symbol == "taken" for r in rows)  # a jump goes on behind its thunk
    leaves = any(r.symbol == "cold" for r in rows) and not local
    slow = f"s.{handler.name}" if leaves else ""
    owner = _Owner(handler.length // 2 * RECORD, about_registers(arch, insn), slow)
    at = None
    for second in (True, False):
        name = stencil_name(insn, handler.local, second)
        if name in pieces:
            fitting = [
                _Fitting(pieces[name + one.suffix], roles_of(arch, insn, one), one.mask, one.match)
                for one in (*specials(arch, insn), PLAIN)
                if name + one.suffix in pieces
                and _is_of_use(pieces[name + one.suffix], roles_of(arch, insn, one))
            ]
            at = writer.chain(owner, fitting, at)
    assert at is not None
    return at


class _Writer:
    """Templates one behind the other, as they are made."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.symbols: dict[str, int] = {}
        self.relocations: list[Relocation] = []

    def chain(self, owner: _Owner, kinds: list[_Fitting], second: int | None) -> int:
        """Where the template is that always fits, the last one. It leads to the others, from the
        best on; each of these leads to the next."""
        found = [*(short for kind in kinds for short in _shortened(kind)), kinds[-1]]
        other = None
        for one in reversed(found[:-1]):
            other = self._add(owner, one, second, other)
        return self._add(owner, found[-1], second, other)

    def _add(self, owner: _Owner, one: _Fitting, second: int | None, other: int | None) -> int:
        code, rows = _settled(one)
        last = len(code) - _JUMP_BYTES
        follows = [r for r in rows if r.symbol == "next"]
        falls = [r for r in follows if r.offset == last + 1 and code[last : last + 1] == _JUMP]
        if falls:  # what follows stands right behind
            code, rows = code[:last], [r for r in rows if r is not falls[0]]
        flags = 0 if follows or not owner.step else ENDS
        leaves = not follows or any(r.symbol in _OUTSIDE for r in rows)
        flags |= EXACT if leaves or not owner.step else 0
        holes = {r.symbol.removeprefix("hole.") for r in rows}
        flags |= (JUMPS if "taken" in holes else 0) | (LINKS if "next_pc" in holes else 0)
        flags |= (COLD if "cold" in holes else 0) | owner.about | _registers_used(one)
        head = {"size": len(code), "rows": len(rows), "step": owner.step, "flags": flags}
        head |= {"mask": one.mask, "match": one.match, "room": one.room}
        self.text += bytes(align_up(len(self.text), 8) - len(self.text))
        start = len(self.text)
        if owner.slow:
            self._refer(start + 8 * HEAD.index("slow"), owner.slow, 0)
        for name, place in (("second", second), ("other", other)):
            if place is not None:
                self._refer(start + 8 * HEAD.index(name), "", place)
        self.text += _HEAD.pack(*(head.get(name, 0) for name in HEAD))
        for r in rows:
            hole, addend = r.symbol.removeprefix("hole."), r.addend
            if hole not in _NUMBER:
                self._refer(len(self.text) + _ADDEND, hole, addend)
                hole, addend = "fixed", 0
            relative = -(r.kind == "pc32")
            self.text += _ROW.pack(r.offset, _NUMBER[hole], relative, _BYTES[r.kind], addend)
        self.text += code
        return start

    def _refer(self, offset: int, symbol: str, addend: int) -> None:
        self.relocations.append(Relocation(offset, "abs64", symbol, addend))


def _shortened(one: _Fitting) -> Iterator[_Fitting]:
    """The same with 8 bits for what usually needs no more, the shortest first."""
    for names in ({*_REGISTERS, "imm"}, _REGISTERS):
        piece, done = _shorter(one.piece, names)
        mask, room = one.mask, one.room
        for name, last in done.items():
            if name == "imm":
                room = 256 - last
            elif not mask >> 8 * _REGISTERS[name] & U8:  # it is not known to be another one
                mask |= _DISCARD << 8 * _REGISTERS[name]
        if "imm" in done or (names is _REGISTERS and (done or one.mask)):
            yield _Fitting(piece, one.roles, mask, one.match, room)


def _in_roles(roles: Roles) -> dict[int, str]:
    """The host's registers that a stencil has for something, and the holes that these are."""
    first, other = (len(roles.sources) > i for i in range(2))
    used = ((FIRST, "first", first), (OTHER, "other", other), (RESULT, "result", roles.result))
    return {number: hole for number, hole, has in used if has}


def _registers_used(one: _Fitting) -> int:
    """The flags that say what a stencil has in registers, and whether it spoils what they hold."""
    roles = one.roles
    flags = HAS_RESULT if roles.result else 0
    for place, shift in zip(roles.sources, (FIRST_SHIFT, OTHER_SHIFT), strict=False):
        flags |= PLACES.index(place) + 1 << shift
    greedy = _is_greedy(one.piece, roles)
    return flags | (SPOILS if greedy else 0) | (EXACT if greedy or not roles.all else 0)


def _is_greedy(piece: _Piece, roles: Roles) -> bool:
    """Whether a stencil uses registers that hold something, but those that it has in its roles."""
    named = {f.number for one in instructions(piece.code) for f in registers(piece.code, one)}
    return bool((named & {*HELD}) - {*_in_roles(roles)})


def _settled(one: _Fitting) -> _Piece:
    """A stencil with holes for the registers that it has in its roles. What fills one is combined
    with the bits there by xor, so these are made those of FIRST."""
    mine, code, rows = _in_roles(one.roles), bytearray(one.piece.code), list(one.piece.rows)
    for instruction in instructions(one.piece.code):
        for field in registers(one.piece.code, instruction):
            if field.number in mine:
                hole = mine[field.number]
                code[field.offset] ^= (field.number ^ FIRST) << field.shift
                high = HIGH_BIT + field.high_shift
                rows.append(Relocation(field.offset, "register", hole, field.shift))
                rows.append(Relocation(field.high_offset, "register", hole, high))
    return _Piece(bytes(code), rows)


def _shorter(piece: _Piece, names: Collection[str]) -> tuple[_Piece, dict[str, int]]:
    """Code with displacements of 8 bits for holes of these names, and signed 32 bits for what LLVM
    gives 64; for which names it was done, with the most that is added to what stands there."""
    code, holes = piece.code, {r.offset: r for r in piece.rows}
    short, moved, done = bytearray(), list[Relocation](), dict[str, int]()
    places, jumps = dict[int, int](), list[tuple[int, int, int]]()
    for one in instructions(code):
        places[one.start], begin = len(short), len(short)
        part = bytearray(code[one.start : one.end])
        for field in sorted({one.displacement, one.immediate, one.jump} - {0}):
            hole = holes.pop(field, None)
            at = field - one.end + len(part)
            if hole is None:
                if field == one.jump:
                    distance = int.from_bytes(code[field : one.end], "little", signed=True)
                    jumps.append((begin + at, len(part) - at, one.end + distance))
                continue
            name = hole.symbol.removeprefix("hole.")
            if field == one.displacement and name in names and _fits(code, one, hole, name):
                part[one.modrm - one.start] ^= _MOD_8 ^ _MOD_32
                del part[at + 1 : at + 4]
                hole = hole._replace(kind="abs8")
                done[name] = max(done.get(name, 0), hole.addend)
            elif name in _SMALL and hole.kind == "abs64" and part[0] & ~1 == _REX_MOVE:
                part[1:2] = bytes([_MOVE_4, _MODRM_REGISTER | part[1] - _MOVE_8])
                at += 1
                del part[at + 4 :]
                hole = hole._replace(kind="abs32")
            moved.append(hole._replace(offset=begin + at))
        short += part
    places[len(code)] = len(short)
    if holes:
        raise CodeError("a hole that is no part of an instruction")
    for at, size, target in jumps:
        new = places[target] - (at + size)
        short[at : at + size] = new.to_bytes(size, "little", signed=True)
    return _Piece(bytes(short), moved), done


def _fits(code: bytes, one: Instruction, hole: Relocation, name: str) -> bool:
    """Whether 8 bits may be enough for a displacement of 32."""
    if hole.kind != "abs32" or one.scaled or code[one.modrm] & _MOD != _MOD_32:
        return False
    if name == "imm":
        return 0 <= hole.addend < 8
    return hole.addend >= -128 and hole.addend + 8 * (_DISCARD - 1) < 128


def _pieces(image: CodeImage) -> dict[str, _Piece]:
    """The code of each stencil, and its relocations from its own start."""
    starts = sorted((at, name) for name, at in image.symbols.items())
    if not starts or starts[-1][1] != END:
        raise CodeError("stencils without an end")
    rows = sorted(image.relocations, key=lambda r: r.offset)
    found, i = {}, 0
    for (start, name), (end, _) in pairwise(starts):
        mine = []
        while i < len(rows) and rows[i].offset < end:
            mine.append(rows[i]._replace(offset=rows[i].offset - start))
            i += 1
        found[name] = _Piece(image.text[start:end], mine)
    return found
