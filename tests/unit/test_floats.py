"""The definition of floating point against the host's arithmetic and exact rationals."""

import math
import struct
from fractions import Fraction

from float_inputs import MODES, given, integer, pattern
from hypothesis import assume, example
from hypothesis import strategies as st

from lamina.ir import floats
from lamina.ir.floats import DZ, FORMATS, NV, NX, OF, RDN, RMM, RNE, RTZ, RUP, UF

CODES = {16: "e", 32: "f", 64: "d"}
WIDTHS = st.sampled_from([16, 32, 64])
ONE = 0x3FF0_0000_0000_0000
INF = FORMATS[64].infinity
NAN = FORMATS[64].nan
SNAN = INF + 1


def to_float(w: int, bits: int) -> float:
    return float(struct.unpack("<" + CODES[w], bits.to_bytes(w // 8, "little"))[0])


def to_bits(w: int, value: float) -> int:
    """Rounds to nearest even; overflow is infinity, and every NaN the canonical one."""
    if math.isnan(value):
        return FORMATS[w].nan
    try:
        packed = struct.pack("<" + CODES[w], value)
    except OverflowError:
        return to_bits(w, math.copysign(math.inf, value))
    return int.from_bytes(packed, "little")


def finite(w: int, bits: int) -> bool:
    return math.isfinite(to_float(w, bits))


def exact(w: int, bits: int) -> Fraction:
    return Fraction(to_float(w, bits))


def key(w: int, bits: int) -> int:
    """Bit patterns as integers in the order of their values; neighbours differ by one."""
    m = bits & (FORMATS[w].sign - 1)
    return -m if bits >> (w - 1) else m


def unkey(w: int, k: int) -> int:
    return FORMATS[w].sign | -k if k < 0 else k


def check_rounding(w: int, exact_value: Fraction, got: tuple[int, int], rm: int) -> None:
    """A finite, nonzero exact value rounded by the textbook: compare with both neighbours."""
    bits, flags = got
    f = FORMATS[w]
    largest = exact(w, f.infinity - 1)
    assert bits & (f.sign - 1) <= f.infinity
    if not finite(w, bits) or flags & OF:
        assert flags == OF | NX
        ulp = largest - exact(w, f.infinity - 2)
        assert abs(exact_value) > largest
        if rm in (RNE, RMM):
            assert abs(exact_value) >= largest + ulp / 2
        return
    value = exact(w, bits)
    assert bool(flags & NX) == (value != exact_value)
    down, up = (unkey(w, key(w, bits) + d) for d in (-1, 1))
    match rm:
        case 1:
            assert abs(value) <= abs(exact_value)
        case 2:
            assert value <= exact_value
        case 3:
            assert value >= exact_value
    for neighbour in (down, up):
        if not finite(w, neighbour):
            continue
        other = exact(w, neighbour)
        if rm in (RNE, RMM):
            distance = abs(value - exact_value), abs(other - exact_value)
            assert distance[0] <= distance[1]
            if distance[0] == distance[1] and rm == RNE:
                assert bits & 1 == 0
            if distance[0] == distance[1] and rm == RMM:
                assert abs(value) > abs(other)
        else:
            assert not min(value, exact_value) < other <= max(value, exact_value)
    if flags & UF:
        assert flags & NX and abs(exact_value) < exact(w, 1 << f.fraction)
    elif flags & NX:
        assert abs(value) >= exact(w, 1 << f.fraction)


@given(pattern(64), pattern(64))
def test_double_arithmetic_rounds_like_the_host(a: int, b: int) -> None:
    x, y = to_float(64, a), to_float(64, b)
    assert floats.add(64, a, b, RNE)[0] == to_bits(64, x + y)
    assert floats.sub(64, a, b, RNE)[0] == to_bits(64, x - y)
    assert floats.mul(64, a, b, RNE)[0] == to_bits(64, x * y)
    if y != 0:
        assert floats.div(64, a, b, RNE)[0] == to_bits(64, x / y)


@given(pattern(64))
def test_double_square_root_and_narrowing_round_like_the_host(a: int) -> None:
    x = to_float(64, a)
    root = math.sqrt(x) if x >= 0 else math.nan
    due = a if x == 0 else to_bits(64, root)
    assert floats.sqrt(64, a, RNE)[0] == due
    assert floats.convert(64, a, RNE, width=32)[0] == to_bits(32, x)
    assert floats.convert(64, a, RNE, width=16)[0] == to_bits(16, x)


@given(st.sampled_from([16, 32]), st.data())
def test_widening_is_exact(w: int, data: st.DataObject) -> None:
    a = data.draw(pattern(w))
    value, flags = floats.convert(w, a, RNE, width=64)
    assert value == to_bits(64, to_float(w, a))
    assert flags in (0, NV)


@given(WIDTHS, MODES, st.data())
def test_results_are_correctly_rounded_in_every_mode(w: int, rm: int, data: st.DataObject) -> None:
    a, b, c = (data.draw(pattern(w)) for _ in range(3))
    assume(all(finite(w, v) for v in (a, b, c)))
    x, y, z = (exact(w, v) for v in (a, b, c))
    if x + y:
        check_rounding(w, x + y, floats.add(w, a, b, rm), rm)
    if x - y:
        check_rounding(w, x - y, floats.sub(w, a, b, rm), rm)
    if x * y:
        check_rounding(w, x * y, floats.mul(w, a, b, rm), rm)
    if x * y + z:
        check_rounding(w, x * y + z, floats.fma(w, a, b, c, rm), rm)
    if x and y:
        check_rounding(w, x / y, floats.div(w, a, b, rm), rm)


@given(WIDTHS, MODES, st.data())
def test_a_square_root_lies_between_its_neighbours(w: int, rm: int, data: st.DataObject) -> None:
    a = data.draw(pattern(w))
    assume(finite(w, a) and to_float(w, a) > 0)
    bits, flags = floats.sqrt(w, a, rm)
    x, root = exact(w, a), exact(w, bits)
    assert bool(flags & NX) == (root * root != x)
    down, up = exact(w, bits - 1), exact(w, bits + 1)
    match rm:
        case 1 | 2:
            assert root**2 <= x < up**2
        case 3:
            assert down**2 < x <= root**2
        case _:
            assert ((down + root) / 2) ** 2 < x < ((root + up) / 2) ** 2


@given(WIDTHS, MODES, st.sampled_from([32, 64]), st.booleans(), st.data())
def test_integers_convert_both_ways(
    w: int, rm: int, width: int, signed: bool, data: st.DataObject
) -> None:
    i = data.draw(integer(width))
    value = i - (1 << width) if signed and i >> (width - 1) else i
    if value:
        got = floats.from_int(width, i, rm, width=w, signed=signed)
        check_rounding(w, Fraction(value), got, rm)
    a = data.draw(pattern(w))
    result, flags = floats.to_int(w, a, rm, width=width, signed=signed)
    assume(finite(w, a))
    x = exact(w, a)
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    rounded = rounded_to_integer(x, rm)
    due = min(max(rounded, low), high)
    assert result == due % (1 << width)
    assert flags == (NV if due != rounded else NX if x != rounded else 0)


def rounded_to_integer(x: Fraction, rm: int) -> int:
    away = math.copysign(1, x) * math.floor(abs(x) + Fraction(1, 2))
    return int(
        {RNE: round(x), RTZ: math.trunc(x), RDN: math.floor(x), RUP: math.ceil(x)}.get(rm, away)
    )


@given(WIDTHS, MODES, st.data())
def test_rounding_to_integral_keeps_the_sign_of_zero(w: int, rm: int, data: st.DataObject) -> None:
    a = data.draw(pattern(w))
    assume(finite(w, a))
    value, flags = floats.round_to_integral(w, a, rm)
    assert value >> (w - 1) == a >> (w - 1)
    assert exact(w, value) == rounded_to_integer(exact(w, a), rm)
    assert flags == (NX if exact(w, value) != exact(w, a) else 0)


@given(WIDTHS, MODES, st.data())
@example(64, RMM, None)
def test_a_nan_gives_the_canonical_nan(w: int, rm: int, data: st.DataObject | None) -> None:
    f = FORMATS[w]
    quiet, signaling = f.nan | f.sign | 5 % (1 << (f.fraction - 1)), f.infinity + 1
    b = data.draw(pattern(w)) if data else f.infinity
    b = b if not f.infinity < b & (f.sign - 1) < f.nan else 0
    for nan, flags in ((quiet, 0), (signaling, NV)):
        for function in (floats.add, floats.sub, floats.mul, floats.div):
            assert function(w, nan, b, rm) == function(w, b, nan, rm) == (f.nan, flags)
        assert floats.sqrt(w, nan, rm) == (f.nan, flags)
        assert floats.round_to_integral(w, nan, rm) == (f.nan, flags)
        assert floats.fma(w, b, f.bias << f.fraction, nan, rm) == (f.nan, flags)


def test_invalid_operations() -> None:
    minus = FORMATS[64].sign
    assert floats.sub(64, INF, INF, RNE) == (NAN, NV)
    assert floats.mul(64, INF, 0, RNE) == (NAN, NV)
    assert floats.div(64, 0, minus, RNE) == (NAN, NV)
    assert floats.div(64, INF, INF | minus, RNE) == (NAN, NV)
    assert floats.sqrt(64, ONE | minus, RNE) == (NAN, NV)
    assert floats.fma(64, INF, 0, NAN, RNE) == (NAN, NV)
    assert floats.fma(64, ONE, INF, INF | minus, RNE) == (NAN, NV)
    assert floats.sqrt(64, minus, RNE) == (minus, 0)


def test_division_by_zero_is_an_exact_infinity() -> None:
    assert floats.div(64, ONE, 0, RTZ) == (INF, DZ)
    assert floats.div(64, INF, 0, RTZ) == (INF, 0)


def test_an_exact_zero_sum_is_negative_only_when_rounding_down() -> None:
    minus_one = ONE | FORMATS[64].sign
    assert floats.add(64, ONE, minus_one, RNE) == (0, 0)
    assert floats.add(64, ONE, minus_one, RDN) == (FORMATS[64].sign, 0)
    assert floats.fma(64, ONE, ONE, minus_one, RDN) == (FORMATS[64].sign, 0)


def test_conversions_of_nan_to_integers_give_the_largest() -> None:
    assert floats.to_int(64, NAN, RNE, width=32, signed=True) == (0x7FFF_FFFF, NV)
    assert floats.to_int(64, SNAN, RNE, width=64, signed=False) == ((1 << 64) - 1, NV)


def power(w: int, exponent: int) -> int:
    """The bits of 2**exponent, a normal number."""
    return (exponent + FORMATS[w].bias) << FORMATS[w].fraction


def test_tininess_is_detected_after_rounding() -> None:
    smallest = power(64, -1022)
    minus = FORMATS[64].sign
    # 2**-1022 - 2**-1100 rounds up to 2**-1022 also where exponents have no lower bound ...
    above = floats.fma(64, power(64, -600), power(64, -500) | minus, smallest, RNE)
    assert above == (smallest, NX)
    # ... 2**-1022 - 2**-1075 is then representable, so it is tiny.
    assert floats.mul(64, smallest, ONE - 1, RNE) == (smallest, UF | NX)
    assert floats.mul(64, smallest, ONE - 1, RTZ) == (smallest - 1, UF | NX)


def test_an_exact_subnormal_raises_nothing() -> None:
    assert floats.mul(64, power(64, -1022), power(64, -1), RNE) == (power(64, -1022) >> 1, 0)


# -- comparisons, minimum and maximum --------------------------------------------------------------
@given(WIDTHS, st.data())
def test_comparisons_are_those_of_the_host(w: int, data: st.DataObject) -> None:
    a, b = data.draw(pattern(w)), data.draw(pattern(w))
    x, y = to_float(w, a), to_float(w, b)
    nan = math.isnan(x) or math.isnan(y)
    signals = any(FORMATS[w].infinity < v & (FORMATS[w].sign - 1) < FORMATS[w].nan for v in (a, b))
    for function, holds in [
        (floats.equal, x == y),
        (floats.less, x < y),
        (floats.less_or_equal, x <= y),
    ]:
        assert function(w, a, b, RNE, quiet=True) == (holds, NV if signals else 0)
        assert function(w, a, b, RNE, quiet=False) == (holds, NV if nan else 0)


@given(WIDTHS, st.data())
def test_the_minimum_is_the_smaller_number_and_minus_zero_is_below_zero(
    w: int, data: st.DataObject
) -> None:
    a, b = data.draw(pattern(w)), data.draw(pattern(w))
    assume(not math.isnan(to_float(w, a)) and not math.isnan(to_float(w, b)))

    def order(bits: int) -> tuple[float, float]:
        return to_float(w, bits), math.copysign(1, to_float(w, bits))

    for numbers in (True, False):
        assert floats.minimum(w, a, b, RNE, numbers=numbers) == (min(a, b, key=order), 0)
        assert floats.maximum(w, a, b, RNE, numbers=numbers) == (max(a, b, key=order), 0)


def test_a_number_wins_over_a_nan_or_loses_as_told() -> None:
    for function in (floats.minimum, floats.maximum):
        for a, b, flags in ((NAN, ONE, 0), (ONE, NAN | 5, 0), (SNAN, ONE, NV), (ONE, SNAN, NV)):
            assert function(64, a, b, RNE, numbers=True) == (ONE, flags)
            assert function(64, a, b, RNE, numbers=False) == (NAN, flags)
        assert function(64, NAN, SNAN, RNE, numbers=True) == (NAN, NV)
