"""Which compiled handlers come together: what boots a kernel first, the rest when it is met.

Compiling all handlers takes a second, and most programs use few of them. See `Arch.packs`.
"""

from lamina.isa.insn import Insn

# In the order of their needs: a pack may use the routines of those before it.
PACKS = ("core", "bits", "float", "crypto", "atomic", "float-rare")

_BY_EXTENSION = {
    **dict.fromkeys(("Zba", "Zbb", "Zbc", "Zbs", "Zicond"), "bits"),
    **dict.fromkeys(("Zbkb", "Zbkx"), "crypto"),
    **dict.fromkeys(("F", "D"), "float"),
    **dict.fromkeys(("Zabha", "Zacas"), "atomic"),
    **dict.fromkeys(("Zfh", "Zfhmin", "Zfa"), "float-rare"),
}
# Every context switch of a kernel uses these.
_MOVES = {"flw", "fld", "fsw", "fsd"}


def pack_of(insn: Insn) -> str:
    """The pack of an instruction."""
    if insn.name in _MOVES:
        return "core"
    return _BY_EXTENSION.get(insn.extension, "core")
