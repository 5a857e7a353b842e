"""Where the parts of x86-64 instructions stand: as much as it takes to make code shorter, and to
have it use other registers.

Intel SDM volume 2, 2.1 to 2.7 (formats) and appendix A (opcode maps). Knows what compilers emit for
user code; anything else is refused. Called by `engine.threaded.template_image`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from lamina.base.errors import CodeError

_PREFIXES = frozenset((0x66, 0xF0, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65))
_OPERAND_SIZE, _ESCAPE, _EVEX, _VEX_3, _VEX_2 = 0x66, 0x0F, 0x62, 0xC4, 0xC5
_REX, _REX_W = 0x40, 8
# The opcodes of the one-byte map by what follows.
_MODRM = frozenset((0x63, 0x69, 0x6B, 0x80, 0x81, 0x83, *range(0x84, 0x90), 0xC0, 0xC1, 0xC6, 0xC7))
_MODRM |= frozenset((*range(0xD0, 0xD4), 0xF6, 0xF7, 0xFE, 0xFF))
_MODRM |= frozenset(op for op in range(0x40) if op & 7 < 4)
_BYTE = frozenset((0x6A, 0x6B, 0x80, 0x83, 0xA8, *range(0xB0, 0xB8), 0xC0, 0xC1, 0xC6))
_BYTE |= frozenset(op for op in range(0x40) if op & 7 == 4)
_WORD = frozenset((0x68, 0x69, 0x81, 0xA9, *range(0xB8, 0xC0), 0xC7))
_WORD |= frozenset(op for op in range(0x40) if op & 7 == 5)
_SHORT_JUMPS, _JUMPS = frozenset((*range(0x70, 0x80), 0xEB)), frozenset((0xE8, 0xE9))
_BARE = frozenset((*range(0x50, 0x60), *range(0x90, 0x9A), 0xC3, 0xCC))
# The two-byte map: no operand bytes; a byte behind ModRM; jumps.
_BARE_2 = frozenset((0x05, 0x0B, 0x31, 0x77, 0xA2, *range(0xC8, 0xD0)))
_BYTE_2 = frozenset((0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6))
_JUMPS_2 = range(0x80, 0x90)
# Which of the two operands in ModRM are general registers, if not both (in the two-byte map and,
# with VEX or EVEX, in the maps 0x0F38 and 0x0F3A): what else is there has those of vectors.
_REGISTER, _RM = 1, 2
_GENERAL = {1: dict.fromkeys((0x05, 0x0B, 0x1F, *range(0x40, 0x50), *range(0x90, 0xA0)), 3)}
_GENERAL[1] |= dict.fromkeys((0xA2, 0xA3, 0xA4, 0xA5, 0xAB, 0xAC, 0xAD, 0xAF, 0xB0, 0xB1, 0xB3), 3)
_GENERAL[1] |= dict.fromkeys((0xB6, 0xB7, 0xB8, *range(0xBA, 0xC2), 0xC3, 0xC7), 3)
_GENERAL[1] |= dict.fromkeys((0x2C, 0x2D, 0x50, 0x78, 0x79, 0xC5, 0xD7), _REGISTER)
_GENERAL[1] |= dict.fromkeys((0x2A, 0x6E, 0x7B, 0x7E, 0xC4), _RM)
_GENERAL[2] = dict.fromkeys((0xF0, 0xF1, 0xF2, 0xF3, 0xF5, 0xF6, 0xF7), 3)
_GENERAL[3] = {0xF0: 3, **dict.fromkeys((*range(0x14, 0x18), 0x20, 0x22), _RM)}
_GROUPS = frozenset((0x80, 0x81, 0x83, 0x8F, 0xC0, 0xC1, 0xC6, 0xC7, *range(0xD0, 0xD4)))
_GROUPS |= frozenset((0xF6, 0xF7, 0xFE, 0xFF))  # where ModRM has more of the opcode
_GROUPS_2 = frozenset((0x1F, *range(0x90, 0xA0), 0xBA, 0xC7))
_VEX_GROUP = (2, 0xF3)
_IN_OPCODE = frozenset((*range(0x50, 0x60), *range(0x91, 0x98), *range(0xB0, 0xC0)))
_IN_OPCODE_2 = range(0xC8, 0xD0)
_EXCHANGE = 0x90  # without a prefix it does nothing
_MOVE_VECTOR, _SINGLE = 0x7E, 0xF3  # with that prefix it is a move between vectors


class Instruction(NamedTuple):
    """Offsets in the code; 0: there is no such part (none begins with one)."""

    start: int
    end: int
    modrm: int
    displacement: int  # of an address
    immediate: int
    jump: int  # a distance from `end`
    scaled: bool  # a displacement of 8 bits would be counted in something else than bytes


def instructions(code: bytes) -> Iterator[Instruction]:
    """All of them, in order. CodeError: there is one that is not known."""
    at = 0
    while at < len(code):
        try:
            found = _instruction(code, at)
        except IndexError:
            raise CodeError("an instruction without an end") from None
        if found.end > len(code):
            raise CodeError("an instruction without an end")
        yield found
        at = found.end


class RegisterField(NamedTuple):
    """Where an instruction names a general register: its lowest three bits, and the fourth, at so
    many bits from the lowest of a byte. They may be inverted. In an address a number of which the
    lowest bits are 4 or 5 may mean something else."""

    number: int
    offset: int
    shift: int
    high_offset: int  # 0: there is no such bit, the number is below 8
    high_shift: int = 0


def registers(code: bytes, one: Instruction) -> Iterator[RegisterField]:
    """Where an instruction names general registers. Those that its opcode implies are not there."""
    at, single = one.start, False
    while code[at] in _PREFIXES:
        single |= code[at] == _SINGLE
        at += 1
    payload = {_VEX_2: 1, _VEX_3: 2, _EVEX: 3}.get(code[at], 0)
    if payload:
        table = 1 if code[at] == _VEX_2 else code[at + 1] & 7
        name, single = code[at + payload + 1], code[at + min(payload, 2)] & 3 == 2
        prefix = _Prefix(at + 1, ~code[at + 1] >> 5 & (4 if code[at] == _VEX_2 else 7), 5)
        general = _general(table, name, single)
        number = ~code[at + payload] >> 3 & 15
        if general == _REGISTER | _RM and table == 2 and code[at] != _EVEX:
            yield RegisterField(number, at + payload, 3, at + payload, 6)
        if (table, name) == _VEX_GROUP:
            general = _RM
    else:
        has = code[at] & 0xF0 == _REX
        prefix = _Prefix(at, code[at] & 7, 0) if has else _Prefix(0, 0, 0)
        at += has
        general = _RM if code[at] in _GROUPS else _REGISTER | _RM
        embedded = code[at] in _IN_OPCODE or (code[at] == _EXCHANGE and prefix.bits & 1 != 0)
        if code[at] == _ESCAPE:
            table = {0x38: 2, 0x3A: 3}.get(code[at + 1], 1)
            at += 1 if table == 1 else 2
            general = _general(table, code[at], single)
            general &= _RM if table == 1 and code[at] in _GROUPS_2 else 3
            embedded = table == 1 and code[at] in _IN_OPCODE_2
        if embedded:
            yield prefix.field(code, at, 0, 1)
    if one.modrm:
        yield from _in_modrm(code, one.modrm, prefix, general)


class _Prefix(NamedTuple):
    """Where a prefix has the fourth bits R, X, B, and what they are."""

    at: int
    bits: int
    shift: int

    def field(self, code: bytes, at: int, shift: int, bit: int) -> RegisterField:
        number = (code[at] >> shift & 7) | (8 if self.bits & bit else 0)
        high = self.shift + bit.bit_length() - 1
        return RegisterField(number, at, shift, self.at, high)


def _general(table: int, opcode: int, single: bool) -> int:
    if table == 1 and opcode == _MOVE_VECTOR and single:
        return 0
    return _GENERAL.get(table, {}).get(opcode, 0)


def _in_modrm(code: bytes, at: int, prefix: _Prefix, general: int) -> Iterator[RegisterField]:
    """`general`: which operands are general registers."""
    mod, rm = code[at] >> 6, code[at] & 7
    if general & _REGISTER:
        yield prefix.field(code, at, 3, 4)
    if mod == 3:
        if general & _RM:
            yield prefix.field(code, at, 0, 1)
    elif rm == 4:
        if not (mod == 0 and code[at + 1] & 7 == 5):
            yield prefix.field(code, at + 1, 0, 1)
        if code[at + 1] >> 3 & 7 != 4 or prefix.bits & 2:
            yield prefix.field(code, at + 1, 3, 2)
    elif not (mod == 0 and rm == 5):
        yield prefix.field(code, at, 0, 1)


def _instruction(code: bytes, start: int) -> Instruction:
    at, wide = start, 4
    while code[at] in _PREFIXES:
        wide = 2 if code[at] == _OPERAND_SIZE else wide
        at += 1
    rex = code[at] if code[at] & 0xF0 == _REX else 0
    at += bool(rex)
    opcode = code[at]
    if opcode in (_VEX_2, _VEX_3, _EVEX):
        payload = {_VEX_2: 1, _VEX_3: 2, _EVEX: 3}[opcode]
        table = 1 if opcode == _VEX_2 else code[at + 1] & 7
        name = code[at + payload + 1]
        byte = table == 3 or (table == 1 and name in _BYTE_2)
        modrm = 0 if table == 1 and name in _BARE_2 else at + payload + 2
        return _with_parts(code, start, at + payload + 2, modrm, int(byte), opcode == _EVEX)
    if opcode == _ESCAPE:
        return _two_byte(code, start, at + 1)
    at += 1
    if opcode in _SHORT_JUMPS or opcode in _JUMPS:
        size = 1 if opcode in _SHORT_JUMPS else 4
        return Instruction(start, at + size, 0, 0, 0, at, False)
    modrm = at if opcode in _MODRM else 0
    size = 1 if opcode in _BYTE else wide if opcode in _WORD else 0
    if 0xB8 <= opcode < 0xC0 and rex & _REX_W:
        size = 8
    if opcode in (0xF6, 0xF7) and code[at] & 0x38 < 0x10:
        size = 1 if opcode == 0xF6 else wide
    if not modrm and not size and opcode not in _BARE:
        raise CodeError(f"opcode {opcode:#x}")
    return _with_parts(code, start, at, modrm, size, False)


def _two_byte(code: bytes, start: int, at: int) -> Instruction:
    opcode = code[at]
    at += 1
    if opcode in _JUMPS_2:
        return Instruction(start, at + 4, 0, 0, 0, at, False)
    if opcode in (0x38, 0x3A):
        return _with_parts(code, start, at + 1, at + 1, int(opcode == 0x3A), False)
    modrm = 0 if opcode in _BARE_2 else at
    return _with_parts(code, start, at, modrm, int(opcode in _BYTE_2), False)


def _with_parts(
    code: bytes, start: int, at: int, modrm: int, immediate: int, scaled: bool
) -> Instruction:
    """With ModRM, what belongs to it, and so many bytes of an immediate number."""
    displacement = 0
    if modrm:
        mod, rm = code[modrm] >> 6, code[modrm] & 7
        at += 1
        size = (0, 1, 4, 0)[mod]
        if mod != 3 and rm == 4:
            size = 4 if mod == 0 and code[at] & 7 == 5 else size
            at += 1
        elif mod == 0 and rm == 5:
            size = 4
        displacement = at if size else 0
        at += size
    return Instruction(
        start, at + immediate, modrm, displacement, at if immediate else 0, 0, scaled
    )
