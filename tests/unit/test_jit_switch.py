"""Finding one of many places by its offset."""

import random

import pytest

from lamina.engine.jit.switch import FEW, Hash, is_table, perfect_hash


@pytest.mark.parametrize("count", [1, 2, 5, 17, 64])
def test_different_offsets_lie_at_different_places(count: int) -> None:
    rng = random.Random(count)
    for _ in range(20):
        offsets = [2 * n for n in rng.sample(range(-(1 << 40), 1 << 40), count)]
        found = perfect_hash(offsets)
        places = {found.of(o) for o in offsets}
        assert len(places) == count
        assert max(places) < 1 << found.bits <= 16 * max(2, count)


def test_a_place_is_the_top_of_a_product_of_64_bits() -> None:
    assert Hash(1 << 60 | 1, 4).of(3) == 3
    assert Hash(1 << 60 | 1, 4).of(-1) == 14


def test_a_table_is_made_of_what_lies_close_together() -> None:
    assert is_table(range(0, 400, 10))
    assert is_table([0, 100_000, 5_000_000])  # a few are compared
    assert not is_table([0, 100_000, 5_000_000, 7_000_000, 9_000_000][: FEW + 1])
