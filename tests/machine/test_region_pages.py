"""Compiled regions over several pages: the numbers of pages' contents come in as such."""

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.flow import Decoder
from lamina.engine.jit.library import CONTENT
from lamina.engine.jit.region import PageView, form_region
from lamina.engine.jit.request import ENTRY
from lamina.engine.jit.writer import region_module
from lamina.engine.llvm.compiler import compile_image
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.riscv import RISCV64
from lamina.testing.guests import assemble


def test_no_code_takes_the_number_of_a_page_for_a_place_in_its_reach() -> None:
    """As LLVM does for any symbol that it sees to be an address: no page would ever be the right
    one, and control that goes into another page would always leave the region."""
    source = f"1: addi x10, x10, -1\n jal x0, 2f\n .zero {PAGE_SIZE}\n 2: bnez x10, 1b\n ret"
    code = assemble(source.replace("bnez x10, 1b", "jal x0, 1b")).code.ljust(2 * PAGE_SIZE, b"\0")
    pages = [code[:PAGE_SIZE], code[PAGE_SIZE:]]

    def find(number: int) -> PageView | None:
        return PageView(pages[number], lambda offset: True) if number in (0, 1) else None

    region = form_region(Decoder(RISCV64), find, 0)
    assert region is not None
    assert sorted(region.pages) == [0, 1]
    text = region_module(ENTRY, region, RISCV64, ThreadedLayout(RISCV64))
    image = compile_image(text, passes="region")
    numbers = [r for r in image.relocations if r.symbol.startswith(CONTENT)]
    assert {r.symbol for r in numbers} == {f"{CONTENT}0", f"{CONTENT}1"}
    assert {r.kind for r in numbers} == {"abs64"}
