"""Every floating-point instruction, in every rounding mode, on the compiled engines: results,
flags and mstatus.FS are those of the definition (`ir.floats`) on inputs that are mostly corners.

A guest goes through a table of inputs and does one instruction in all modes on each. The variable
LAMINA_FLOAT_ROWS sets the number of inputs.
"""

import os
import random

import pytest

from lamina.base.bits import mask
from lamina.engine.jit.eager import EagerJitEngine
from lamina.ir.floats import FORMATS, NV, NX
from lamina.isa.insn import Form
from lamina.isa.riscv.fp import FS
from lamina.isa.riscv.hart import FILES, RV64
from lamina.machine.machine import ENGINES
from lamina.testing import guests
from lamina.testing.evalhost import EvalHost

MODES = ("rne", "rtz", "rdn", "rup", "rmm")
INITIAL = 1 << 13
ROWS = int(os.environ.get("LAMINA_FLOAT_ROWS", "30"))
INPUTS, OUTPUTS = guests.SYMBOLS["RAM"] + 0x10_0000, guests.SYMBOLS["RAM"] + 0x20_0000
TESTED = [
    form
    for form in RV64.forms
    if form.extension in ("F", "D", "Zfa", "Zfh", "Zfhmin") and "imm" not in form.operands
]


EAGER = [form for form in TESTED if form.extension in ("F", "D")]
CASES = [("threaded", form) for form in TESTED] + [("jit", form) for form in EAGER]


