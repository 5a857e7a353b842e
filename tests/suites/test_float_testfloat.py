"""Both definitions of floating point against Berkeley TestFloat. Not part of the default run.

`LAMINA_TESTFLOAT` names the program `testfloat_gen`; `LAMINA_TESTFLOAT_CASES` how many cases of
each function and rounding mode are looked at (all below that number).
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from lamina.ir import floats
from lamina.ir.evaluate import Evaluator
from lamina.ir.softfloat import routine_for

GENERATOR = os.environ.get("LAMINA_TESTFLOAT", "")
CASES = int(os.environ.get("LAMINA_TESTFLOAT_CASES", "2000"))
MODES = ["near_even", "minMag", "min", "max", "near_maxMag"]  # by RISC-V number
WIDTHS = (16, 32, 64)


if not GENERATOR:
    raise pytest.UsageError("LAMINA_TESTFLOAT must name the program testfloat_gen")
Operation = tuple[str, str, int, dict[str, int | bool]]  # TestFloat's name, ours, width, attrs


def operations() -> Iterator[Operation]:
    for w in WIDTHS:
        for theirs, ours in [("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("div", "fdiv")]:
            yield f"f{w}_{theirs}", ours, w, {}
        yield f"f{w}_sqrt", "fsqrt", w, {}
        yield f"f{w}_mulAdd", "fma", w, {}
        yield f"f{w}_roundToInt", "frint", w, {}
        for to in WIDTHS:
            if to != w:
                yield f"f{w}_to_f{to}", "fcvt", w, {"width": to}
        for i in (32, 64):
            for prefix in ("i", "ui"):
                signed = prefix == "i"
                yield f"{prefix}{i}_to_f{w}", "f_from_int", i, {"width": w, "signed": signed}
                yield f"f{w}_to_{prefix}{i}", "f_to_int", w, {"width": i, "signed": signed}


DEFINITION: dict[str, Callable[..., tuple[int, int]]] = {
    "fadd": floats.add,
    "fsub": floats.sub,
    "fmul": floats.mul,
    "fdiv": floats.div,
    "fsqrt": floats.sqrt,
    "fma": floats.fma,
    "fcvt": floats.convert,
    "f_from_int": floats.from_int,
    "f_to_int": floats.to_int,
    "frint": floats.round_to_integral,
}


def cases(function: str, mode: str) -> Iterator[tuple[list[int], int, int]]:
    """(arguments, value, flags) as TestFloat has them."""
    command = [GENERATOR, f"-r{mode}", "-tininessafter", "-exact", function]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in islice(process.stdout, CASES):
            *arguments, value, flags = (int(word, 16) for word in line.split())
            yield arguments, value, flags


def width_of_result(name: str, width: int, attrs: dict[str, int | bool]) -> int:
    return int(attrs.get("width", width))


def canonical(name: str, width: int, value: int) -> int:
    """TestFloat built for another machine propagates NaNs; which one is not what is tested."""
    if name == "f_to_int":
        return value
    f = floats.FORMATS[width]
    return f.nan if value & (f.sign - 1) > f.infinity else value


@pytest.mark.parametrize("operation", list(operations()), ids=lambda o: o[0])
@pytest.mark.parametrize("which", ["definition", "softfloat"])
def test_agrees_with_testfloat(operation: Operation, which: str) -> None:
    function, name, width, attrs = operation
    if which == "definition":
        definition = DEFINITION[name]

        def run(*arguments: int) -> tuple[int, ...]:
            return definition(width, *arguments, **attrs)
    else:
        evaluator = Evaluator(routine_for(name, width, **attrs))

        def run(*arguments: int) -> tuple[int, ...]:
            return evaluator(None, *arguments)  # type: ignore[arg-type]

    seen = 0
    for rm, mode in enumerate(MODES):
        for arguments, value, flags in cases(function, mode):
            seen += 1
            due = canonical(name, width_of_result(name, width, attrs), value), flags
            got = run(*arguments, rm)
            assert got == due, f"{function} {[hex(a) for a in arguments]} {mode}"
    assert seen > 0
    print(f"{function}: {seen} cases")
