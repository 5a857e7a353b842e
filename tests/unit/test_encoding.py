"""Encodings: the notation, and encode and decode as inverses for every form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.base.bits import mask, sext
from lamina.isa.encoding import Operand, parse
from lamina.isa.riscv import RISCV64

FORMS = RISCV64.table.forms


def fit(operand: Operand, raw: int) -> int:
    """A value that the operand can hold, made of random bits."""
    value = 0
    for p in operand.pieces:
        value |= raw & (mask(p.width) << p.low)
    return sext(value, operand.width, 64) if operand.signed else value + operand.add


@given(st.sampled_from(FORMS), st.data())
def test_encode_then_decode_gives_the_operands_back(form: object, data: st.DataObject) -> None:
    encoding = form.encoding  # type: ignore[attr-defined]
    values = {}
    for name, operand in encoding.operands.items():
        values[name] = fit(operand, data.draw(st.integers(0, mask(64)), label=name))
        if values[name] in operand.forbidden:
            with pytest.raises(ValueError, match="reserved"):
                encoding.encode(values)
            return
    word = encoding.encode(values)
    assert encoding.matches(word)
    assert encoding.decode(word) == values
    assert RISCV64.table.decode(word, encoding.length) is form


@given(st.sampled_from(FORMS), st.integers(0, mask(32)))
def test_decode_then_encode_gives_the_word_back(form: object, bits: int) -> None:
    encoding = form.encoding  # type: ignore[attr-defined]
    word = bits & mask(8 * encoding.length) & ~encoding.mask | encoding.match
    if encoding.matches(word):
        assert encoding.encode(encoding.decode(word)) == word


def test_branch_offset_is_assembled_from_its_pieces() -> None:
    encoding = parse("offset[12|10:5] rs2 rs1 000 offset[4:1|11] 1100011")
    word = encoding.encode({"rs1": 10, "rs2": 11, "offset": -4})
    assert word == 0xFEB50EE3  # beq a0, a1, .-4
    assert encoding.decode(word)["offset"] == mask(64) - 3


def test_short_register_fields_name_registers_8_to_15() -> None:
    encoding = parse("010 uimm[5:3] rs1' uimm[2|6] rd' 00")
    assert encoding.decode(0x4188) == {"uimm": 0, "rs1": 11, "rd": 10}  # c.lw a0, 0(a1)
    with pytest.raises(ValueError, match="rd = 7 cannot be encoded"):
        encoding.encode({"uimm": 0, "rs1": 11, "rd": 7})


@pytest.mark.parametrize(
    ("operand", "value"), [("imm", 2048), ("imm", -2049), ("rd", 32), ("rs1", -1)]
)
def test_values_that_do_not_fit_are_refused(operand: str, value: int) -> None:
    encoding = parse("imm[11:0] rs1 000 rd 0010011")
    with pytest.raises(ValueError, match=f"{operand} = {value} cannot be encoded"):
        encoding.encode({operand: value})


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("0000000 rs2 rs1 000 rd 011001", "31 bits"),
        ("0000000 rs2 rs1 000 imm 0110011", "needs bit numbers"),
        ("0000000 rs2 rs1 000 r? 0110011", "cannot read"),
    ],
)
def test_a_bad_pattern_says_what_is_wrong(pattern: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(pattern)


# Words that the manual reserves, as hexadecimal halfwords: all have to be illegal.
RESERVED = {
    "all zeros": 0x0000,
    "c.addi4spn with no immediate": 0x0008,
    "quadrant 0, funct3 100, Zcb's gap": 0x8C40 | 1 << 12,
    "c.addiw to x0": 0x2005,
    "c.addi16sp 0": 0x6101,
    "c.lui with no immediate, even register": 0x6201,  # the odd ones up to 15 are Zcmop's
    "c.lui with no immediate, high register": 0x6881,
    "c.jr to x0": 0x8002,
    "c.lwsp to x0": 0x4002,
    "c.ldsp to x0": 0x6002,
    "quadrant 1, 100 1 11 with 11 110": 0x9C79,
    "quadrant 1, 100 1 11 with 11 111": 0x9C7D,
}


@pytest.mark.parametrize("word", RESERVED.values(), ids=RESERVED.keys())
def test_reserved_compressed_words_are_illegal(word: int) -> None:
    assert RISCV64.table.decode(word, 2) is None


HINTS = {
    0x0001: "c.nop",
    0x0005: "c.nop",  # with an immediate
    0x0281: "c.addi",  # t0 by 0
    0x4005: "c.li",  # to x0
    0x6005: "c.lui",  # to x0
    0x0002: "c.slli",  # x0 by 0
    0x8006: "c.mv",  # to x0
    0x9006: "c.add",  # to x0
    0x8001: "c.srli",  # by 0
}


@pytest.mark.parametrize(("word", "name"), HINTS.items())
def test_compressed_hints_are_legal(word: int, name: str) -> None:
    form = RISCV64.table.decode(word, 2)
    assert form is not None and form.name == name
