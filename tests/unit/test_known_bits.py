"""What is claimed of single bits holds for every value that they can come from."""

import random

from lamina.base.bits import mask
from lamina.ir.build import Builder, Val
from lamina.ir.evaluate import Evaluator
from lamina.ir.graph import Value
from lamina.ir.known_bits import Memory, bits_of, compare
from tests.unit.specialising import RandomHost


def random_logic(rng: random.Random) -> tuple[Builder, list[Val]]:
    """Values of 64 bits from two slots and constants of eight bits."""
    b = Builder("logic")
    values = [b.get("s0"), b.get("s1"), b.const(rng.getrandbits(8))]
    for _ in range(rng.randrange(2, 12)):
        x, fields = rng.choice(values), rng.getrandbits(8)
        y = rng.choice((*values, b.const(fields), b.const(mask(64) ^ fields)))
        made = (x & y, x | y, x ^ y, x & ~y, b.select(x[0], x, y), x + y)
        shifted = (x << rng.randrange(70), x >> rng.randrange(70), x << y)
        resized = x.trunc(4).zext(64)
        values.append(rng.choice((*made, *shifted, resized, (x & ~fields) | (y & fields))))
    return b, values


def test_claims_hold_in_every_evaluation() -> None:
    rng = random.Random(1)
    for _ in range(400):
        b, values = random_logic(rng)
        ready = Evaluator(b.finish(*values))
        memory: Memory = {}
        claims = [bits_of(v.value, v.width, memory) for v in values]
        for _ in range(4):
            host = RandomHost(0)
            host.slots |= {"s0": rng.getrandbits(64), "s1": rng.choice((5, rng.getrandbits(64)))}
            numbers = ready(host)
            by_value: dict[Value, int] = {
                v.value: number for v, number in zip(values, numbers, strict=True)
            }
            for claim, number in zip(claims, numbers, strict=True):
                assert number & (claim.ones | claim.zeros) == claim.ones
                assert not claim.same & (claim.ones | claim.zeros)
                if claim.same and claim.base in by_value:
                    assert (number ^ by_value[claim.base]) & claim.same == 0


def test_a_write_of_one_field_leaves_the_others() -> None:
    b = Builder("field")
    old = b.get("s0")
    new = (old & ~0xF0) | ((old | 0x10) & 0xF0)
    known = bits_of(new.value, 64, {})
    assert (known.base, known.same, known.ones) == (old.value, mask(64) ^ 0x10, 0x10)
    assert compare(((old ^ new) & 0x20).value, 0, {}) == 1
    assert compare(((old ^ new) & 0x10).value, 0, {}) is None
    assert compare((new & 0x10).value, 0, {}) == 0


def test_a_choice_between_two_values_is_neither() -> None:
    b = Builder("choice")
    x, y = b.get("s0"), b.get("s1")
    chosen = b.select(x[0], x & 6, y & 6)
    assert bits_of(chosen.value, 64, {}).same == 0
    assert compare((chosen ^ (x & 6)).value, 0, {}) is None
