"""Zfa: additional floating-point instructions (RISC-V unprivileged specification, chapter "Zfa").

Constants, rounding to integral values, minimum and maximum with NaNs, quiet comparisons, and the
modular conversion that ECMAScript asks for. fmvh.x.d and fmvp.d.x exist on RV32 only. Instructions
of half precision count as Zfa here; they need Zfh as well.
"""

from lamina.base.bits import mask
from lamina.ir import floats
from lamina.ir.build import Val
from lamina.isa.riscv import fp_insns
from lamina.isa.riscv.fp import (
    NV,
    D,
    Format,
    H,
    S,
    accrue,
    begin,
    finish,
    read,
    rounding_mode,
    sign,
    write,
)
from lamina.isa.riscv.hart import RV64, Hart

insn = RV64.extension("Zfa")


def constants(fmt: Format) -> list[int]:
    """The 32 constants of fli, as the table in section "Load-Immediate Instructions" lists them."""
    f = fmt.ieee
    one = f.bias << f.fraction

    def number(quarters: int, exponent: int) -> int:
        """quarters/4 * 2**exponent for 4 <= quarters < 8, rounded towards zero if too small."""
        bits, _ = floats.convert(64, _double(quarters, exponent), floats.RNE, width=f.width)
        return bits

    minus_one = one | f.sign
    smallest = 1 << f.fraction
    numbers = [number(4, e) for e in (-16, -15, -8, -7, -4, -3)]
    numbers += [number(q, e) for e in (-2, -1, 0) for q in (4, 5, 6, 7)]
    numbers += [number(q, 1) for q in (4, 5, 6)]
    numbers += [number(4, e) for e in (2, 3, 4, 7, 8, 15, 16)]
    return [minus_one, smallest, *numbers, f.infinity, f.nan]


def _double(quarters: int, exponent: int) -> int:
    """quarters/4 * 2**exponent in double precision."""
    d = floats.FORMATS[64]
    return (exponent + d.bias) << d.fraction | (quarters - 4) << (d.fraction - 2)


def _declare(fmt: Format) -> None:
    """Everything but fcvtmod.w.d, for one format."""
    table = constants(fmt)

    @insn(f"fli.{fmt.suffix} fd, uimm", f"11110{fmt.code} 00001 uimm 000 fd 1010011")
    def load_constant(h: Hart, fd: Val, uimm: Val) -> None:
        """The operand is the index into the table of constants."""
        clean = begin(h)
        value = h.var(fmt.width, name="value")
        cases = {i: lambda bits=bits: value.set(bits) for i, bits in enumerate(table)}
        h.switch(uimm, cases, lambda: value.set(0))
        write(h, fmt, clean, fd, value.get())

    _declare_round(fmt, "fround", "00100", inexact=0)
    _declare_round(fmt, "froundnx", "00101", inexact=floats.NX)
    fp_insns.declare_extremum(insn, fmt, "fminm", "010", larger=False, numbers_win=False)
    fp_insns.declare_extremum(insn, fmt, "fmaxm", "011", larger=True, numbers_win=False)
    fp_insns.declare_comparison(insn, fmt, "fleq", "fle", "100", quiet=True)
    fp_insns.declare_comparison(insn, fmt, "fltq", "flt", "101", quiet=True)


def _declare_round(fmt: Format, name: str, field: str, inexact: int) -> None:
    """Rounding to an integral value; fround never raises the inexact exception."""

    @insn(f"{name}.{fmt.suffix} fd, fs1, rm", f"01000{fmt.code} {field} fs1 rm fd 1010011")
    def round_to_integral(h: Hart, fd: Val, fs1: Val, rm: Val) -> None:
        clean, mode = begin(h), rounding_mode(h, rm)
        value, flags = h.float_op("frint", fmt.width, read(h, fmt, fs1), mode)
        finish(h, fmt, clean, fd, value, flags & (NV | inexact))


for _fmt in (S, D, H):
    _declare(_fmt)


@insn("fcvtmod.w.d rd, fs1, rtz", "1100001 01000 fs1 001 rd 1010011")
def fcvtmod_w_d(h: Hart, rd: Val, fs1: Val) -> None:
    """The integer part modulo 2**32; the exceptions are those of fcvt.w.d."""
    clean = begin(h)
    f = D.ieee
    bits = h.f[fs1]
    exponent = (bits >> f.fraction) & mask(f.exponent)
    significand = (bits & mask(f.fraction)) | 1 << f.fraction
    shift = exponent - (f.bias + f.fraction)
    integer = h.select(shift.slt(0), significand >> (-shift), significand << shift)
    integer = h.select(sign(D, bits), -integer, integer)
    special = exponent == mask(f.exponent)
    mode = h.const(floats.RTZ)
    _, flags = h.float_op("f_to_int", 32, bits, mode, signed=True)
    accrue(h, clean, flags)
    h.x[rd] = h.select(special, 0, integer).trunc(32).sext(64)
