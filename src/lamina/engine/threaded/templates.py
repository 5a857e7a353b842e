"""Stencils in memory, as the baseline compiler (`baseline_ir`) finds them: a table from handlers to
templates. A template is a head of words of 64 bits (`HEAD`); then the rows, three words each, which
say where a hole is, which, and what is added to it; then the code. Filled as packs are loaded; the
process's. An image of stencils tells by itself whose they are: no instruction is looked at here.
"""

import ctypes
import json
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from lamina.base.bits import U32, align_up, sext
from lamina.base.errors import CodeError
from lamina.engine.code.image import END, CodeImage, Relocation
from lamina.engine.threaded.baseline import (
    COLD,
    ENDS,
    HEAD,
    HOLES,
    JUMPS,
    LINKS,
    LOOKUP_BITS,
    PARTS,
    STRAIGHT,
)
from lamina.engine.threaded.layout import TEMPLATE_MAX

TABLE = "table of stencils"  # the symbol of what says whose they are: `stencils.stencil_table`

_HEAD = struct.Struct(f"<{len(HEAD)}Q")
_ROW = struct.Struct("<IIiIq")  # offset, hole, -1 if from the place's own address, bytes, addend
_JUMP = b"\xe9"  # jmp, with a 32-bit distance
_JUMP_BYTES = 5
_NUMBER = {name: i for i, name in enumerate(HOLES)}
_BYTES = {"pc32": 4, "abs32": 4, "abs64": 8, "abs8": 1}
_NEAR = frozenset(("a8", "b8", "c8", "d8"))
_MOD, _MOD_8, _MOD_32, _REG, _RM_SIB = 0xC0, 0x40, 0x80, 0x38, 4  # of a ModRM byte
_FAR = 0xF8  # in the number of a register: it is not one of the first 8
_BASE_STATE = 0x24  # a SIB byte: the base is r12, the first argument, and there is no index
_MULTIPLIER = -1640531535 & U32


class _Piece(NamedTuple):
    """A stencil; `straight`: there is no jump inside."""

    code: bytes
    rows: list[Relocation]
    straight: bool