# -- inputs --------------------------------------------------------------------------------------
def corners(width: int) -> list[int]:
    f = FORMATS[width]
    one = f.bias << f.fraction
    found = [0, 1, (1 << f.fraction) - 1, 1 << f.fraction, one, one + 1, one - 1, 3 * one // 2]
    found += [f.infinity - 1, f.infinity, f.infinity + 1, f.nan, f.nan + 1]
    found += [(f.bias + e) << f.fraction for e in (-1, 1, f.fraction, f.fraction + 1)]
    for e in (31, 32, 63, 64):  # where conversions to integers go out of range
        if e <= f.bias:
            at = (f.bias + e) << f.fraction
            found += [at - 1, at, at + 1]
            if e < f.fraction:  # the limit and a half less or more
                half = 1 << (f.fraction - e - 1)
                found += [at - half // 2, at - half, at + half, at + 2 * half]
    return found


def a_float(dice: random.Random, width: int) -> int:
    f = FORMATS[width]
    sign = dice.choice((0, f.sign))
    kind = dice.randrange(4)
    if kind == 0:
        return sign ^ dice.choice(corners(width))
    if kind == 1:
        return sign ^ (dice.choice(corners(width)) + dice.randrange(-2, 3)) % f.sign
    exponent = f.bias + dice.randrange(-4, 5) if kind == 2 else dice.randrange(1 << f.exponent)
    fraction = dice.choice((0, 1, mask(f.fraction), dice.randrange(1 << f.fraction)))
    return sign | (exponent % (1 << f.exponent)) << f.fraction | fraction


def fixed(width: int) -> list[list[int]]:
    """Rows that chance would bring too seldom: zeros of both signs, NaNs, what truncates to -1."""
    f = FORMATS[width]
    one, minus = f.bias << f.fraction, f.sign
    half, one_and_half = one - (1 << f.fraction), one | 1 << (f.fraction - 1)
    return [
        [0, minus, 0],
        [minus, 0, minus],
        [minus, minus, 0],
        [one, one, minus | one],
        [minus | one, one, one],
        [minus | one_and_half, half, one],
        [minus | half, f.nan, one],
        [f.nan | minus, one, one],
        [f.infinity + 1, one, f.nan],
        [one, f.infinity + 1, f.nan],
        [f.infinity, 0, f.nan],
        [f.infinity, f.infinity | minus, f.infinity],
    ]


def an_integer(dice: random.Random) -> int:
    near = (1 << dice.randrange(64)) + dice.randrange(-2, 3)
    return dice.choice((dice.getrandbits(64), near, -near, dice.randrange(-3, 4))) % (1 << 64)


def source_width(form: Form) -> int:
    """Of the format that the instruction reads."""
    return {"h": 16, "s": 32, "w": 32, "d": 64}[form.name.split()[0].split(".")[-1]]


def rows(form: Form, dice: random.Random) -> list[list[int]]:
    """Values of f1, f2, f3 and x11."""
    letters = form.name.split(".")
    width = 64 if "rs1" in form.operands else source_width(form)
    assert len(letters) > 1
    upper = mask(64) ^ mask(width)
    table = [[*(v | upper for v in row), an_integer(dice)] for row in fixed(width)]
    while len(table) < ROWS:
        row = [a_float(dice, width) | upper for _ in range(3)]
        if upper and dice.random() < 0.1:
            row[dice.randrange(3)] ^= 1 << dice.randrange(width, 64)  # not properly boxed
        if dice.random() < 0.2:
            row[1] = row[0] ^ dice.choice((0, FORMATS[width].sign))
        table.append([*row, an_integer(dice)])
    return table


# -- the guest -----------------------------------------------------------------------------------
def variants(form: Form) -> list[tuple[str, int, bool]]:
    """(assembly, frm, FS begins as Initial)."""
    operands = {"fd": "f10", "rd": "x10", "fs1": "f1", "fs2": "f2", "fs3": "f3", "rs1": "x11"}
    operands["uimm"] = "7"
    names = form.operands
    words = [operands.get(n, "") for n in names if n != "rm"]
    text = f"{form.name} {', '.join(words)}"
    if form.name == "fcvtmod.w.d":
        text += ", rtz"
    if "rm" not in names:
        return [(text, 0, False), (text, 0, True)]
    found = [(f"{text}, dyn", mode, False) for mode in range(5)]
    found += [(f"{text}, {name}", 0, False) for name in MODES]
    return [*found, (f"{text}, dyn", 0, True), (f"{text}, dyn", 2, True), (f"{text}, rtz", 4, True)]


def block(assembly: str, frm: int, initial: bool, at: int) -> str:
    clean = "li t1, 0x4000; csrc mstatus, t1\n" if initial else ""
    result = "fmv.x.d t1, f10" if " f10" in assembly else "mv t1, x10"
    return f"""
  csrwi fflags, 0
  csrwi frm, {frm}
  csrs mstatus, s3
{clean}  {assembly}
  csrr t2, mstatus
  csrr t3, fflags
  {result}
  sd t1, {at}(s1)
  sd t2, {at + 8}(s1)
  sd t3, {at + 16}(s1)
"""


def program(form: Form) -> str:
    blocks = [block(*variant, 24 * i) for i, variant in enumerate(variants(form))]
    return f"""
  li s3, {FS}
  csrs mstatus, s3
  li s0, {INPUTS}
  li s1, {OUTPUTS}
  li s2, {ROWS}
1:
  fld f1, 0(s0)
  fld f2, 8(s0)
  fld f3, 16(s0)
  ld x11, 24(s0)
  {"".join(blocks)}
  addi s0, s0, 32
  addi s1, s1, {24 * len(blocks)}
  addi s2, s2, -1
  bnez s2, 2f
  li t0, FINISHER
  li t1, 0x5555
  sw t1, 0(t0)
3: j 3b
2: j 1b
"""


def expected(
    host: EvalHost, form: Form, row: list[int], variant: tuple[str, int, bool]
) -> tuple[int, int, int]:
    """Result, FS and fflags by the definition."""
    assembly, frm, initial = variant
    host.slots |= {"mstatus": INITIAL if initial else FS, "frm": frm, "fflags": 0}
    host.regs["f"][1:4] = row[:3]
    host.regs["x"][11] = row[3]
    numbers = {"fd": 10, "rd": 10, "fs1": 1, "fs2": 2, "fs3": 3, "rs1": 11, "uimm": 7}
    mode = assembly.rpartition(" ")[2]
    numbers["rm"] = MODES.index(mode) if mode in MODES else 7
    host.run(form, {n: numbers[n] for n in form.operands}, 0)
    assert host.trapped is None
    file = "f" if "fd" in form.operands else "x"
    return host.regs[file][10], host.get("mstatus") & FS, host.get("fflags")


@pytest.mark.parametrize(("engine", "form"), CASES, ids=lambda v: getattr(v, "name", v))
def test_an_instruction_is_that_of_the_definition(
    engine: str, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "jit", EagerJitEngine)
    dice = random.Random(form.name)
    table = rows(form, dice)
    with guests.machine(program(form), engine=engine) as m:
        data = b"".join(v.to_bytes(8, "little") for row in table for v in row)
        m.memory.write(INPUTS, data)
        assert m.run(timeout=60).reason == "poweroff"
        ways = variants(form)
        output = m.memory.read(OUTPUTS, 24 * len(ways) * ROWS)
    words = [int.from_bytes(output[i : i + 8], "little") for i in range(0, len(output), 8)]
    host = EvalHost(FILES)
    for i, row in enumerate(table):
        for j, way in enumerate(ways):
            at = 3 * (i * len(ways) + j)
            got = words[at], words[at + 1] & FS, words[at + 2]
            assert got == expected(host, form, row, way), (way, [hex(v) for v in row])


LOOPS = [  # first instruction of the loop, frm, x10 afterwards, flags
    ("fmul.d f10, f1, f2", 0, FORMATS[64].nan, 0),
    ("fmul.d f10, f3, f2", 2, 0x3FF8 << 48, 0),
    ("fdiv.d f10, f2, f3, rup", 0, 0x3FE5_5555_5555_5556, NX),
    ("flt.d x10, f1, f2", 0, 0, NV),
    ("flt.d x10, f2, f3", 0, 1, 0),
    ("fcvt.wu.d x10, f4", 0, 0, NV),
    ("fcvt.l.d x10, f1", 0, mask(63), NV),
    ("fmin.d f10, f1, f3", 0, 0x3FF8 << 48, 0),
    ("fadd.s f10, f2, f2", 0, mask(64) ^ mask(32) | FORMATS[32].nan, 0),  # not boxed
]


@pytest.mark.parametrize("engine", ["threaded", "jit"])
@pytest.mark.parametrize("fs", [FS, INITIAL])
@pytest.mark.parametrize(("first", "frm", "result", "flags"), LOOPS)
def test_a_loop_that_begins_with_a_rare_case_goes_on(
    engine: str,
    fs: int,
    first: str,
    frm: int,
    result: int,
    flags: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """f1 is a quiet NaN, f2 is 1.0, f3 is 1.5, f4 is -1.0."""
    monkeypatch.setitem(ENGINES, "jit", EagerJitEngine)
    values = (FORMATS[64].nan, 0x3FF << 52, 0x3FF8 << 48, 0xBFF << 52)
    loads = "\n".join(f"li t0, {v}; fmv.d.x f{i}, t0" for i, v in enumerate(values, 1))
    end = "fmv.x.d x10, f10" if " f10" in first else ""
    source = f"""
  li t0, {FS}
  csrs mstatus, t0
  {loads}
  csrwi fflags, 0
  csrwi frm, {frm}
  li t0, {FS}
  csrc mstatus, t0
  li t0, {fs}
  csrs mstatus, t0
  li s0, 40
  j 1f
1: {first}
  addi s0, s0, -1
  bnez s0, 1b
  csrr s1, mstatus
  csrr s2, fflags
  {end}
  {guests.finish()}
"""
    with guests.machine(source, engine=engine) as m:
        assert m.run(timeout=60).reason == "poweroff"
        assert (m.regs["x10"], m.regs["x18"]) == (result, flags)
        changed = bool(flags) or " f10" in first
        assert m.regs["x9"] & FS == (FS if changed else fs)
