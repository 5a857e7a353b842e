"""Encodings in the manuals' notation, and what is derived from them.

`"imm[11:0] rs1 010 rd 0000011"` lists fields from the most significant bit down:
  0/1 digits        fixed bits
  rd, rs1, fs2, ... a field of its usual width (`FIELD_WIDTH`)
  imm[11:0]         bits of an operand; `imm[12|10:5]` are bit 12, then 10..5
  rd' rs1' fs2'     three bits that name registers 8 to 15
  rd!=0, rd!={0,2}, imm[5:0]!=0   the encoding is reserved (another instruction) otherwise
Immediates whose name begins with `imm` or `offset` are signed (the top bit listed anywhere is the
sign), every other operand is unsigned.
"""

import re
from dataclasses import dataclass, field

from lamina.base.bits import mask, sext

FIELD_WIDTH = {
    **dict.fromkeys(("rd", "rs1", "rs2", "rs3", "fd", "fs1", "fs2", "fs3"), 5),
    **{"csr": 12, "rm": 3, "aq": 1, "rl": 1, "fm": 4, "pred": 4, "succ": 4, "uimm": 5},
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Bits [insn_low, insn_low+width) of the instruction are bits from `low` up of the operand."""

    insn_low: int
    width: int
    low: int


@dataclass(slots=True)
class Operand:
    """An operand of an encoding: `add` is added after assembly of the pieces (8 for rd')."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    add: int = 0
    forbidden: tuple[int, ...] = ()

    @property
    def signed(self) -> bool:
        return self.name.startswith(("imm", "offset"))

    @property
    def width(self) -> int:
        """Significant bits, counted from bit 0 of the operand."""
        return max(p.low + p.width for p in self.pieces)

    def extract(self, insn: int) -> int:
        """The operand's value in an instruction, sign-extended to 64 bits where signed."""
        value = 0
        for p in self.pieces:
            value |= ((insn >> p.insn_low) & mask(p.width)) << p.low
        if self.signed:
            return sext(value, self.width, 64)
        return value + self.add

    def insert(self, value: int) -> int:
        """The instruction's bits that encode this value; ValueError if it does not fit."""
        raw = (value - self.add) & mask(64) if self.signed else value - self.add
        bits = 0
        for p in self.pieces:
            bits |= ((raw >> p.low) & mask(p.width)) << p.insn_low
        if self.extract(bits) != (value & mask(64)):
            raise ValueError(f"{self.name} = {value} cannot be encoded")
        return bits


@dataclass(slots=True)
class Encoding:
    """A parsed pattern: an instruction matches if `insn & mask == match` and no operand has a
    forbidden value."""

    pattern: str
    length: int  # bytes
    mask: int
    match: int
    operands: dict[str, Operand]
    constrained: tuple[Operand, ...] = field(init=False)  # those with forbidden values

    def __post_init__(self) -> None:
        self.constrained = tuple(o for o in self.operands.values() if o.forbidden)

    def matches(self, insn: int) -> bool:
        if insn & self.mask != self.match:
            return False
        return all(o.extract(insn) not in o.forbidden for o in self.constrained)

    def decode(self, insn: int) -> dict[str, int]:
        """Operand values of an instruction that matches."""
        return {name: o.extract(insn) for name, o in self.operands.items()}

    def encode(self, values: dict[str, int]) -> int:
        """The instruction with these operand values; ValueError if one does not fit."""
        insn = self.match
        for name, operand in self.operands.items():
            value = values.get(name, 0)
            if value & mask(64) in operand.forbidden:
                raise ValueError(f"{name} = {value} is reserved here")
            insn |= operand.insert(value)
        return insn


_TOKEN = re.compile(
    r"(?P<name>[a-z]+\d?)(?P<short>')?(?:\[(?P<bits>[\d:|]+)\])?(?:!=(?P<not>\S+))?"
)


def parse(pattern: str) -> Encoding:
    """Parse a pattern; ValueError says what is wrong with it."""
    tokens = pattern.split()
    total = sum(token_width(t) for t in tokens)
    if total not in (16, 32):
        raise ValueError(f"{pattern!r} has {total} bits, not 16 or 32")
    at, fixed, match = total, 0, 0
    operands: dict[str, Operand] = {}
    for token in tokens:
        at -= token_width(token)
        if set(token) <= {"0", "1"}:
            fixed |= mask(len(token)) << at
            match |= int(token, 2) << at
        else:
            _add_field(operands, token, at)
    return Encoding(pattern, total // 8, fixed, match, operands)


def _bit_ranges(bits: str) -> list[tuple[int, int]]:
    ranges = []
    for part in bits.split("|"):
        high, _, low = part.partition(":")
        ranges.append((int(high), int(low or high)))
    return ranges


def token_width(token: str) -> int:
    """Bits that one field of a pattern takes."""
    if set(token) <= {"0", "1"}:
        return len(token)
    m = _TOKEN.fullmatch(token)
    if m is None:
        raise ValueError(f"cannot read {token!r}")
    if m["bits"]:
        return sum(h - low + 1 for h, low in _bit_ranges(m["bits"]))
    if m["short"]:
        return 3
    if m["name"] not in FIELD_WIDTH:
        raise ValueError(f"{token!r} needs bit numbers")
    return FIELD_WIDTH[m["name"]]


def _add_field(operands: dict[str, Operand], token: str, at: int) -> None:
    m = _TOKEN.fullmatch(token)
    assert m is not None
    operand = operands.setdefault(m["name"], Operand(m["name"]))
    if m["short"]:
        operand.add = 8
    width = token_width(token)
    if m["bits"]:
        top = at + width
        for high, low in _bit_ranges(m["bits"]):
            top -= high - low + 1
            operand.pieces.append(Piece(top, high - low + 1, low))
    else:
        operand.pieces.append(Piece(at, width, 0))
    if m["not"]:
        operand.forbidden += tuple(int(v) for v in m["not"].strip("{}").split(","))
