"""A compiled region as text: which instructions it holds, its LLVM assembly, its host code.

What the optimising engine would make of a piece of assembly if all of it were hot. Called by
`cli/cmd_show.py`; owns nothing.
"""

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.base.errors import LaminaError
from lamina.debug.show import Section
from lamina.engine.jit.flow import Decoder
from lamina.engine.jit.outline import OutlineDecoder
from lamina.engine.jit.region import MAX_INSTRUCTIONS, PageView, form_region
from lamina.engine.jit.request import ENTRY, decode, encode
from lamina.engine.jit.writer import region_module
from lamina.engine.llvm.listing import list_function
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch
from lamina.isa.asm import Assembler
from lamina.isa.dialect import Dialect
from lamina.isa.disasm import Disassembler


def show_region(arch: Arch, dialect: Dialect, source: str) -> list[Section]:
    """The region that begins at the first instruction of some assembly, in three sections.
    AssemblyError names the line that is wrong; LaminaError if there is nothing to compile."""
    code = Assembler(arch.table, dialect).program(source, 0).code
    listing = list(Disassembler(arch.table, dialect).listing(code, 0, arch.insn_length))
    begins = {at for at, _, _, _ in listing}
    pages = code.ljust(len(code) + -len(code) % PAGE_SIZE, b"\0")

    def find(number: int) -> PageView | None:
        start = number << PAGE_SHIFT
        page = pages[start : start + PAGE_SIZE] if number >= 0 else b""
        return PageView(page, lambda offset: start + offset in begins) if page else None

    formed = form_region(OutlineDecoder(arch), find, 0)
    if formed is None:
        raise LaminaError("no region begins there: nothing that can be compiled")
    region = decode(Decoder(arch), encode(formed))
    lines = []
    for at, _, _, text in listing:
        mark = "entry" if at in region.entries else "" if at in region.members else "not in it"
        lines.append(f"{at:6x}  {text:32} {mark}".rstrip())
    count = len(region.members)
    title = f"region of {count} instructions"
    if count >= MAX_INSTRUCTIONS:
        title += ", the most that one may have"
    text = region_module(ENTRY, region, arch, ThreadedLayout(arch))
    listed = list_function(text, ENTRY, region=True)
    return [
        Section(title, "\n".join(lines)),
        Section("LLVM, after its passes: %s is the state, %b the budget", listed.llvm, "llvm"),
        Section(f"host code, {listed.target}", listed.host, "gas"),
    ]
