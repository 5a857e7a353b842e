"""What the softfloat routines share: numbers taken apart, jamming shifts, rounding and packing.

A finite number is held as a sign (1 bit), a biased exponent (64 bits, two's complement) and a
significand of 64 bits: its value is significand * 2**(exponent - bias - LEAD), so that a
normalised significand has its leading one at bit LEAD. Bits that a shift loses are jammed: the
last bit kept is set if any of them was. One jammed bit well below the rounding position leaves
both the direction of rounding and exactness right, which is all that rounding asks for.

Called by `softfloat_arith` and `softfloat_convert` while they capture.
"""

from dataclasses import dataclass

from lamina.base.bits import mask
from lamina.ir.build import Builder, Val
from lamina.ir.floats import NV, NX, OF, RDN, RMM, RNE, RUP, Format
from lamina.ir.graph import Routine

LEAD = 62
FAR = -0x4000  # the exponent of zeros: below that of any product


@dataclass(slots=True)
class Parts:
    """A number taken apart; exponent and significand mean nothing if it is `special`."""

    bits: Val
    magnitude: Val  # the bits without the sign, in 64 bits
    sign: Val
    exponent: Val
    significand: Val
    special: Val  # infinity or NaN
    nan: Val
    signaling: Val
    zero: Val

    @property
    def infinite(self) -> Val:
        return self.special & ~self.nan


def shift_jam(b: Builder, v: Val, count: Val) -> Val:
    """v >> count with the lost bits jammed into bit 0; count may be any number."""
    kept = v >> count
    return kept | ((kept << count) != v).zext(v.width)


class SoftFloat(Builder):
    """Captures one softfloat routine; the last parameter is the rounding mode, in 64 bits."""

    def __init__(self, name: str, *widths: int) -> None:
        super().__init__(name, (*widths, 64))
        self.rm = self.params[-1]

    def unpack(self, f: Format, a: Val, normalise: bool = True) -> Parts:
        """Take a number apart. If not normalised, a subnormal keeps its leading zeros."""
        magnitude = a.zext(64) & mask(f.width - 1)
        biased = magnitude >> f.fraction
        nan = self.const(f.infinity).ult(magnitude)
        quiet = magnitude & 1 << (f.fraction - 1)
        normal = biased != 0
        significand = (magnitude & mask(f.fraction)) | normal.zext(64) << f.fraction
        significand = significand << (LEAD - f.fraction)
        exponent = self.select(normal, biased, 1)
        zero = magnitude == 0
        if normalise:
            normal_significand, normal_exponent = self.var(64, significand), self.var(64, exponent)
            with self.when(~normal):
                zeros = significand.clz() - 1
                normal_significand.set(significand << zeros)
                normal_exponent.set(self.select(zero, FAR, exponent - zeros))
            significand, exponent = normal_significand.get(), normal_exponent.get()
        special = biased == mask(f.exponent)
        sign = (a >> (f.width - 1)).trunc(1)
        signaling = nan & (quiet == 0)
        return Parts(a, magnitude, sign, exponent, significand, special, nan, signaling, zero)

    def normalise(self, v: Val, exponent: Val, lead: int) -> tuple[Val, Val]:
        """(significand, exponent) of a value v * 2**(exponent - bias - lead) of any width."""
        zeros = v.clz()
        top = v << zeros
        spare = v.width - 1 - LEAD
        jam = (top & mask(spare)) != 0
        significand = (top >> spare).trunc(64) | jam.zext(64)
        zeros = zeros.trunc(64)
        return significand, self.select(v == 0, FAR, exponent + (v.width - 1 - lead) - zeros)

    def rounds_away(self, sign: Val) -> tuple[Val, Val]:
        """Two bits: rounding is to a nearest value; it is away from zero regardless."""
        nearest = (self.rm == RNE) | (self.rm == RMM)
        return nearest, self.select(sign, self.rm == RDN, self.rm == RUP)

    def pack(self, f: Format, sign: Val, exponent: Val, significand: Val) -> tuple[Val, Val]:
        """Round a normalised number into format f: (value, flags)."""
        drop = LEAD - f.fraction
        half, every = 1 << (drop - 1), mask(drop)
        nearest, away = self.rounds_away(sign)
        increment = self.select(nearest, half, self.select(away, every, 0, 64))
        small = exponent.sle(0)
        field, shifted = self.var(64, exponent - 1), self.var(64, significand)
        with self.when(small):
            field.set(0)
            shifted.set(shift_jam(self, significand, 1 - exponent))
        kept = shifted.get()
        lost = kept & every
        tie = (self.rm == RNE) & (lost == half)
        rounded = ((kept + increment) >> drop) & ~tie.zext(64)
        # The hidden bit carries into the exponent field, and so does a rounding up to 2**n.
        bits = (field.get() << f.fraction) + rounded
        overflow = self.const(mask(f.exponent)).sle(exponent) | self.const(f.infinity).ule(bits)
        inexact = lost != 0
        # Just below the normal range, rounding with unbounded exponents may reach it.
        reaches = (exponent == 0) & ((significand + increment) >> (LEAD + 1) != 0)
        underflow = small & inexact & ~reaches
        largest = self.select(increment == 0, f.infinity - 1, f.infinity, 64)
        value = self.signed_bits(f, sign, self.select(overflow, largest, bits))
        flags = inexact.zext(5) | underflow.zext(5) << 1
        return value, self.select(overflow, OF | NX, flags)

    def signed_bits(self, f: Format, sign: Val, magnitude: Val | int) -> Val:
        """The bit pattern of a sign and a magnitude."""
        m = self.val(magnitude, 64).trunc(f.width)
        return m | sign.zext(f.width) << (f.width - 1)

    def invalid_flag(self, condition: Val) -> Val:
        return self.select(condition, NV, 0, 5)

    def result(self, width: int) -> "Result":
        return Result(self, width)


class Result:
    """The value and the flags of a routine, set on each of its paths."""

    def __init__(self, b: SoftFloat, width: int) -> None:
        self.b = b
        self.value = b.var(width, name="value")
        self.flags = b.var(5, name="flags")

    def set(self, value: Val, flags: Val | int) -> None:
        self.value.set(value)
        self.flags.set(flags)

    def finish(self) -> Routine:
        return self.b.finish(self.value.get(), self.flags.get())
