"""The IR: capture, folding, verification, clean-up, text, and evaluation of control flow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.base.bits import mask, signed
from lamina.ir.build import Builder, Val
from lamina.ir.evaluate import Evaluator
from lamina.ir.graph import Routine
from lamina.ir.ops import OPS
from lamina.ir.passes import simplify
from lamina.ir.text import render
from lamina.ir.verify import VerifyError, verify
from lamina.isa.arch import RegFile
from lamina.testing.evalhost import EvalHost

WIDTHS = (1, 8, 13, 32, 64, 128)
BINARY = [n for n, s in OPS.items() if s.pure and s.arity == 2 and s.result in ("same", "bool")]
UNARY = [n for n, s in OPS.items() if s.pure and s.arity == 1 and s.result == "same"]


def evaluate(routine: Routine, *args: int) -> tuple[int, ...]:
    return Evaluator(simplify(verify(routine)))(EvalHost([RegFile("x", 4, zero=True)]), *args)


@given(st.sampled_from(BINARY), st.sampled_from(WIDTHS), st.data())
def test_binary_operations_stay_in_their_width(name: str, width: int, data: st.DataObject) -> None:
    a, b = (data.draw(st.integers(0, mask(width))) for _ in "ab")
    result = OPS[name].pure(width, a, b)  # type: ignore[misc]
    assert 0 <= result <= mask(1 if OPS[name].result == "bool" else width)


@given(st.sampled_from(UNARY), st.sampled_from((8, 32, 64)), st.data())
def test_unary_operations_stay_in_their_width(name: str, width: int, data: st.DataObject) -> None:
    result = OPS[name].pure(width, data.draw(st.integers(0, mask(width))))  # type: ignore[misc]
    assert 0 <= result <= mask(width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("over", [0, 1, 1000])
def test_shifts_by_the_width_or_more_are_total(width: int, over: int) -> None:
    ones, by = mask(width), width + over
    assert OPS["shl"].pure(width, ones, by) == 0  # type: ignore[misc]
    assert OPS["lshr"].pure(width, ones, by) == 0  # type: ignore[misc]
    assert OPS["ashr"].pure(width, ones, by) == ones  # type: ignore[misc]


@given(st.integers(0, mask(64)), st.integers(0, mask(64)))
def test_signed_division_and_remainder_fit_together(a: int, b: int) -> None:
    q = OPS["sdiv"].pure(64, a, b)  # type: ignore[misc]
    r = OPS["srem"].pure(64, a, b)  # type: ignore[misc]
    assert (q * b + r) & mask(64) == a  # type: ignore[operator]
    if b:
        assert abs(signed(r, 64)) < abs(signed(b, 64))  # type: ignore[arg-type]


def test_division_by_zero_is_defined() -> None:
    for width in (8, 32, 64):
        assert OPS["sdiv"].pure(width, 5, 0) == mask(width)  # type: ignore[misc]
        assert OPS["udiv"].pure(width, 5, 0) == mask(width)  # type: ignore[misc]
        assert OPS["srem"].pure(width, 5, 0) == 5  # type: ignore[misc]
        assert OPS["urem"].pure(width, 5, 0) == 5  # type: ignore[misc]


def test_the_overflowing_signed_division_is_defined() -> None:
    least = 1 << 63
    assert OPS["sdiv"].pure(64, least, mask(64)) == least  # type: ignore[misc]
    assert OPS["srem"].pure(64, least, mask(64)) == 0  # type: ignore[misc]


@given(st.sampled_from(BINARY), st.integers(0, mask(64)), st.integers(0, mask(64)))
def test_folded_constants_equal_evaluated_ones(name: str, a: int, b: int) -> None:
    folded = Builder("folded")
    value = folded.pure(name, folded.const(a), folded.const(b))
    left = Builder("evaluated", (64, 64))
    same = left.pure(name, *left.params)
    extended = same if same.width == 64 else same.zext(64)
    assert evaluate(left.finish(extended), a, b) == (Builder.known(value),)


def test_unrolled_python_loops_over_constants_leave_no_operations() -> None:
    b = Builder("sum")
    total = b.const(0)
    for i in range(10):
        total = total + i
    assert Builder.known(total) == 45


def test_values_of_different_width_do_not_mix() -> None:
    b = Builder("mixed", (64, 32))
    with pytest.raises(TypeError, match="32 bits where 64 are due"):
        b.params[0] + b.params[1]


def test_a_symbolic_value_has_no_truth() -> None:
    b = Builder("truth", (64,))
    with pytest.raises(TypeError, match="no truth"):
        bool(b.params[0] == 1)


@given(st.integers(0, mask(64)), st.integers(0, mask(16)))
def test_bit_ranges_select_and_insert(value: int, part: int) -> None:
    b = Builder("bits", (64, 64))
    v, p = b.params
    inserted = v.insert(31, 16, p.trunc(16))
    got, selected = evaluate(b.finish(inserted, inserted[31:16].zext(64)), value, part)
    assert selected == part
    assert got & ~(mask(16) << 16) == value & ~(mask(16) << 16)


@given(st.integers(0, mask(32)), st.integers(0, mask(32)))
def test_concatenation_puts_the_first_part_on_top(high: int, low: int) -> None:
    b = Builder("cat", (64, 64))
    joined = b.cat(b.params[0].trunc(32), b.params[1].trunc(32))
    assert evaluate(b.finish(joined), high, low) == (high << 32 | low,)


def branchy() -> Routine:
    b = Builder("branchy", (64,))
    out = b.var(64, 0, "out")
    with b.when(b.params[0] == 1):
        out.set(10)
    with b.otherwise():
        out.set(20)
        with b.when(b.params[0] == 2):
            out.set(30)
    return b.finish(out.get())


@pytest.mark.parametrize(("given_", "due"), [(1, 10), (2, 30), (3, 20)])
def test_conditionals_choose_one_side(given_: int, due: int) -> None:
    assert evaluate(branchy(), given_) == (due,)


def test_otherwise_has_to_follow_its_when() -> None:
    b = Builder("stray", (64,))
    with b.when(b.params[0] == 1):
        pass
    b.get("pc")
    with pytest.raises(TypeError, match="must directly follow"), b.otherwise():
        pass


def factorial() -> Routine:
    b = Builder("factorial", (64,))
    left, product = b.var(64, b.params[0]), b.var(64, 1)
    with b.loop():
        n = left.get()
        with b.when(n == 0):
            b.leave_loop()
        product.set(product.get() * n)
        left.set(n - 1)
    return b.finish(product.get())


def test_loops_run_until_they_are_left() -> None:
    assert evaluate(factorial(), 10) == (3628800,)


def test_calls_pass_arguments_and_results() -> None:
    inner = simplify(verify(factorial()))
    b = Builder("outer", (64,))
    (value,) = b.call(inner, b.params[0] + 1)
    routine = b.finish(value + 5)
    assert routine.callees() == [inner]
    assert evaluate(routine, 4) == (125,)


@pytest.mark.parametrize(("given_", "due"), [(3, 1), (7, 2), (8, 9)])
def test_a_switch_runs_one_case_or_the_default(given_: int, due: int) -> None:
    b = Builder("switch", (64,))
    out = b.var(64)
    cases = {3: lambda: out.set(1), 7: lambda: out.set(2)}
    b.switch(b.params[0], cases, lambda: out.set(9))
    assert evaluate(b.finish(out.get()), given_) == (due,)


# The verifier ------------------------------------------------------------------------------------


def refused(make: object, complaint: str) -> None:
    b = Builder("bad", (64, 32))
    make(b, *b.params)  # type: ignore[operator]
    with pytest.raises(VerifyError, match=complaint):
        verify(b.finish())


def test_verifier_refuses_unknown_operations() -> None:
    refused(lambda b, p, q: b.emit("frobnicate"), "unknown operation")


def test_verifier_refuses_mixed_widths() -> None:
    refused(lambda b, p, q: b.one("add", 64, p, q), "over widths")


def test_verifier_refuses_wrong_arity() -> None:
    refused(lambda b, p, q: b.one("add", 64, p), "takes 2 arguments")


def test_verifier_refuses_missing_attributes() -> None:
    refused(lambda b, p, q: b.one("load", 64, p), "lacks the attribute size")


def test_verifier_refuses_break_outside_of_a_loop() -> None:
    refused(lambda b, p, q: b.leave_loop(), "break outside")


def test_verifier_refuses_values_from_inside_a_block() -> None:
    def make(b: Builder, p: Val, q: Val) -> None:
        with b.when(p == 0):
            inner = p + 1
        b.set("pc", inner)

    refused(make, "not defined there")


def test_verifier_refuses_stores_of_another_size() -> None:
    refused(lambda b, p, q: b.emit("store", (p, q), size=8), "store of 8 bytes")


# Clean-up and text -------------------------------------------------------------------------------


def test_simplify_merges_repeated_operations_and_drops_unused_ones() -> None:
    b = Builder("twice", (64,))
    first, second = b.params[0] + 7, b.params[0] + 7
    b.params[0] * 3
    routine = simplify(verify(b.finish(first ^ second)))
    assert [op.name for op in routine.body.walk()] == ["const", "add", "xor"]


def test_simplify_keeps_a_register_read_on_its_side_of_a_write() -> None:
    b = Builder("swap")
    before = b.reg("x", 1)
    b.set_reg("x", 1, b.const(5))
    after = b.reg("x", 1)
    assert evaluate(b.finish(before, after)) == (0, 5)


def test_simplify_keeps_effects_whose_results_are_unused() -> None:
    b = Builder("effects", (64,))
    b.load(b.params[0], 8)
    routine = simplify(verify(b.finish()))
    assert [op.name for op in routine.body.walk()] == ["load"]
    assert routine.may_leave


def test_routines_render_as_text() -> None:
    assert render(simplify(verify(branchy()))) == (
        "routine branchy(%0:64) -> %9\n"
        "  %1:64 = const 0\n"
        "  var.set %1 out\n"
        "  %2:64 = const 1\n"
        "  %3:1 = eq %0 %2\n"
        "  if %3\n"
        "  then:\n"
        "    %4:64 = const 0xa\n"
        "    var.set %4 out\n"
        "  else:\n"
        "    %5:64 = const 0x14\n"
        "    var.set %5 out\n"
        "    %6:64 = const 2\n"
        "    %7:1 = eq %0 %6\n"
        "    if %7\n"
        "    then:\n"
        "      %8:64 = const 0x1e\n"
        "      var.set %8 out\n"
        "  %9:64 = var.get out\n"
    )
