"""The definition of the IR's floating-point operations: IEEE 754-2019 in exact integers.

Every operation computes the exact result first (a sign, an integer and a power of two; where that
cannot be finite, enough bits and a sticky one) and rounds it once, in `_round`. Values are bit
patterns of 16, 32 or 64 bits. Each function takes the width of its first argument, the arguments
and the attributes of the op, and returns (value, flags). `ir.ops` binds them to op names;
`ir.softfloat` is a second definition, made for compiling and held to this one by tests.

Choices that IEEE 754 leaves open are those of the RISC-V unprivileged specification, chapters "F"
and "D": a NaN result is the canonical NaN, tininess is detected after rounding, fma(inf, 0, NaN)
is invalid, conversions to integers saturate.
"""

from dataclasses import dataclass
from math import isqrt

from lamina.base.bits import mask
from lamina.base.bits import signed as signed_int

RNE, RTZ, RDN, RUP, RMM = range(5)  # any other rounding mode rounds as RTZ
NV, DZ, OF, UF, NX = 16, 8, 4, 2, 1

Result = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Format:
    """A binary interchange format (IEEE 754-2019, 3.4); `precision` counts the hidden bit."""

    width: int
    precision: int

    @property
    def fraction(self) -> int:
        """Bits of the trailing significand field."""
        return self.precision - 1

    @property
    def exponent(self) -> int:
        """Bits of the exponent field."""
        return self.width - self.precision

    @property
    def bias(self) -> int:
        return mask(self.exponent - 1)

    @property
    def quantum(self) -> int:
        """The exponent of the smallest positive value."""
        return 1 - self.bias - self.fraction

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    @property
    def infinity(self) -> int:
        return mask(self.exponent) << self.fraction

    @property
    def nan(self) -> int:
        """The canonical NaN: quiet, positive, no payload."""
        return self.infinity | 1 << (self.fraction - 1)


FORMATS = {16: Format(16, 11), 32: Format(32, 24), 64: Format(64, 53)}


@dataclass(frozen=True, slots=True)
class _Number:
    """A bit pattern taken apart. Finite: (-1)**sign * significand * 2**exponent, exactly."""

    sign: int
    significand: int
    exponent: int
    infinite: bool = False
    nan: bool = False
    signaling: bool = False

    @property
    def zero(self) -> bool:
        return not (self.infinite or self.nan or self.significand)

    @property
    def signed(self) -> int:
        return -self.significand if self.sign else self.significand


def _unpack(f: Format, bits: int) -> _Number:
    sign = bits >> (f.width - 1)
    biased = bits >> f.fraction & mask(f.exponent)
    fraction = bits & mask(f.fraction)
    if biased == mask(f.exponent):
        quiet = fraction >> (f.fraction - 1)
        return _Number(sign, 0, 0, not fraction, bool(fraction), bool(fraction and not quiet))
    if biased == 0:
        return _Number(sign, fraction, f.quantum)
    return _Number(sign, fraction | 1 << f.fraction, f.quantum + biased - 1)


def _invalid(f: Format) -> Result:
    return f.nan, NV


def _nan(f: Format, *numbers: _Number) -> Result | None:
    """The result if an argument is a NaN."""
    if not any(n.nan for n in numbers):
        return None
    return f.nan, NV if any(n.signaling for n in numbers) else 0


def _infinity(f: Format, sign: int) -> int:
    return f.infinity | (f.sign if sign else 0)


def _zero(f: Format, sign: int) -> int:
    return f.sign if sign else 0


def _to_multiple(sign: int, m: int, e: int, quantum: int, rm: int) -> tuple[int, bool]:
    """(-1)**sign * m * 2**e in units of 2**quantum, rounded: (magnitude, inexact)."""
    if e >= quantum:
        return m << (e - quantum), False
    shift = quantum - e
    q, rest = m >> shift, m & mask(shift)
    half = 1 << (shift - 1)
    up = {
        RNE: rest > half or (rest == half and q & 1 == 1),
        RDN: sign == 1 and rest > 0,
        RUP: sign == 0 and rest > 0,
        RMM: rest >= half,
    }
    return q + up.get(rm, False), rest > 0


