"""Hypothesis strategies for floating-point bit patterns with many corner cases."""

from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies as st

from lamina.ir.floats import FORMATS

MODES = st.integers(0, 4)


def given(*strategies: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """hypothesis.given without a deadline: other load on the machine is no failure."""
    return lambda test: hypothesis.settings(deadline=None)(hypothesis.given(*strategies)(test))


def pattern(width: int) -> st.SearchStrategy[int]:
    """Any bit pattern, with corners of the format and values near them far more often."""
    f = FORMATS[width]
    one = f.bias << f.fraction
    corners = [0, 1, (1 << f.fraction) - 1, 1 << f.fraction, one, f.infinity - 1, f.infinity]
    corners += [f.infinity + 1, f.nan, f.nan + 1, (f.bias + f.fraction) << f.fraction]
    corners += [(f.bias + e) << f.fraction for e in (-1, 1, 31, 32, 63, 64) if e <= f.bias]
    near = st.builds(
        lambda base, delta, sign: (base + delta) % f.sign | (f.sign if sign else 0),
        st.sampled_from(corners),
        st.integers(-3, 3),
        st.booleans(),
    )
    close = st.builds(  # exponents near one another: sums that cancel, products near the limits
        lambda sign, exponent, fraction: (
            (sign << (f.width - 1)) | exponent << f.fraction | fraction
        ),
        st.integers(0, 1),
        st.integers(max(0, f.bias - 4), f.bias + 4),
        st.one_of(
            st.integers(0, (1 << f.fraction) - 1),
            st.sampled_from([0, 1, (1 << f.fraction) - 1, 1 << (f.fraction - 1)]),
        ),
    )
    return st.one_of(st.integers(0, (1 << width) - 1), near, close)


def integer(width: int) -> st.SearchStrategy[int]:
    """Any integer pattern, with powers of two and their neighbours more often."""
    near = st.builds(
        lambda bit, delta, flip: ((1 << bit) + delta ^ -flip) % (1 << width),
        st.integers(0, width - 1),
        st.integers(-2, 2),
        st.integers(0, 1),
    )
    return st.one_of(st.integers(0, (1 << width) - 1), near)