class Templates:
    """The templates of all packs that are loaded. `resolve` gives the runtime's addresses."""

    def __init__(self, decode: int, resolve: Callable[[str], int]) -> None:
        self._decode = decode
        self._resolve = resolve
        self._table = (ctypes.c_uint64 * (2 << LOOKUP_BITS))()
        self._count = 0
        self._kept: list[ctypes.Array[ctypes.c_char]] = []
        self._parts: dict[str, int] = {}  # addresses of templates of no instruction

    @property
    def address(self) -> int:
        """Of the table."""
        return ctypes.addressof(self._table)

    def add(self, image: CodeImage) -> None:
        """Take in a pack's stencils; the runtime has its handlers."""
        pieces = _pieces(image)
        for name in PARTS:
            if name in pieces:
                self._parts[name] = self._keep(self._template(pieces[name].code, pieces[name].rows))
        for handler, name, second, step, about in json.loads(image.text[image.symbols[TABLE] :]):
            piece = pieces.get(name)
            if piece is not None and len(piece.code) <= TEMPLATE_MAX:
                self._enter(handler, piece, pieces.get(second), step, about)

    def part(self, name: str) -> int:
        """The address of a template that is no instruction's."""
        return self._parts[name]

    def _enter(
        self, handler: str, piece: _Piece, other: _Piece | None, step: int, about: int
    ) -> None:
        local = any(r.symbol == "taken" for r in piece.rows)  # a jump goes on behind its thunk
        slow = 0
        if any(r.symbol == "cold" for r in piece.rows) and not local:
            slow = self._resolve(f"s.{handler}")
        second = 0
        if other is not None:
            template = self._template(other.code, other.rows, slow, step, about, 0, other.straight)
            second = self._keep(template)
        template = self._template(piece.code, piece.rows, slow, step, about, second, piece.straight)
        address = self._keep(template)
        key = self._resolve(f"h.{handler}") - self._decode
        at = (key * _MULTIPLIER & U32) >> (32 - LOOKUP_BITS)
        while self._table[2 * at]:
            at = (at + 1) % (1 << LOOKUP_BITS)
        self._count += 1
        if self._count > (1 << LOOKUP_BITS) // 2:
            raise CodeError("more handlers than the table of templates is made for")
        # vCPUs may be looking: the key comes last.
        self._table[2 * at + 1] = address
        self._table[2 * at] = sext(key & U32, 32, 64)

    def _template(
        self,
        code: bytes,
        rows: list[Relocation],
        slow: int = 0,
        step: int = 0,
        about: int = 0,
        second: int = 0,
        straight: bool = False,
    ) -> bytes:
        last = len(code) - _JUMP_BYTES
        follows = [r for r in rows if r.symbol == "next"]
        falls = [r for r in follows if r.offset == last + 1 and code[last : last + 1] == _JUMP]
        if falls:  # what follows stands right behind
            code, rows = code[:last], [r for r in rows if r is not falls[0]]
        flags = 0 if follows or not step else ENDS
        holes = {r.symbol.removeprefix("hole.") for r in rows}
        flags |= (JUMPS if "taken" in holes else 0) | (LINKS if "next_pc" in holes else 0)
        flags |= (COLD if "cold" in holes else 0) | about
        short, long = self._short(code, rows, step, flags, slow) if straight else (0, 0)
        return self._packed(code, rows, step, flags, slow, second, short, long)

    def _packed(self, code: bytes, rows: list[Relocation], *head: int) -> bytes:
        packed = b"".join(_ROW.pack(*self._row(r)) for r in rows)
        return _HEAD.pack(len(code), len(rows), *head) + packed + code

    def _short(
        self, code: bytes, rows: list[Relocation], step: int, flags: int, slow: int
    ) -> tuple[int, int]:
        """The template with 8-bit displacements for registers near the state's beginning, and the
        bits of operands that forbid it (Intel SDM volume 2, 2.1.5: ModRM with mod 2 has 32 bits of
        displacement, with mod 1 it has 8). Only for code without jumps inside."""
        short, moved, long, at = b"", [], 0, 0
        for r in sorted(rows, key=lambda r: r.offset):
            short += code[at : r.offset]
            at = r.offset
            place = r.symbol.removeprefix("hole.")
            if place in _NEAR and r.kind == "abs32" and _is_near(code, r):
                modrm = short[-2] & ~_MOD | _MOD_8
                short = short[:-2] + bytes([modrm, _BASE_STATE])
                moved.append(r._replace(offset=len(short), kind="abs8"))
                short += b"\0"
                at += 4
                long |= _FAR << 8 * "abcd".index(place[0])
            else:
                moved.append(r._replace(offset=len(short)))
        if not long:
            return 0, 0
        packed = self._packed(short + code[at:], moved, step, flags, slow, 0, 0, 0)
        return self._keep(packed), long

    def _row(self, r: Relocation) -> tuple[int, int, int, int, int]:
        hole, addend = r.symbol.removeprefix("hole."), r.addend
        if hole not in _NUMBER:
            addend += self._resolve(hole)
            hole = "fixed"
        return r.offset, _NUMBER[hole], -(r.kind == "pc32"), _BYTES[r.kind], addend

    def _keep(self, template: bytes) -> int:
        size = align_up(len(template), 8)
        kept = (ctypes.c_char * size).from_buffer_copy(template.ljust(size, b"\0"))
        self._kept.append(kept)
        return ctypes.addressof(kept)


def _is_near(code: bytes, r: Relocation) -> bool:
    """Whether a displacement is from the state alone, and 8 bits do for the first 8 registers."""
    based = code[r.offset - 2] & ~_REG == _MOD_32 | _RM_SIB and code[r.offset - 1] == _BASE_STATE
    return based and 0 <= r.addend < 128 - 8 * 7


def _pieces(image: CodeImage) -> dict[str, _Piece]:
    """The code of each stencil, and its relocations from its own start."""
    starts = sorted((at, name) for name, at in image.symbols.items() if name != TABLE)
    if not starts or starts[-1][1] != END:
        raise CodeError("stencils without an end")
    rows = sorted(image.relocations, key=lambda r: r.offset)
    found, i = {}, 0
    for (start, name), (end, _) in pairwise(starts):
        mine = []
        while i < len(rows) and rows[i].offset < end:
            mine.append(rows[i]._replace(offset=rows[i].offset - start))
            i += 1
        straight = name.startswith(STRAIGHT)
        found[name.removeprefix(STRAIGHT)] = _Piece(image.text[start:end], mine, straight)
    return found
