"""Compiled regions with every floating-point instruction, in every static rounding mode: as an
entry and elsewhere. Their text is valid, as a region that fails to compile goes unseen."""

import pytest
from llvmlite import binding as llvm

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.flow import Decoder
from lamina.engine.jit.region import PageView, Region, form_region
from lamina.engine.jit.writer import region_module
from lamina.engine.threaded.hostfloat import supported
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.insn import Form
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.hart import RV64
from lamina.testing.guests import assemble

FLOATING = [f for f in RV64.forms if f.extension in ("F", "D", "Zfa")]
OPERANDS = {"fd": "f10", "rd": "x10", "fs1": "f1", "fs2": "f2", "fs3": "f3", "rs1": "x11"}
MODES = ("rne", "rtz", "rdn", "rup", "rmm", "dyn")


def texts(form: Form) -> list[str]:
    """The instruction in all modes."""
    syntax = form.syntax.partition(" ")[2]
    for name, register in OPERANDS.items():
        syntax = syntax.replace(name, register)
    syntax = syntax.replace("uimm", "5").replace("imm", "8")
    modes = MODES if "rm" in form.operands else ("",)
    return [f"{form.name} {syntax.replace('rm', mode)}" for mode in modes]


def region(source: str) -> Region:
    code = assemble(source).code
    view = PageView(code.ljust(PAGE_SIZE, b"\0"), lambda offset: offset < len(code))
    found = form_region(Decoder(RISCV64), lambda page: view if page == 0 else None, 0)
    assert found is not None
    return found


def module(source: str) -> str:
    return region_module("region", region(source), RISCV64, ThreadedLayout(RISCV64))


@pytest.mark.parametrize("form", FLOATING, ids=lambda form: form.name)
def test_the_text_of_a_region_is_valid(form: Form) -> None:
    for text in texts(form):
        first = f"1: {text}\n addi x12, x12, -1\n bnez x12, 1b\n j 1b\n"
        llvm.parse_assembly(module(first)).verify()
        later = f"1: addi x12, x12, -1\n {text}\n {text}\n bnez x12, 1b\n j 1b\n"
        llvm.parse_assembly(module(later)).verify()


@pytest.mark.skipif(not supported(), reason="this host's FPU is not used")
def test_what_is_known_is_not_tested_again() -> None:
    once = module("1: addi x12, x12, -1\n fadd.s f10, f1, f2\n bnez x12, 1b\n j 1b\n")
    twice = module(
        "1: addi x12, x12, -1\n fadd.s f10, f1, f2\n fmul.s f11, f10, f1\n bnez x12, 1b\n j 1b\n"
    )
    ways = [text.count("label %rare") for text in (once, twice)]
    # FS, the mode, two registers that are boxed, a NaN; then only another NaN.
    assert ways == [5, 6]
