"""`lamina show`: finding instructions, and what is said of them."""

import pytest

from lamina.base.errors import LaminaError
from lamina.cli import main
from lamina.debug.show import Guide, UnknownInstruction, draw_encoding
from lamina.debug.show_region import show_region
from lamina.engine.threaded.single import list_handler
from lamina.isa.asm import AssemblyError
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect


@pytest.fixture(scope="module")
def guide() -> Guide:
    return Guide(RISCV64, dialect())


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("lw", "lw"),
        ("LW ", "lw"),
        ("c.addi", "c.addi"),
        ("0x00a50533", "add"),
        ("0x4505", "c.li"),
        ("add a0, a0, a1", "add"),
        ("ret", "jalr"),
        ("mv", "addi"),
    ],
)
def test_finds_by_name_number_line_and_alias(guide: Guide, asked: str, name: str) -> None:
    assert guide.find(asked)[0].form.name == name


def test_a_macro_finds_each_instruction_that_it_becomes(guide: Guide) -> None:
    names = [found.form.name for found in guide.find("li a0, 0x12345678")]
    assert names == ["lui", "addiw"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("lx", "near it: lw"),
        ("0x00000000", "illegal"),
        ("0x1ffffffff", "at most 32 bits"),
        ("0x12344505", "16-bit instruction, 0x4505"),
        ("0xzz", "not a number"),
        ("lw a0, 99999(a1)", "cannot be encoded"),
        ("c.bogus a0", "no instruction is called 'c.bogus'"),
    ],
)
def test_what_there_is_not_is_one_line(guide: Guide, asked: str, said: str) -> None:
    with pytest.raises(UnknownInstruction) as caught:
        guide.find(asked)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_encoding_is_drawn_under_its_bit_numbers() -> None:
    drawn = draw_encoding("imm[11:0] rs1 010 rd 0000011")
    assert drawn.splitlines() == [
        "  31     20   19 15   14 12   11 7   6     0",
        "┌───────────┬───────┬───────┬──────┬─────────┐",
        "│ imm[11:0] │  rs1  │  010  │  rd  │ 0000011 │",
        "└───────────┴───────┴───────┴──────┴─────────┘",
    ]


def test_a_number_is_taken_apart(guide: Guide) -> None:
    text = guide.overview(guide.find("0xfe0514e3")[0])[0].text
    assert "bnez a0, .-24" in text
    assert "offset = .-24" in text


def test_a_compressed_form_says_what_runs(guide: Guide) -> None:
    text = guide.overview(guide.find("0x4505")[0])[0].text
    assert "expands to  addi rd, 0, imm" in text
    assert "addi a0, zero, 1" in text


def test_a_handler_is_listed_in_llvm_and_host_code() -> None:
    single = list_handler(RISCV64, RISCV64.table.by_name["lw"])
    assert "musttail call preserve_nonecc i64 @s.lw" in single.llvm  # what a TLB miss goes on with
    assert "; tlb_data" in single.llvm
    assert "s.lw" in single.host
    assert "push" not in single.host  # an access that hits needs no stack frame
    assert ".cfi" not in single.host
    assert not single.local


def test_a_jump_is_listed_for_a_target_in_its_page() -> None:
    assert list_handler(RISCV64, RISCV64.table.by_name["beq"]).local


@pytest.mark.parametrize("form", RISCV64.table.forms[::17], ids=lambda form: form.name)
def test_handlers_compile_by_themselves(form: object) -> None:
    assert list_handler(RISCV64, form).host  # type: ignore[arg-type]


def test_the_list_has_each_form_once(guide: Guide) -> None:
    lines = [line for section in guide.table() for line in section.text.splitlines()]
    assert len(lines) == len(RISCV64.table.forms)


def test_the_command_prints_only_the_sections_that_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["show", "add", "--ir"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("IR, after passes\n  routine add()")
    assert "define" not in printed


def test_the_command_refuses_an_unknown_name_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["show", "lx"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_region_is_shown_from_its_assembly() -> None:
    source = "loop: lw t0, 0(a0)\n addi a0, a0, 4\n bne a0, a1, loop\n ret\n nop\n"
    members, llvm, host = show_region(RISCV64, dialect(), source)
    assert members.title == "region of 4 instructions"
    lines = members.text.splitlines()
    assert lines[0].endswith("entry")
    assert lines[4].endswith("not in it")
    assert "define" in llvm.text
    assert "region_read" in host.text


def test_what_is_no_region_is_one_line() -> None:
    with pytest.raises(AssemblyError):
        show_region(RISCV64, dialect(), "frobnicate a0\n")
    with pytest.raises(LaminaError, match="no region"):
        show_region(RISCV64, dialect(), "")
