"""Identities hold for every value of the open argument, by the definition of the operation."""

import pytest

from lamina.base.bits import mask
from lamina.ir.folding import COMMUTATIVE, FOLD, Known, fold
from lamina.ir.graph import Op, Value
from lamina.ir.ops import OPS

BINARY = [
    name
    for name, spec in OPS.items()
    if spec.pure is not None and spec.arity == 2 and spec.result in ("same", "bool")
]


def samples(width: int) -> list[int]:
    near = {0, 1, 2, 3, 5, width - 1, width, width + 1, 1 << (width - 1), mask(width)}
    return sorted({n & mask(width) for n in near | {mask(width - 1), mask(width) - 1}})


@pytest.mark.parametrize("width", [1, 2, 8, 64])
@pytest.mark.parametrize("name", BINARY)
def test_an_identity_holds(name: str, width: int) -> None:
    open_value = Value(0, width, Op("get"))

    def number(known: Known, value: int) -> int:
        return value if isinstance(known, Value) else known

    for constant in samples(width):
        right = fold(name, width, open_value, constant)
        left = None if name in COMMUTATIVE else fold(name, width, constant, open_value)
        for value in samples(width):
            if right is not None:
                assert number(right, value) == FOLD[name](width, value, constant)
            if left is not None:
                assert number(left, value) == FOLD[name](width, constant, value)
    same = fold(name, width, open_value, open_value)
    if same is not None:
        assert all(number(same, v) == FOLD[name](width, v, v) for v in samples(width))


def test_identities_that_matter_are_known() -> None:
    x = Value(0, 64, Op("get"))
    for name in ("add", "sub", "or", "xor", "shl", "lshr", "ashr"):
        assert fold(name, 64, x, 0) is x
    assert fold("and", 64, x, 0) == 0 and fold("and", 64, x, mask(64)) is x
    assert fold("ult", 64, x, 0) == 0 and fold("xor", 64, x, x) == 0
