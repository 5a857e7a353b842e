"""Softfloat routines: between formats, from and to integers, to integral values.

IEEE 754-2019, 5.4.2, 5.8 and 5.9; saturation as in the RISC-V chapter "F". Captured by
`softfloat.routine_for`.
"""

from lamina.base.bits import mask
from lamina.ir.build import Val
from lamina.ir.floats import FORMATS, NV, RMM, RNE
from lamina.ir.graph import Routine
from lamina.ir.softfloat_pack import LEAD, Parts, SoftFloat


def between(w: int, width: int) -> Routine:
    b, f, to = SoftFloat(f"f{w}_to_f{width}", w), FORMATS[w], FORMATS[width]
    x = b.unpack(f, b.params[0])
    out = b.result(width)
    with b.when(x.special):
        infinity = b.signed_bits(to, x.sign, to.infinity)
        out.set(b.select(x.nan, to.nan, infinity), b.invalid_flag(x.signaling))
    with b.otherwise():
        exponent = x.exponent + (to.bias - f.bias)
        out.set(*b.pack(to, x.sign, exponent, x.significand))
    return out.finish()


def from_int(w: int, width: int, signed: bool) -> Routine:
    b, to = SoftFloat(f"{'i' if signed else 'u'}{w}_to_f{width}", w), FORMATS[width]
    value, sign = b.params[0], b.const(0, 1)
    if signed:
        sign = (value >> (w - 1)).trunc(1)
        value = b.select(sign, -value, value)
    significand, exponent = b.normalise(value.zext(64), b.const(to.bias), 0)
    out = b.result(width)
    out.set(*b.pack(to, sign, exponent, significand))
    return out.finish()


def _integral(b: SoftFloat, x: Parts, bias: int) -> tuple[Val, Val]:
    """The magnitude rounded to an integer of 64 bits, and whether that was inexact.

    It is right for numbers below 2**64.
    """
    drop = LEAD + bias - x.exponent  # bits of the significand below the units; -1 at the least
    whole = b.select(drop.slt(0), x.significand << (-drop), x.significand >> drop)
    # The fraction, left-aligned; what lies further below is only known to be there.
    below = (x.significand != 0).zext(64)
    fraction = b.select(drop.sle(64), x.significand << (64 - drop), below)
    half = 1 << 63
    inexact = fraction != 0
    up = b.rounds_away(x.sign)[1] & inexact
    over, tie = b.const(half).ult(fraction), fraction == half
    up = up | ((b.rm == RNE) & (over | (tie & whole.trunc(1))))
    up = up | ((b.rm == RMM) & (over | tie))
    return whole + up.zext(64), inexact


def to_int(w: int, width: int, signed: bool) -> Routine:
    name = f"f{w}_to_{'i' if signed else 'u'}{width}"
    b, f = SoftFloat(name, w), FORMATS[w]
    x = b.unpack(f, b.params[0])
    magnitude, inexact = _integral(b, x, f.bias)
    huge = x.special | b.const(f.bias + 64).sle(x.exponent)
    if signed:
        low, high = 1 << (width - 1), mask(width - 1)
        limit = b.select(x.sign, low, high, 64)
    else:
        low, high = 0, mask(width)
        limit = b.select(x.sign, 0, high, 64)
    bad = huge | limit.ult(magnitude)
    saturated = b.select(x.sign & ~x.nan, low, high, width)
    small = magnitude.trunc(width)
    value = b.select(x.sign, -small, small)
    out = b.result(width)
    out.set(b.select(bad, saturated, value), b.select(bad, NV, inexact.zext(5)))
    return out.finish()


def round_to_integral(w: int) -> Routine:
    b, f = SoftFloat(f"f{w}_rint", w), FORMATS[w]
    x = b.unpack(f, b.params[0])
    out = b.result(w)
    with b.when(b.const(f.bias + f.fraction).sle(x.exponent)):  # has no fraction, or is special
        out.set(b.select(x.nan, f.nan, x.bits), b.invalid_flag(x.signaling))
    with b.otherwise():
        magnitude, inexact = _integral(b, x, f.bias)
        significand, exponent = b.normalise(magnitude, b.const(f.bias), 0)
        value, _ = b.pack(f, x.sign, exponent, significand)
        out.set(value, inexact.zext(5))
    return out.finish()
