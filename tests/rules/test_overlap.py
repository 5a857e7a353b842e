"""No instruction word has two meanings, in any architecture; every form captures and verifies."""

import random

import pytest

from lamina.ir.verify import verify
from lamina.isa.insn import Form, InsnTable
from lamina.isa.riscv import RISCV64
from lamina.isa.toy.arch import arch as toy_arch

TABLES = [RISCV64.table, toy_arch().table]
FORMS = [form for table in TABLES for form in table.forms]


@pytest.mark.parametrize("table", TABLES, ids=["riscv64", "toy"])
def test_no_word_matches_two_forms(table: InsnTable) -> None:
    found = [f"{a.syntax} / {b.syntax}: {word:#x}" for a, b, word in table.overlaps()]
    assert found == []


def test_an_overlap_would_be_found() -> None:
    table = InsnTable(RISCV64.table.builder)
    for syntax, pattern in (
        ("one rd", "0000000 00000 00000 000 rd 1111111"),
        ("two rd", "0000000 00000 00000 000 rd!=0 1111111"),
    ):
        table.extension("T")(syntax, pattern)(lambda h, rd: None)
    ((a, b, word),) = table.overlaps()
    assert (a.name, b.name) == ("one", "two")
    assert a.encoding.matches(word) and b.encoding.matches(word)


def test_constraints_keep_forms_apart() -> None:
    table = InsnTable(RISCV64.table.builder)
    for syntax, pattern in (
        ("one rd", "0000000 00000 00000 000 00000 1111111"),
        ("two rd", "0000000 00000 00000 000 rd!=0 1111111"),
    ):
        table.extension("T")(syntax, pattern)(lambda h: None)
    assert list(table.overlaps()) == []


def test_random_words_match_one_form_at_most() -> None:
    rng = random.Random(20)
    table = RISCV64.table
    words = [(w, 2) for w in range(1 << 16) if w & 3 != 3]
    words += [(rng.getrandbits(32) | 3, 4) for _ in range(2000)]
    by_length = {n: [f for f in table.forms if f.encoding.length == n] for n in (2, 4)}
    for word, length in words:
        matching = [f for f in by_length[length] if f.encoding.matches(word)]
        assert len(matching) <= 1, f"{word:#x}: {[f.syntax for f in matching]}"
        assert table.decode(word, length) is (matching[0] if matching else None)


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.syntax)
def test_every_form_captures_and_its_operands_reach_its_base(form: Form) -> None:
    verify(form.routine)
    zeros = dict.fromkeys(form.encoding.operands, 0)
    assert set(form.base_operands(zeros)) == set(form.base.operands)
