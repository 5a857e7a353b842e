"""What all floating-point instructions share: formats, NaN boxing, the state of the FPU.

RISC-V unprivileged specification, chapters "F", "D", "Zfh"; privileged, "mstatus" field FS. The
registers f0..f31 are 64 bits wide; a narrower value lies in the low bits under ones ("boxed").
Comparisons, classification and sign handling are integer logic on bit patterns. Used by the
ext_*.py files of floating-point extensions.
"""

from dataclasses import dataclass

from lamina.base.bits import mask
from lamina.ir import floats
from lamina.ir.build import Operand, Val
from lamina.isa.riscv.hart import Hart

FLEN = 64
FS = 0b11 << 13  # of mstatus: Off, Initial, Clean, Dirty
DYNAMIC = 7  # the rounding mode that stands for frm
NV, NX = floats.NV, floats.NX


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format as instructions name it."""

    suffix: str  # of mnemonics
    code: str  # the fmt field
    ieee: floats.Format
    memory: str  # the width field of loads and stores
    letter: str  # of load and store mnemonics, and of moves to and from x registers

    @property
    def width(self) -> int:
        return self.ieee.width

    @property
    def size(self) -> int:
        """Bytes."""
        return self.ieee.width // 8


S = Format("s", "00", floats.FORMATS[32], "010", "w")
D = Format("d", "01", floats.FORMATS[64], "011", "d")
H = Format("h", "10", floats.FORMATS[16], "001", "h")


# -- the state -----------------------------------------------------------------------------------
def require_fp(h: Hart) -> None:
    """Illegal instruction while mstatus.FS is Off. Comes first in an instruction that writes no
    floating-point state; `begin` is for the others."""
    with h.rarely((h.s.mstatus & FS) == 0):
        h.illegal()


def begin(h: Hart) -> Val:
    """The start of an instruction that may write floating-point state: illegal while mstatus.FS
    is Off. The result, for `write`, `finish` and `accrue`, is whether FS is yet to become Dirty;
    it hardly ever is, so that one test serves both."""
    fs = h.s.mstatus & FS
    clean = fs != FS
    with h.rarely(clean), h.when(fs == 0):
        h.illegal()
    return clean


def dirty_fp(h: Hart) -> None:
    """Note that floating-point state was written. mstatus.SD follows from FS when it is read."""
    h.s.mstatus = h.s.mstatus | FS


def rounding_mode(h: Hart, rm: Val, usual: int = floats.RNE) -> Val:
    """The mode in force for the field rm; a reserved one is an illegal instruction. Modes above
    `usual` are rare."""
    mode = h.select(rm == DYNAMIC, h.s.frm, rm)
    rare = mode != 0 if usual == 0 else h.const(usual).ult(mode)
    with h.rarely(rare), h.when(h.const(floats.RMM).ult(mode)):
        h.illegal()
    return mode


def accrue(h: Hart, clean: Val, flags: Val) -> None:
    """Add 5 bits of exceptions to fflags; without any, nothing is written."""
    with h.when(flags != 0):
        h.s.fflags = h.s.fflags | flags.zext(64)
        with h.when(clean):
            dirty_fp(h)


# -- registers -----------------------------------------------------------------------------------
def read(h: Hart, fmt: Format, index: Val) -> Val:
    """The value in a register; one that is not properly boxed reads as the canonical NaN."""
    register = h.f[index]
    if fmt.width == FLEN:
        return register
    unboxed = (register >> fmt.width) != mask(FLEN - fmt.width)
    with h.rarely(unboxed):
        pass  # an engine's usual case has no selection then
    return h.select(unboxed, fmt.ieee.nan, register.trunc(fmt.width))


def write(h: Hart, fmt: Format, clean: Val, index: Operand, value: Val) -> None:
    """Box a value into a register."""
    with h.when(clean):
        dirty_fp(h)
    upper = mask(FLEN) ^ mask(fmt.width)
    h.f[index] = value.zext(FLEN) | upper


def finish(h: Hart, fmt: Format, clean: Val, index: Operand, value: Val, flags: Val) -> None:
    """Write a result and the exceptions that it raised."""
    with h.when(flags != 0):
        h.s.fflags = h.s.fflags | flags.zext(64)
    write(h, fmt, clean, index, value)


# -- bit patterns --------------------------------------------------------------------------------
def sign(fmt: Format, v: Val) -> Val:
    return v[fmt.width - 1]


def magnitude(fmt: Format, v: Val) -> Val:
    return v & mask(fmt.width - 1)


def is_nan(fmt: Format, v: Val) -> Val:
    return magnitude(fmt, v).ugt(fmt.ieee.infinity)


def is_signaling(fmt: Format, v: Val) -> Val:
    quiet = v[fmt.ieee.fraction - 1]
    return is_nan(fmt, v) & ~quiet
