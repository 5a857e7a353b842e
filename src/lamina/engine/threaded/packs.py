"""Compiles a pack of the runtime: in the compiler process, or where there is none."""

from lamina.engine.code.image import CodeImage
from lamina.engine.code.link import link
from lamina.engine.llvm.compiler import compile_image, compile_stencils
from lamina.engine.threaded.baseline import STENCILS
from lamina.engine.threaded.module import pack_modules
from lamina.engine.threaded.stencils import stencil_module, stencil_table
from lamina.engine.threaded.templates import TABLE
from lamina.isa.arch import Arch


def compile_pack(arch: Arch, pack: str) -> CodeImage:
    """The image of one of `arch.packs`. Its handlers, which are found by the pack's table, keep
    their names for those who look where time goes. Of a name with STENCILS in front: its stencils,
    and a table of whose they are."""
    if pack.startswith(STENCILS):
        pack = pack.removeprefix(STENCILS)
        image = compile_stencils(stencil_module(arch, pack))
        symbols = {**image.symbols, TABLE: len(image.text)}
        text = image.text + stencil_table(arch, pack).encode()
        return CodeImage(text, symbols, image.relocations)
    modules = pack_modules(arch, pack)
    hot = compile_image(modules.hot, passes="runtime")
    cold = compile_image(modules.cold, passes="cold")
    return link([hot, cold], lambda name: True)
