"""What a decoded instruction tells the optimising engine."""

import pytest
from regions import DECODER, decoded, f, x

from lamina.engine.jit.flow import Access


@pytest.mark.parametrize(
    ("line", "target", "falls", "indirect", "links"),
    [
        ("add a0, a1, a2", None, True, False, False),
        ("beq a0, a1, .+16", 16, True, False, False),
        ("bne a0, zero, .-64", -64, True, False, False),
        ("c.beqz a0, .+8", 8, True, False, False),
        ("jal zero, .-4096", -4096, False, False, False),
        ("c.j .+2", 2, False, False, False),
        ("jal zero, .+0", 0, False, False, False),
        ("jal ra, .+2048", 2048, False, False, True),
        ("jalr zero, 0(ra)", None, False, True, False),
        ("jalr ra, 8(a0)", None, False, True, True),
        ("c.jr ra", None, False, True, False),
        ("c.jalr a5", None, False, True, True),
        ("ebreak", None, False, False, False),
        ("mret", None, False, True, False),
        ("auipc a0, 1", None, True, False, False),
    ],
)
def test_where_control_goes(
    line: str, target: int | None, falls: bool, indirect: bool, links: bool
) -> None:
    d = decoded(line)
    assert (d.target, d.falls, d.indirect, d.links) == (target, falls, indirect, links)


@pytest.mark.parametrize(
    "line", ["fence.i", "sfence.vma", "sfence.vma a0, a1", "sinval.vma a0, zero", "wfi"]
)
def test_a_new_dispatch_follows_what_changes_translation_or_leaves(line: str) -> None:
    assert decoded(line).ends


@pytest.mark.parametrize("line", ["ld a0, 0(a1)", "fence", "div a0, a1, a2", "lr.w a0, (a1)"])
def test_the_path_goes_on_behind_other_instructions(line: str) -> None:
    assert not decoded(line).ends


@pytest.mark.parametrize(
    ("line", "reads", "writes", "changes"),
    [
        ("add a0, a1, a2", x(11, 12), x(10), x(10)),
        ("add a0, a0, a2", x(10, 12), x(10), x(10)),
        ("add zero, a1, a2", 0, 0, 0),
        ("li a0, 5", 0, x(10), x(10)),
        ("sd a0, 8(sp)", x(2, 10), 0, 0),
        ("ld a0, 8(a0)", x(10), x(10), x(10)),
        ("jal ra, .+8", 0, x(1), x(1)),
        ("jalr ra, 0(ra)", x(1), x(1), x(1)),
        ("amoadd.w a0, a1, (a2)", x(11, 12), x(10), x(10)),
        ("fadd.d fa0, fa1, fa2", f(11, 12), f(10), f(10)),
        ("fld fa0, 0(a0)", x(10), f(10), f(10)),
        ("fsd fa0, 0(a0)", x(10) | f(10), 0, 0),
        ("fmv.x.d a0, fa0", f(10), x(10), x(10)),
        ("fmadd.s f1, f2, f3, f4", f(2, 3, 4), f(1), f(1)),
    ],
)
def test_registers(line: str, reads: int, writes: int, changes: int) -> None:
    d = decoded(line)
    assert (d.reads, d.writes, d.changes) == (reads, writes, changes)


def test_what_is_not_surely_written_counts_as_read() -> None:
    d = decoded("sc.d a0, a1, (a2)")
    assert d.changes == x(10)
    assert d.writes == 0 or d.writes == d.changes
    assert (d.writes | d.reads) & x(10)


@pytest.mark.parametrize(
    ("line", "access"),
    [
        ("ld a0, -16(a1)", Access("x", 11, -16, 8, False)),
        ("lbu a0, 2047(sp)", Access("x", 2, 2047, 1, False)),
        ("sw a0, 0(a1)", Access("x", 11, 0, 4, True)),
        ("c.sdsp a0, 24(sp)", Access("x", 2, 24, 8, True)),
        ("fsh fa0, 2(a1)", Access("x", 11, 2, 2, True)),
        ("add a0, a1, a2", None),
        ("amoadd.w a0, a1, (a2)", Access("x", 12, 0, 4, True, atomic=True)),
        ("lr.w a0, (a1)", Access("x", 11, 0, 4, False)),
        ("sc.w a0, a1, (a2)", None),
        ("cbo.zero (a0)", None),
    ],
)
def test_the_access_by_a_register_and_a_distance(line: str, access: Access | None) -> None:
    assert decoded(line).access == access


def test_words_that_are_no_instruction_decode_to_nothing() -> None:
    assert DECODER.decode(0, 2) is None
    assert DECODER.decode(0xFFFF_FFFF, 4) is None


def test_a_word_is_decoded_once() -> None:
    assert decoded("add a0, a1, a2") is DECODER.decode(0x00C5_8533, 4)
