"""Assembler and disassembler: programs, messages, and each as the inverse of the other."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rv64 import ASSEMBLER, BASE, DISASSEMBLER, INSN_LENGTH, PLAIN, run_program, u64, x

from lamina.base.bits import mask
from lamina.isa.asm import AssemblyError
from lamina.isa.expression import evaluate
from lamina.isa.riscv.hart import RV64

WORDS_32 = [f for f in RV64.forms if f.encoding.length == 4]


def words(line: str, pc: int = BASE) -> list[int]:
    code = ASSEMBLER.line(line, pc)
    return [int.from_bytes(code[i : i + 4], "little") for i in range(0, len(code), 4)]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("addi a0, a1, -1", 0xFFF58513),
        ("lw a0, 8(sp)", 0x00812503),
        ("lw a0, (sp)", 0x00012503),
        ("sd ra, -16(s0)", 0xFE143823),
        ("sd x1, -16(fp)", 0xFE143823),
        ("lui a0, 0xfffff", 0xFFFFF537),
        ("beq a0, a1, . + 8", 0x00B50463),
        ("j . - 4", 0xFFDFF06F),
        ("ret", 0x00008067),
        ("sfence.vma x0, x0", 0x12000073),
        ("sinval.vma x0, a0", 0x16A00073),
        ("nop", 0x00000013),
        ("amoadd.w.aq a0, a1, (a2)", 0x04B6252F),
        ("lr.d.aqrl a0, (a1)", 0x1605B52F),
        ("fence rw, w", 0x0310000F),
        ("fence", 0x0FF0000F),
        ("csrr a0, mstatus", 0x30002573),
        ("csrrs a0, mstatus, x0", 0x30002573),
        ("csrw 0x300, a0", 0x30051073),
        ("csrrw zero, mstatus, a0", 0x30051073),
        ("fadd.d fa0, fa1, fa2", 0x02C5F553),
        ("fadd.d fa0, fa1, fa2, rtz", 0x02C59553),
        ("fcvt.d.w fa0, a0", 0xD2050553),
        ("fcvt.w.d a0, fa0, rtz", 0xC2051553),
        ("sfence.vma", 0x12000073),
        ("cbo.zero (a0)", 0x0045200F),
        ("pause", 0x0100000F),
        ("bgt a0, a1, . + 8", 0x00A5C463),
        ("addi a0, a0, 'A'", 0x04150513),
        ("addi a0, a0, (1 << 4) + 3 * 2 - 1", 0x01550513),
    ],
)
def test_a_line_assembles_to_the_known_word(line: str, word: int) -> None:
    assert words(line) == [word]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("frob a0", "unknown instruction frob"),
        ("addi a0, a1", "write it like: addi rd, rs1, imm"),
        ("addi a0, a1, 2048", "imm = 2048 cannot be encoded"),
        ("addi a0, a9, 1", "'a9' is no register that can be rs1"),
        ("add a0, fa1, a2", "'fa1' is no register"),
        ("beq a0, a1, . + 3", "offset = 3 cannot be encoded"),
        ("jal ra, . + 0x200000", "offset = 2097152 cannot be encoded"),
        ("j nowhere", "unknown symbol 'nowhere'"),
        ("j 1f", "no label 1: for 1f"),
        ("c.lwsp zero, 0(sp)", "rd = 0 is reserved here"),
        ("c.sub t0, a0", "rd = 5 cannot be encoded"),
        ("lui a0, 0x100000", "more than 20 bits"),
        (".byte 256", "256 does not fit into 1 bytes"),
        (".balign 3", "3 is not a power of two"),
        (".zero -1", "-1 is not a size"),
        (".frob", "unknown directive .frob"),
        ("li a0, 1 << 65", "a shift by 65"),
        ("li a0, 0x10000000000000000", "more than 64 bits"),
        ("a: nop; a: nop", "label a is defined twice"),
        ('.ascii "abc', "a quote is not closed"),
        ("addi a0, a0, (1", "a parenthesis is not closed"),
        ("addi a0, a0, " + "(" * 60 + "1" + ")" * 60, "nested too deeply"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: str, complaint: str) -> None:
    with pytest.raises(AssemblyError, match=r"^line 2: ") as caught:
        ASSEMBLER.program("nop\n" + line, BASE)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(u64)
def test_li_loads_any_constant(value: int) -> None:
    assert x(run_program(f"li a0, {value:#x}\nend:"), "a0") == value


@given(st.integers(-(1 << 63), (1 << 63) - 1))
@settings(deadline=None)
def test_li_takes_at_most_eight_instructions(value: int) -> None:
    assert len(ASSEMBLER.line(f"li a0, {value}")) <= 32


def test_labels_data_and_local_labels() -> None:
    h = run_program(
        """
        .equ count, 3
            la s0, table         # addresses forwards
            li a1, count
            li a0, 0
        1:  ld a2, (s0); add a0, a0, a2
            addi s0, s0, 8
            addi a1, a1, -1
            beqz a1, 1f          // the next one
            j 1b
        1:  la a3, text
            lbu a4, 1(a3)
            call double
            j end
        double:
            slli a0, a0, 1
            ret
        .balign 8
        table: .dword 1, 20, 300
        text: .asciz "a;b#\\n"
        end:
        """
    )
    assert x(h, "a0") == 642
    assert x(h, "a4") == ord(";")


def test_data_directives_lay_out_little_endian_bytes() -> None:
    program = ASSEMBLER.program('.byte 1, -1\n.half 0x203\n.balign 8\n.ascii "hi"\nat: .word at', 0)
    assert program.code == b"\x01\xff\x03\x02\0\0\0\0hi" + (10).to_bytes(4, "little")
    assert program.symbols == {"at": 10}


def test_given_symbols_are_known() -> None:
    program = ASSEMBLER.program("lui a0, uart >> 12", 0, {"uart": 0x1000_0000})
    assert program.code == (0x10000537).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1 + 2 * 3", 7), ("-1", -1), ("~0 & 0xf", 15), ("10 - 3 - 2", 5), ("1 << 2 + 1", 8)),
        *(("0b101 | 0x8", 13), ("x - -x", 84), ("'\\n'", 10), ("1_000", 1000), ("6 ^ 3", 5)),
    ],
)
def test_expressions(text: str, value: int) -> None:
    assert evaluate(text, {"x": 42}.__getitem__) == value


# Round trips -------------------------------------------------------------------------------------


@pytest.mark.parametrize("disassembler", [DISASSEMBLER, PLAIN], ids=["aliases", "plain"])
def test_every_compressed_word_assembles_back(disassembler: object) -> None:
    for word in range(0, 1 << 16):
        if word & 3 == 3:
            continue
        text = disassembler.text(word, 2, BASE)  # type: ignore[attr-defined]
        if word % 7 == 0 or text.startswith("."):
            assert ASSEMBLER.line(text, BASE) == word.to_bytes(2, "little"), text


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(WORDS_32), st.integers(0, mask(32)), st.sampled_from([None, BASE]))
def test_every_instruction_assembles_back(form: object, bits: int, pc: int | None) -> None:
    encoding = form.encoding  # type: ignore[attr-defined]
    word = bits & ~encoding.mask | encoding.match
    for disassembler in (DISASSEMBLER, PLAIN):
        text = disassembler.text(word, 4, pc)
        assert ASSEMBLER.line(text, BASE) == word.to_bytes(4, "little"), text


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=64))
def test_any_bytes_have_a_listing_that_covers_them(code: bytes) -> None:
    even = code[: len(code) & ~1]
    at = BASE
    for address, bits, length, text in DISASSEMBLER.listing(even, BASE, INSN_LENGTH):
        assert address == at and text
        assert bits == int.from_bytes(even[at - BASE : at - BASE + length], "little")
        at += length
    assert at == BASE + len(even)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0x00008067, "ret"),
        (0xFFF58513, "addi a0, a1, -1"),
        (0x00050593, "mv a1, a0"),
        (0xFE050CE3, "beqz a0, 0x7ffffff8"),
        (0x06B6252F, "amoadd.w.aqrl a0, a1, (a2)"),
        (0x30002573, "csrr a0, mstatus"),
        (0x02C59553, "fadd.d fa0, fa1, fa2, rtz"),
        (0x0000000B, ".word 0x0000000b"),
        (0x0310808F, ".word 0x0310808f # fence rw, w"),
    ],
)
def test_text_of_known_words(word: int, text: str) -> None:
    assert DISASSEMBLER.text(word, 4, BASE) == text


def test_without_a_pc_targets_are_relative() -> None:
    assert DISASSEMBLER.text(0xFE050CE3, 4) == "beqz a0, .-8"


def test_random_words_never_fail_to_disassemble() -> None:
    rng = random.Random(4)
    for _ in range(5000):
        word = rng.getrandbits(32) | 3
        assert DISASSEMBLER.text(word, 4, rng.getrandbits(64))