def _round(f: Format, sign: int, m: int, e: int, rm: int) -> Result:
    """The value (-1)**sign * m * 2**e in format f; IEEE 754-2019 section 4.3 and 7.4 to 7.6."""
    if m == 0:
        return _zero(f, sign), 0
    unbounded = e + m.bit_length() - f.precision  # quantum if exponents had no lower bound
    quantum = max(unbounded, f.quantum)
    q, inexact = _to_multiple(sign, m, e, quantum, rm)
    # The hidden bit of q carries into the exponent field, and so does a rounding up to 2**n.
    bits = ((quantum - f.quantum) << f.fraction) + q
    if bits >= f.infinity:
        away = rm in (RNE, RMM) or (rm == RDN and sign == 1) or (rm == RUP and sign == 0)
        return _zero(f, sign) | (f.infinity if away else f.infinity - 1), OF | NX
    flags = NX if inexact else 0
    if inexact:
        q, _ = _to_multiple(sign, m, e, unbounded, rm)
        if q.bit_length() + unbounded < f.quantum + f.precision:
            flags |= UF
    return _zero(f, sign) | bits, flags


def _sum(f: Format, x: _Number, y: _Number, rm: int) -> Result:
    """x + y for finite numbers of any precision."""
    e = min(x.exponent, y.exponent)
    total = (x.signed << (x.exponent - e)) + (y.signed << (y.exponent - e))
    if total:
        return _round(f, int(total < 0), abs(total), e, rm)
    if x.sign == y.sign:
        return _zero(f, x.sign), 0
    return _zero(f, int(rm == RDN)), 0


def add(w: int, a: int, b: int, rm: int) -> Result:
    f = FORMATS[w]
    x, y = _unpack(f, a), _unpack(f, b)
    nan = _nan(f, x, y)
    if nan:
        return nan
    if x.infinite or y.infinite:
        if x.infinite and y.infinite and x.sign != y.sign:
            return _invalid(f)
        return (a if x.infinite else b), 0
    return _sum(f, x, y, rm)


def sub(w: int, a: int, b: int, rm: int) -> Result:
    return add(w, a, b ^ FORMATS[w].sign, rm)


def mul(w: int, a: int, b: int, rm: int) -> Result:
    f = FORMATS[w]
    x, y = _unpack(f, a), _unpack(f, b)
    nan = _nan(f, x, y)
    if nan:
        return nan
    sign = x.sign ^ y.sign
    if x.infinite or y.infinite:
        return _invalid(f) if x.zero or y.zero else (_infinity(f, sign), 0)
    return _round(f, sign, x.significand * y.significand, x.exponent + y.exponent, rm)


def div(w: int, a: int, b: int, rm: int) -> Result:
    f = FORMATS[w]
    x, y = _unpack(f, a), _unpack(f, b)
    nan = _nan(f, x, y)
    if nan:
        return nan
    sign = x.sign ^ y.sign
    if x.infinite:
        return _invalid(f) if y.infinite else (_infinity(f, sign), 0)
    if y.infinite:
        return _zero(f, sign), 0
    if y.zero:
        return _invalid(f) if x.zero else (_infinity(f, sign), DZ)
    shift = 2 * f.precision + 3  # so that the quotient has more bits than are kept
    q, rest = divmod(x.significand << shift, y.significand)
    return _round(f, sign, q << 1 | (rest > 0), x.exponent - y.exponent - shift - 1, rm)


