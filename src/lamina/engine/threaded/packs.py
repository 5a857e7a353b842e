"""Compiles a pack of the runtime: in the compiler process, or where there is none."""

from lamina.engine.code.image import CodeImage
from lamina.engine.code.link import link
from lamina.engine.llvm.compiler import compile_image, compile_stencils
from lamina.engine.threaded.baseline import STENCILS
from lamina.engine.threaded.module import pack_modules
from lamina.engine.threaded.stencil_module import stencil_module
from lamina.engine.threaded.template_image import template_image
from lamina.isa.arch import Arch


def compile_pack(arch: Arch, pack: str) -> CodeImage:
    """The image of one of `arch.packs`. Its handlers, which are found by the pack's table, keep
    their names for those who look where time goes. Of a name with STENCILS in front: the templates
    that the baseline compiler copies for its instructions."""
    if pack.startswith(STENCILS):
        pack = pack.removeprefix(STENCILS)
        return template_image(arch, pack, compile_stencils(stencil_module(arch, pack)))
    modules = pack_modules(arch, pack)
    hot = compile_image(modules.hot, passes="runtime")
    cold = compile_image(modules.cold, passes="cold")
    return link([hot, cold], lambda name: True)
