"""Softfloat routines: addition, multiplication, division, square root, fused multiply-add.

IEEE 754-2019, 5.4.1; the choices left open are named in `ir.floats`. Captured by
`softfloat.routine_for`. Only divisions of 64 bits occur: a wider one would be a library call.
"""

from lamina.base.bits import U32, mask
from lamina.ir.build import Val
from lamina.ir.floats import DZ, FORMATS, RDN
from lamina.ir.graph import Routine
from lamina.ir.softfloat_pack import LEAD, Parts, SoftFloat, shift_jam

DIGIT = 30  # bits of a quotient that one 64-bit division yields
ROOT_DIGIT = 28  # bits by which one division lengthens a square root of 32 bits


def add(w: int) -> Routine:
    return _add(SoftFloat(f"f{w}_add", w, w), w, negate=False)


def sub(w: int) -> Routine:
    return _add(SoftFloat(f"f{w}_sub", w, w), w, negate=True)


def _larger(b: SoftFloat, x: Parts, y: Parts) -> tuple[Parts, Parts]:
    """The two ordered by magnitude, so that a NaN or an infinity comes first."""
    swap = x.magnitude.ult(y.magnitude)
    pairs = [(getattr(x, name), getattr(y, name)) for name in Parts.__slots__]
    large = Parts(*(b.select(swap, q, p) for p, q in pairs))
    return large, Parts(*(b.select(swap, p, q) for p, q in pairs))


def _add(b: SoftFloat, w: int, negate: bool) -> Routine:
    f, out = FORMATS[w], b.result(w)
    second = b.params[1] ^ f.sign if negate else b.params[1]
    x, y = b.unpack(f, b.params[0], normalise=False), b.unpack(f, second, normalise=False)
    large, small = _larger(b, x, y)
    opposite = x.sign ^ y.sign
    with b.when(large.special):
        bad = ~large.nan & small.special & opposite
        value = b.select(large.nan | bad, f.nan, large.bits)
        out.set(value, b.invalid_flag(x.signaling | y.signaling | bad))
    with b.otherwise():
        shifted = shift_jam(b, small.significand, large.exponent - small.exponent)
        up, down = large.significand + shifted, large.significand - shifted
        total = b.select(opposite, down, up)
        cancelled = opposite & (total == 0)
        sign = b.select(cancelled, b.rm == RDN, large.sign)
        significand, exponent = b.normalise(total, large.exponent, LEAD)
        out.set(*b.pack(f, sign, exponent, significand))
    return out.finish()


def mul(w: int) -> Routine:
    b, f = SoftFloat(f"f{w}_mul", w, w), FORMATS[w]
    x, y = b.unpack(f, b.params[0]), b.unpack(f, b.params[1])
    out, sign = b.result(w), x.sign ^ y.sign
    with b.when(x.special | y.special):
        nan = x.nan | y.nan
        bad = ~nan & (x.zero | y.zero)
        value = b.select(nan | bad, f.nan, b.signed_bits(f, sign, f.infinity))
        out.set(value, b.invalid_flag(x.signaling | y.signaling | bad))
    with b.otherwise():
        product, lead = _product(w, x, y)
        if product.width > 64:  # the leading one is at one of two places: 64 bits can hold it
            lost = (product & mask(LEAD)) != 0
            product, lead = (product >> LEAD).trunc(64) | lost.zext(64), LEAD
        significand, exponent = b.normalise(product, x.exponent + y.exponent - f.bias, lead)
        out.set(*b.pack(f, sign, exponent, significand))
    return out.finish()


def _product(w: int, x: Parts, y: Parts) -> tuple[Val, int]:
    """The exact product of two significands and where its leading one is (or one above)."""
    if w == 64:
        return x.significand.zext(128) * y.significand.zext(128), 2 * LEAD
    half = LEAD // 2 + 1
    return (x.significand >> half) * (y.significand >> half), 2 * (LEAD - half)


def fma(w: int) -> Routine:
    b, f = SoftFloat(f"f{w}_fma", w, w, w), FORMATS[w]
    x, y, z = (b.unpack(f, p) for p in b.params[:3])
    out, sign = b.result(w), x.sign ^ y.sign
    with b.when(x.special | y.special | z.special):
        nan = x.nan | y.nan | z.nan
        infinite = x.infinite | y.infinite
        bad = (x.infinite & y.zero) | (x.zero & y.infinite)
        bad = bad | (~nan & infinite & z.infinite & (sign ^ z.sign))
        value = b.select(infinite, b.signed_bits(f, sign, f.infinity), z.bits)
        signaling = x.signaling | y.signaling | z.signaling
        out.set(b.select(nan | bad, f.nan, value), b.invalid_flag(signaling | bad))
    with b.otherwise():
        product, lead = _product(w, x, y)
        addend = z.significand.zext(product.width)
        addend = addend << (lead - LEAD) if lead > LEAD else addend >> (LEAD - lead)
        p_exponent = x.exponent + y.exponent - f.bias
        p_first = z.exponent.sle(p_exponent)
        high, low = b.select(p_first, product, addend), b.select(p_first, addend, product)
        exponent = b.select(p_first, p_exponent, z.exponent)
        distance = b.select(p_first, p_exponent - z.exponent, z.exponent - p_exponent)
        low = shift_jam(b, low, distance.zext(low.width))
        # High has the larger exponent, but low may still be the larger one.
        opposite, swap = sign ^ z.sign, high.ult(low)
        difference = b.select(swap, low - high, high - low)
        total = b.select(opposite, difference, high + low)
        total_sign = b.select(swap ^ p_first, sign, z.sign)
        total_sign = b.select(opposite, total_sign, sign)
        total_sign = b.select(opposite & (total == 0), b.rm == RDN, total_sign)
        significand, exponent = b.normalise(total, exponent, lead)
        out.set(*b.pack(f, total_sign, exponent, significand))
    return out.finish()