def sqrt(w: int, a: int, rm: int) -> Result:
    f = FORMATS[w]
    x = _unpack(f, a)
    nan = _nan(f, x)
    if nan:
        return nan
    if x.zero:
        return a, 0
    if x.sign:
        return _invalid(f)
    if x.infinite:
        return a, 0
    shift = 2 * f.precision + 4 + (x.exponent & 1)  # leaves an even exponent
    m = x.significand << shift
    root = isqrt(m)
    return _round(f, 0, root << 1 | (root * root != m), (x.exponent - shift) // 2 - 1, rm)


def fma(w: int, a: int, b: int, c: int, rm: int) -> Result:
    """a * b + c, rounded once."""
    f = FORMATS[w]
    x, y, z = (_unpack(f, v) for v in (a, b, c))
    sign = x.sign ^ y.sign
    if (x.infinite and y.zero) or (x.zero and y.infinite):
        return _invalid(f)
    nan = _nan(f, x, y, z)
    if nan:
        return nan
    if x.infinite or y.infinite:
        if z.infinite and z.sign != sign:
            return _invalid(f)
        return _infinity(f, sign), 0
    if z.infinite:
        return c, 0
    product = _Number(sign, x.significand * y.significand, x.exponent + y.exponent)
    return _sum(f, product, z, rm)


def convert(w: int, a: int, rm: int, *, width: int) -> Result:
    """From the format of w bits to that of `width` bits."""
    x, to = _unpack(FORMATS[w], a), FORMATS[width]
    nan = _nan(to, x)
    if nan:
        return nan
    if x.infinite:
        return _infinity(to, x.sign), 0
    return _round(to, x.sign, x.significand, x.exponent, rm)


def from_int(w: int, a: int, rm: int, *, width: int, signed: bool) -> Result:
    """An integer of w bits in the format of `width` bits."""
    value = signed_int(a, w) if signed else a
    return _round(FORMATS[width], int(value < 0), abs(value), 0, rm)


def to_int(w: int, a: int, rm: int, *, width: int, signed: bool) -> Result:
    """An integer of `width` bits; out of range saturates, NaN gives the largest one (NV)."""
    x = _unpack(FORMATS[w], a)
    low, high = (-(1 << (width - 1)), mask(width - 1)) if signed else (0, mask(width))
    if x.nan:
        return high, NV
    if x.infinite:
        return (low if x.sign else high) & mask(width), NV
    magnitude, inexact = _to_multiple(x.sign, x.significand, x.exponent, 0, rm)
    value = -magnitude if x.sign else magnitude
    if not low <= value <= high:
        return (low if x.sign else high) & mask(width), NV
    return value & mask(width), NX if inexact else 0


def round_to_integral(w: int, a: int, rm: int) -> Result:
    """The nearest integral value in the same format; NX if that is another value."""
    f = FORMATS[w]
    x = _unpack(f, a)
    nan = _nan(f, x)
    if nan:
        return nan
    if x.infinite or x.exponent >= 0:
        return a, 0
    magnitude, inexact = _to_multiple(x.sign, x.significand, x.exponent, 0, rm)
    value, _ = _round(f, x.sign, magnitude, 0, rm)
    return value, NX if inexact else 0


def _rank(x: _Number) -> tuple[int, int]:
    """Something that orders as numbers do; zeros are alike."""
    if x.infinite:
        return (-1 if x.sign else 1), 0
    return 0, x.signed << (x.exponent - FORMATS[64].quantum)


def _compare(w: int, a: int, b: int, quiet: bool) -> tuple[int | None, int]:
    """-1, 0 or 1, or None with a NaN; and the flags: a quiet NaN is invalid unless `quiet`."""
    x, y = (_unpack(FORMATS[w], v) for v in (a, b))
    if x.nan or y.nan:
        return None, NV if x.signaling or y.signaling or not quiet else 0
    left, right = _rank(x), _rank(y)
    return (left > right) - (left < right), 0


def equal(w: int, a: int, b: int, rm: int, *, quiet: bool) -> Result:
    """One bit: a == b; false with a NaN."""
    order, flags = _compare(w, a, b, quiet)
    return int(order == 0), flags


def less(w: int, a: int, b: int, rm: int, *, quiet: bool) -> Result:
    """One bit: a < b; false with a NaN."""
    order, flags = _compare(w, a, b, quiet)
    return int(order == -1), flags


def less_or_equal(w: int, a: int, b: int, rm: int, *, quiet: bool) -> Result:
    """One bit: a <= b; false with a NaN."""
    order, flags = _compare(w, a, b, quiet)
    return int(order in (-1, 0)), flags


def minimum(w: int, a: int, b: int, rm: int, *, numbers: bool) -> Result:
    """IEEE 754-2019 minimumNumber if `numbers` (a number wins over a NaN), else minimum (a NaN
    wins). -0 is less than +0."""
    return _extremum(w, a, b, -1, numbers)


def maximum(w: int, a: int, b: int, rm: int, *, numbers: bool) -> Result:
    """IEEE 754-2019 maximumNumber if `numbers`, else maximum."""
    return _extremum(w, a, b, 1, numbers)


def _extremum(w: int, a: int, b: int, wanted: int, numbers: bool) -> Result:
    f = FORMATS[w]
    x, y = _unpack(f, a), _unpack(f, b)
    order, flags = _compare(w, a, b, quiet=True)
    if order is None:
        if not numbers or (x.nan and y.nan):
            return f.nan, flags
        return (b if x.nan else a), flags
    if order == 0:
        order = y.sign - x.sign  # of zeros with different signs the positive one is the larger
    return (a if order in (0, wanted) else b), flags
