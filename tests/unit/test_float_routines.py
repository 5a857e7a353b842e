"""The softfloat routines against the definition, and the pass that puts them in place."""

import struct
from collections.abc import Callable

import pytest
from float_inputs import MODES, integer, pattern
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.ir import floats
from lamina.ir.build import Builder
from lamina.ir.evaluate import Evaluator
from lamina.ir.graph import Routine
from lamina.ir.ops import OPS
from lamina.ir.softfloat import expand_floats, has_floats, routine_for
from lamina.ir.text import render
from lamina.ir.verify import verify

WIDTHS = (16, 32, 64)
NO_HOST = None  # these routines touch no state
Attrs = dict[str, int | bool]
Strategy = Callable[[int], st.SearchStrategy[int]]
FORMAT_PAIRS = [(w, to) for w in WIDTHS for to in WIDTHS if w != to]


def run(evaluator: Evaluator, *args: int) -> tuple[int, ...]:
    return evaluator(NO_HOST, *args)  # type: ignore[arg-type]


def check(op: str, width: int, count: int, strategy: Strategy, attrs: Attrs | None = None) -> None:
    attrs = attrs or {}
    definition = OPS[op].pure
    assert definition is not None
    routine = Evaluator(routine_for(op, width, **attrs))

    @settings(max_examples=300, deadline=None)
    @given(st.tuples(*[strategy(width)] * count), MODES)
    def agrees(args: tuple[int, ...], rm: int) -> None:
        assert run(routine, *args, rm) == definition(width, *args, rm, **attrs)

    agrees()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("op", "count"),
    [("fadd", 2), ("fsub", 2), ("fmul", 2), ("fdiv", 2), ("fsqrt", 1), ("fma", 3), ("frint", 1)],
)
def test_arithmetic_is_that_of_the_definition(op: str, count: int, width: int) -> None:
    check(op, width, count, pattern)


@pytest.mark.parametrize(("width", "to"), FORMAT_PAIRS)
def test_conversions_between_formats_are_those_of_the_definition(width: int, to: int) -> None:
    check("fcvt", width, 1, pattern, {"width": to})


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("integers", [32, 64])
@pytest.mark.parametrize("signed", [True, False])
def test_integer_conversions_are_those_of_the_definition(
    width: int, integers: int, signed: bool
) -> None:
    check("f_from_int", integers, 1, integer, {"width": width, "signed": signed})
    check("f_to_int", width, 1, pattern, {"width": integers, "signed": signed})


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("flag", [True, False])
def test_comparisons_and_extrema_are_those_of_the_definition(width: int, flag: bool) -> None:
    for op in ("feq", "flt", "fle"):
        check(op, width, 2, pattern, {"quiet": flag})
    for op in ("fmin", "fmax"):
        check(op, width, 2, pattern, {"numbers": flag})


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [  # the addend has the larger exponent but the product is larger; and the other way round
        (1.9, 1.9, -2.1),
        (1.25, 1.0, -1.5),
        (-1.9, 1.9, 2.1),
        (-1.25, 1.0, 1.5),
    ],
)
def test_a_fused_difference_has_the_sign_of_its_larger_part(a: float, b: float, c: float) -> None:
    args = [int.from_bytes(struct.pack("<d", v), "little") for v in (a, b, c)]
    for rm in range(5):
        due = floats.fma(64, *args, rm)
        assert run(Evaluator(routine_for("fma", 64)), *args, rm) == due


@pytest.mark.parametrize("rm", [5, 6, 7, 1 << 63])
def test_a_rounding_mode_that_does_not_exist_rounds_towards_zero(rm: int) -> None:
    third = floats.div(64, 0x3FF << 52, 0x4008 << 48, floats.RTZ)
    assert floats.div(64, 0x3FF << 52, 0x4008 << 48, rm) == third
    assert run(Evaluator(routine_for("fdiv", 64)), 0x3FF << 52, 0x4008 << 48, rm) == third


def test_routines_have_no_float_ops_and_no_division_beyond_64_bits() -> None:
    for width in WIDTHS:
        for op in ("fadd", "fmul", "fdiv", "fsqrt", "fma"):
            routine = routine_for(op, width)
            assert not has_floats(routine)
            for inner in routine.body.walk():
                if inner.name in ("udiv", "urem", "sdiv", "srem"):
                    assert inner.args[0].width <= 64


def test_a_routine_is_made_once() -> None:
    assert routine_for("fcvt", 32, width=64) is routine_for("fcvt", 32, width=64)


def test_wrong_attributes_are_refused() -> None:
    with pytest.raises(ValueError, match="fadd takes the attributes"):
        routine_for("fadd", 32, width=64)


def sample() -> Routine:
    """a*b + c computed in a loop, a branch and a callee; the rounding mode has 3 bits."""
    inner = Builder("inner", (32, 32, 3))
    a, b, rm = inner.params
    product, flags = inner.float_op("fmul", 32, a, b, rm)
    callee = verify(inner.finish(product, flags))
    outer = Builder("outer", (32, 32, 32, 3))
    a, b, c, rm = outer.params
    total, raised = outer.var(32), outer.var(5)
    with outer.loop():
        product, flags = outer.call(callee, a, b, rm)
        with outer.when(c != 0):
            value, more = outer.float_op("fadd", 32, product, c, rm)
            total.set(value)
            raised.set(flags | more)
        with outer.otherwise():
            total.set(product)
            raised.set(flags)
        outer.leave_loop()
    return verify(outer.finish(total.get(), raised.get()))


def test_expansion_means_the_same_and_leaves_the_original() -> None:
    original = sample()
    before = render(original)
    expanded = expand_floats(original)
    assert render(original) == before
    assert has_floats(original)
    assert not has_floats(expanded)
    for a, c in ((0x3F800001, 0x33800000), (0x7F7FFFFF, 0x7F7FFFFF), (0x7FA00000, 0)):
        for rm in range(5):
            args = (a, a, c, rm)
            assert run(Evaluator(expanded), *args) == run(Evaluator(original), *args)


def test_expansion_of_a_routine_without_floats_is_itself() -> None:
    b = Builder("plain", (64,))
    routine = verify(b.finish(b.params[0] + 1))
    assert expand_floats(routine) is routine