def div(w: int) -> Routine:
    b, f = SoftFloat(f"f{w}_div", w, w), FORMATS[w]
    x, y = b.unpack(f, b.params[0]), b.unpack(f, b.params[1])
    out, sign = b.result(w), x.sign ^ y.sign
    with b.when(x.special | y.special | y.zero):
        nan = x.nan | y.nan
        bad = (x.infinite & y.infinite) | (x.zero & y.zero)
        value = b.signed_bits(f, sign, b.select(y.infinite, 0, f.infinity, 64))
        flags = b.invalid_flag(x.signaling | y.signaling | bad)
        by_zero = y.zero & ~x.special & ~x.zero
        flags = flags | b.select(by_zero, DZ, 0, 5)
        out.set(b.select(nan | bad, f.nan, value), flags)
    with b.otherwise():
        quotient, lead = _quotient(b, w, x.significand, y.significand)
        significand, exponent = b.normalise(quotient, x.exponent - y.exponent + f.bias, lead)
        out.set(*b.pack(f, sign, exponent, significand))
    return out.finish()


def _quotient(b: SoftFloat, w: int, x: Val, y: Val) -> tuple[Val, int]:
    """x / y for normalised significands, jammed: (quotient, the place of its units).

    Long division with digits of DIGIT bits: a digit guessed from the top of the divisor is
    right or one too large (the divisor has its leading one at bit 2 * DIGIT).
    """
    rest, divisor = x >> 3, y >> 2  # rest < divisor < 2**61; nothing is lost
    quotient = b.const(0)
    digits = 2 if w == 64 else 1
    for _ in range(digits):
        digit = rest.udiv(divisor >> DIGIT)
        rest = (rest << DIGIT) - digit * divisor
        high = rest.slt(0)
        rest = b.select(high, rest + divisor, rest)
        quotient = (quotient << DIGIT) + digit - high.zext(64)
    return quotient | (rest != 0).zext(64), digits * DIGIT - 1


def sqrt(w: int) -> Routine:
    b, f = SoftFloat(f"f{w}_sqrt", w), FORMATS[w]
    x = b.unpack(f, b.params[0])
    out = b.result(w)
    with b.when(x.special | x.sign | x.zero):
        bad = x.sign & ~x.zero & ~x.nan
        out.set(b.select(x.nan | bad, f.nan, x.bits), b.invalid_flag(x.signaling | bad))
    with b.otherwise():
        odd = ~x.exponent & 1  # of the unbiased exponent: biases are odd
        root, rest = _root(b, x.significand << odd)
        if w == 64:
            root, rest = _longer_root(b, root, rest, 0, ROOT_DIGIT)
        top = LEAD - (31 if w != 64 else 31 + ROOT_DIGIT)
        exponent = (x.exponent - f.bias).sar(1) + f.bias
        jammed = (root << top) | (rest != 0).zext(64)
        out.set(*b.pack(f, b.const(0, 1), exponent, jammed))
    return out.finish()


def _root(b: SoftFloat, v: Val) -> tuple[Val, Val]:
    """The integer square root of v >= 2**62 and the remainder."""
    root, rest = b.var(64, 0, name="root"), b.var(64, v >> 32, name="rest")
    bit = b.var(64, 1 << 30, name="bit")
    with b.loop():
        trial = root.get() + bit.get()
        fits = trial.ule(rest.get())
        half = root.get() >> 1
        rest.set(b.select(fits, rest.get() - trial, rest.get()))
        root.set(b.select(fits, half + bit.get(), half))
        bit.set(bit.get() >> 2)
        with b.when(bit.get() == 0):
            b.leave_loop()
    return _longer_root(b, root.get(), rest.get(), v & U32, 16)


def _longer_root(
    b: SoftFloat, root: Val, rest: Val, following: Val | int, bits: int
) -> tuple[Val, Val]:
    """Lengthen a root by `bits`, given the remainder and the 2 * `bits` radicand bits after it.

    P. Zimmermann, "Karatsuba Square Root", 1999: one division, then one correction at most.
    """
    after = b.val(following, 64)
    dividend = (rest << bits) | (after >> bits)
    digit, left = dividend.udiv(root << 1), dividend.urem(root << 1)
    longer = (root << bits) + digit
    rest = ((left << bits) | (after & mask(bits))) - digit * digit
    high = rest.slt(0)
    longer = longer - high.zext(64)
    return longer, b.select(high, rest + (longer << 1) + 1, rest)
