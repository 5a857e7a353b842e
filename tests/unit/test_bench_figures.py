"""Numbers in the benchmarks' tables."""

import pytest

from bench.figures import geometric_mean, quantity, times


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.391, "0.391"),
        (1.94, "1.94"),
        (43, "43"),
        (999.4, "999"),
        (999.7, "1k"),
        (12_340, "12.3k"),
        (999_800, "1M"),
        (325e6, "325M"),
        (2.42e9, "2.42G"),
    ],
)
def test_a_quantity_has_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert quantity(value) == text


def test_a_ratio_is_shown_to_what_matters_of_it() -> None:
    assert [times(x) for x in (None, 0.987, 3.14159, 25.46, 232.2)] == [
        *("-", "0.99", "3.14", "25.5", "232")
    ]


def test_the_geometric_mean_of_a_ratio_and_its_inverse_is_one() -> None:
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)
    assert geometric_mean([8.0, 1.0, 27.0]) == pytest.approx(6.0)
    assert geometric_mean([]) is None
