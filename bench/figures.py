"""Numbers as a table shows them, and means. Pure functions; called by the reports."""

import math
import statistics
from collections.abc import Sequence

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float) -> str:
    """Three digits with an SI prefix: 12.3M."""
    for size, prefix in PREFIXES:
        if value >= size * 0.9995:
            return f"{_three(value / size)}{prefix}"
    return _three(value)


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.3g}"


def times(value: float | None) -> str:
    """A ratio, or a dash if there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def geometric_mean(values: Sequence[float]) -> float | None:
    """Of positive numbers; None of none."""
    if not values:
        return None
    return math.exp(statistics.fmean(math.log(value) for value in values))
