"""Softfloat routines: comparisons, minimum and maximum.

IEEE 754-2019, 5.11 and 9.6: integer logic on the bit patterns, where a number's magnitude orders
as its bits do. Captured by `softfloat.routine_for`.
"""

from lamina.base.bits import mask
from lamina.ir.build import Val
from lamina.ir.floats import FORMATS, Format
from lamina.ir.graph import Routine
from lamina.ir.softfloat_pack import SoftFloat


class _Pair:
    """Two numbers and what both operations ask about them."""

    def __init__(self, b: SoftFloat, f: Format) -> None:
        self.x, self.y = b.params[0], b.params[1]
        x, y = (p & mask(f.width - 1) for p in (self.x, self.y))
        self.x_nan, self.y_nan = x.ugt(f.infinity), y.ugt(f.infinity)
        quiet = f.fraction - 1
        self.signaling = (self.x_nan & ~self.x[quiet]) | (self.y_nan & ~self.y[quiet])
        self.zeros = (x | y) == 0
        self._f = f

    def below(self, a: Val, b: Val) -> Val:
        """a before b where -0 is before +0; neither is a NaN."""
        negative, other = a[self._f.width - 1], b[self._f.width - 1]
        return a.b.select(negative ^ other, negative, (negative ^ a.ult(b)) & (a != b))


def compare(relation: str, w: int, quiet: bool) -> Routine:
    """`relation` is feq, flt or fle."""
    b = SoftFloat(f"f{w}_{relation[1:]}{'_quiet' if quiet else ''}", w, w)
    pair = _Pair(b, FORMATS[w])
    x, y = pair.x, pair.y
    if relation == "feq":
        holds = (x == y) | pair.zeros
    elif relation == "flt":
        holds = pair.below(x, y) & ~pair.zeros
    else:
        holds = ~pair.below(y, x) | pair.zeros
    nan = pair.x_nan | pair.y_nan
    out = b.result(1)
    out.set(holds & ~nan, b.invalid_flag(pair.signaling if quiet else nan))
    return out.finish()


def extremum(name: str, w: int, numbers: bool) -> Routine:
    """`name` is fmin or fmax."""
    b, f = SoftFloat(f"f{w}_{name[1:]}{'_number' if numbers else ''}", w, w), FORMATS[w]
    pair = _Pair(b, f)
    x, y = pair.x, pair.y
    first = pair.below(y, x) if name == "fmax" else pair.below(x, y)
    if numbers:
        value = b.select(pair.y_nan | (~pair.x_nan & first), x, y)
        value = b.select(pair.x_nan & pair.y_nan, f.nan, value)
    else:
        value = b.select(pair.x_nan | pair.y_nan, f.nan, b.select(first, x, y))
    out = b.result(w)
    out.set(value, b.invalid_flag(pair.signaling))
    return out.finish()
