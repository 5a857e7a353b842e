"""Floating-point instructions: boxing, state, and the parts that are not the IR's float ops."""

import struct

import pytest
from float_inputs import given, pattern
from hypothesis import strategies as st

from lamina.base.bits import mask
from lamina.ir import floats
from lamina.ir.floats import DZ, NV, NX, RDN, RTZ, RUP
from lamina.isa.riscv import ext_d, ext_f, ext_zfa, ext_zfh
from lamina.isa.riscv.fp import FS, D, Format, H, S
from lamina.isa.riscv.hart import FILES, RV64
from lamina.testing.evalhost import EvalHost

DECLARED = (ext_f, ext_d, ext_zfh, ext_zfa)
FORMATS = [S, D, H]
BY_FORMAT = pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.suffix)
INITIAL = 1 << 13
ILLEGAL = 2


def box(fmt: Format, bits: int) -> int:
    return bits | mask(64) ^ mask(fmt.width)


def bits_of(fmt: Format, value: float) -> int:
    code = {"h": "<e", "s": "<f", "d": "<d"}[fmt.suffix]
    return int.from_bytes(struct.pack(code, value), "little")


class Fpu:
    """A hart whose floating point is on; f1..f3 are sources, f10 and x10 targets."""

    def __init__(self) -> None:
        self.host = EvalHost(FILES)
        self.host.slots["mstatus"] = INITIAL

    def run(self, name: str, fmt: Format | None = None, *sources: int, **operands: int) -> int:
        """Run an instruction on boxed sources; returns f10 or x10, whichever is its target."""
        for i, bits in enumerate(sources, 1):
            self.host.regs["f"][i] = box(fmt, bits) if fmt else bits
        form = RV64.by_name[name]
        defaults = {"fd": 10, "rd": 10, "fs1": 1, "fs2": 2, "fs3": 3, "rs1": 1, "rm": 7}
        values = {n: operands.get(n, defaults.get(n, 0)) for n in form.operands}
        self.done = self.host.run(form, values, 0xABCD)
        return self.host.regs["f" if "fd" in form.operands else "x"][10]

    @property
    def flags(self) -> int:
        return self.host.get("fflags")

    @property
    def dirty(self) -> bool:
        return self.host.get("mstatus") & FS == FS


def names_of(extension: str) -> set[str]:
    return {f.name for f in RV64.forms if f.extension == extension}


def test_every_instruction_of_the_extensions_is_there() -> None:
    counts = {e: len(names_of(e)) for e in ("F", "D", "Zfhmin", "Zfh", "Zfa")}
    assert counts == {"F": 30, "D": 32, "Zfhmin": 8, "Zfh": 26, "Zfa": 22}


def test_no_encoding_overlaps() -> None:
    ours = {"F", "D", "Zfhmin", "Zfh", "Zfa"}
    assert not [
        (a.name, b.name) for a, b, _ in RV64.overlaps() if {a.extension, b.extension} & ours
    ]


@pytest.mark.parametrize(
    ("word", "name", "operands"),
    [  # as LLVM assembles them
        (0x00801AD3, "fadd.s", {"fd": 21, "fs1": 0, "fs2": 8, "rm": 1}),
        (0x5A0530D3, "fsqrt.d", {"fd": 1, "fs1": 10, "rm": 3}),
        (0xF80F9243, "fmadd.s", {"fd": 4, "fs1": 31, "fs2": 0, "fs3": 31, "rm": 1}),
        (0x0B72A3CF, "fnmadd.d", {"fd": 7, "fs1": 5, "fs2": 23, "fs3": 1, "rm": 2}),
        (0xC032BA53, "fcvt.lu.s", {"rd": 20, "fs1": 5, "rm": 3}),
        (0xF00B83D3, "fmv.w.x", {"fd": 7, "rs1": 23}),
        (0xE40C1453, "fclass.h", {"rd": 8, "fs1": 24}),
        (0x4204A253, "fcvt.d.s", {"fd": 4, "fs1": 9, "rm": 2}),
        (0x40208D53, "fcvt.s.h", {"fd": 26, "fs1": 1, "rm": 0}),
        (0xC2861453, "fcvtmod.w.d", {"rd": 8, "fs1": 12}),
        (0xF4100A53, "fli.h", {"fd": 20, "uimm": 0}),
        (0x44263307, "fld", {"fd": 6, "imm": 1090, "rs1": 12}),
        (0xB8C01127, "fsh", {"fs2": 12, "imm": -1150 & mask(64), "rs1": 0}),
        (0xA21DC353, "fleq.d", {"rd": 6, "fs1": 27, "fs2": 1}),
        (0x40571653, "froundnx.s", {"fd": 12, "fs1": 14, "rm": 1}),
        (0x2D1AA6D3, "fminm.h", {"fd": 13, "fs1": 21, "fs2": 17}),
    ],
)
def test_words_decode(word: int, name: str, operands: dict[str, int]) -> None:
    form = RV64.decode(word, 4)
    assert form is not None
    assert (form.name, form.encoding.decode(word)) == (name, operands)
    assert form.encoding.encode(operands) == word


@pytest.mark.parametrize(
    "name", sorted(n for e in ("F", "D", "Zfhmin", "Zfh", "Zfa") for n in names_of(e))
)
def test_every_instruction_is_illegal_while_fs_is_off(name: str) -> None:
    fpu = Fpu()
    fpu.host.slots["mstatus"] = 0
    fpu.run(name, rm=0)
    assert fpu.host.trapped == (ILLEGAL, 0xABCD)
    assert not any(fpu.host.regs["f"]) and fpu.host.get("mstatus") == 0


@pytest.mark.parametrize("name", sorted(f.name for f in RV64.forms if "rm" in f.operands))
def test_reserved_rounding_modes_are_illegal(name: str) -> None:
    for rm, frm in [(5, 0), (6, 0), (7, 5), (7, 6), (7, 7)]:
        fpu = Fpu()
        fpu.host.slots["frm"] = frm
        fpu.run(name, rm=rm)
        assert fpu.host.trapped == (ILLEGAL, 0xABCD), (rm, frm)
        assert not fpu.dirty


@pytest.mark.parametrize(("rm", "frm", "due"), [(7, RUP, RUP), (RTZ, RUP, RTZ), (RDN, 7, RDN)])
def test_the_rounding_mode_is_the_field_or_frm(rm: int, frm: int, due: int) -> None:
    fpu = Fpu()
    fpu.host.slots["frm"] = frm
    one, three = bits_of(D, 1.0), bits_of(D, 3.0)
    assert fpu.run("fdiv.d", D, one, three, rm=rm) == floats.div(64, one, three, due)[0]
    assert fpu.flags == NX and fpu.dirty


def test_flags_accumulate() -> None:
    fpu = Fpu()
    fpu.run("fdiv.s", S, bits_of(S, 1.0), 0)
    fpu.run("fsqrt.s", S, bits_of(S, -1.0))
    assert fpu.flags == DZ | NV


@pytest.mark.parametrize("fmt", [S, H], ids=lambda f: f.suffix)
def test_an_unboxed_operand_reads_as_the_canonical_nan(fmt: Format) -> None:
    fpu = Fpu()
    one = bits_of(fmt, 1.0)
    sources = box(fmt, one), one  # the second lacks its ones
    for name in ("fadd", "fmin", "fsgnj"):
        value = fpu.run(f"{name}.{fmt.suffix}", None, *sources)
        due = box(fmt, one) if name in ("fmin", "fsgnj") else box(fmt, fmt.ieee.nan)
        assert value == due, name
    assert fpu.run(f"fsgnj.{fmt.suffix}", None, *sources, fs1=2) == box(fmt, fmt.ieee.nan)
    assert fpu.run(f"fclass.{fmt.suffix}", None, *sources, fs1=2) == 1 << 9
    almost = box(fmt, one) ^ 1 << 63
    assert fpu.run(f"fclass.{fmt.suffix}", None, almost) == 1 << 9


@BY_FORMAT
def test_moves_loads_and_stores_carry_bits_even_unboxed(fmt: Format) -> None:
    fpu = Fpu()
    pattern_ = 0x8765_4321_8001_8765
    low = pattern_ & mask(fmt.width)
    extended = low | (mask(64) ^ mask(fmt.width))
    x = {"s": "w"}.get(fmt.suffix, fmt.suffix)
    assert fpu.run(f"fmv.x.{x}", None, pattern_) == extended  # the sign bit is set
    fpu.run(f"fs{fmt.letter}", None, 0, pattern_, imm=16)
    assert fpu.host.memory[16 : 16 + fmt.size] == low.to_bytes(fmt.size, "little")
    assert not any(fpu.host.memory[16 + fmt.size : 32])
    assert not fpu.dirty
    assert fpu.run(f"fl{fmt.letter}", imm=16) == box(fmt, low)
    assert fpu.dirty and fpu.flags == 0
    fpu.host.regs["x"][1] = pattern_
    assert fpu.run(f"fmv.{x}.x") == box(fmt, low)


def test_a_load_that_faults_writes_nothing() -> None:
    fpu = Fpu()
    fpu.host.regs["f"][10] = 5
    assert fpu.run("fld", imm=0x2000) == 5
    assert not fpu.done and not fpu.dirty


@BY_FORMAT
def test_sign_injection(fmt: Format) -> None:
    fpu = Fpu()
    plus, minus = bits_of(fmt, 1.5), bits_of(fmt, -1.5)
    for name, due in {"fsgnj": minus, "fsgnjn": plus, "fsgnjx": minus}.items():
        assert fpu.run(f"{name}.{fmt.suffix}", fmt, plus, minus) == box(fmt, due)
    assert fpu.run(f"fsgnjx.{fmt.suffix}", fmt, minus, minus) == box(fmt, plus)
    signaling = fmt.ieee.infinity + 1
    assert fpu.run(f"fsgnjn.{fmt.suffix}", fmt, signaling, plus) == box(
        fmt, signaling | fmt.ieee.sign
    )
    assert fpu.flags == 0


@BY_FORMAT
def test_minimum_and_maximum(fmt: Format) -> None:
    f, s = fmt.ieee, fmt.suffix
    one, two, zero, minus_zero = bits_of(fmt, 1), bits_of(fmt, 2), 0, f.sign
    minus_one, quiet, signaling = bits_of(fmt, -1), f.nan | 1, f.infinity + 1
    for a, b, low, high, flags in [
        (one, two, one, two, 0),
        (minus_one, one, minus_one, one, 0),
        (bits_of(fmt, -2), minus_one, bits_of(fmt, -2), minus_one, 0),
        (minus_zero, zero, minus_zero, zero, 0),
        (one, quiet, one, one, 0),
        (one, signaling, one, one, NV),
        (quiet, quiet, f.nan, f.nan, 0),
        (quiet, signaling, f.nan, f.nan, NV),
    ]:
        for x, y in ((a, b), (b, a)):
            fpu = Fpu()
            assert fpu.run(f"fmin.{s}", fmt, x, y) == box(fmt, low)
            assert fpu.run(f"fmax.{s}", fmt, x, y) == box(fmt, high)
            assert fpu.flags == flags
            nan = f.nan in (low, high) or quiet in (a, b) or signaling in (a, b)
            assert fpu.run(f"fminm.{s}", fmt, x, y) == box(fmt, f.nan if nan else low)
            assert fpu.run(f"fmaxm.{s}", fmt, x, y) == box(fmt, f.nan if nan else high)
            assert fpu.flags == flags


@BY_FORMAT
def test_comparisons_agree_with_the_order_of_numbers(fmt: Format) -> None:
    code = {"h": "<e", "s": "<f", "d": "<d"}[fmt.suffix]

    def value(bits: int) -> float:
        return float(struct.unpack(code, bits.to_bytes(fmt.size, "little"))[0])

    @given(pattern(fmt.width), pattern(fmt.width))
    def check(a: int, b: int) -> None:
        x, y = value(a), value(b)
        nan = x != x or y != y
        signaling = any(
            v & mask(fmt.width - 1) > fmt.ieee.infinity
            and not v & fmt.ieee.nan & ~fmt.ieee.infinity
            for v in (a, b)
        )
        for name, due, loud in [
            ("feq", x == y, signaling),
            ("flt", x < y, nan),
            ("fle", x <= y, nan),
            ("fltq", x < y, signaling),
            ("fleq", x <= y, signaling),
        ]:
            fpu = Fpu()
            assert fpu.run(f"{name}.{fmt.suffix}", fmt, a, b) == due
            assert fpu.flags == (NV if loud else 0)
            assert fpu.dirty == loud

    check()


@BY_FORMAT
def test_classes(fmt: Format) -> None:
    f, inf = fmt.ieee, float("inf")
    sign = f.sign
    patterns = [bits_of(fmt, -inf), bits_of(fmt, -1), sign | 1, sign, 0, f.fraction]
    patterns += [f.infinity - 1, f.infinity, f.infinity + 1, f.nan]
    for i, bits in enumerate(patterns):
        assert Fpu().run(f"fclass.{fmt.suffix}", fmt, bits) == 1 << i
    assert Fpu().run(f"fclass.{fmt.suffix}", fmt, f.nan | sign) == 1 << 9


@BY_FORMAT
def test_fused_operations_place_their_signs(fmt: Format) -> None:
    a, b, c = (bits_of(fmt, v) for v in (3.0, 5.0, 7.0))
    for name, due in {"fmadd": 22, "fmsub": 8, "fnmsub": -8, "fnmadd": -22}.items():
        got = Fpu().run(f"{name}.{fmt.suffix}", fmt, a, b, c)
        assert got == box(fmt, bits_of(fmt, due)), name


@BY_FORMAT
def test_integer_conversions_extend_their_results(fmt: Format) -> None:
    fpu = Fpu()
    s = fmt.suffix
    assert fpu.run(f"fcvt.wu.{s}", fmt, fmt.ieee.infinity) == mask(64)
    assert fpu.run(f"fcvt.w.{s}", fmt, bits_of(fmt, -2)) == mask(64) - 1
    assert fpu.run(f"fcvt.lu.{s}", fmt, bits_of(fmt, -2)) == 0
    assert fpu.flags == NV
    fpu.host.regs["x"][1] = 0xFFFF_FFFF_0000_0003  # only the low half counts
    assert fpu.run(f"fcvt.{s}.w") == fpu.run(f"fcvt.{s}.wu") == box(fmt, bits_of(fmt, 3))
    fpu.host.regs["x"][1] = mask(64)
    assert fpu.run(f"fcvt.{s}.l") == box(fmt, bits_of(fmt, -1))


@pytest.mark.parametrize("to", FORMATS, ids=lambda f: f.suffix)
@BY_FORMAT
def test_formats_convert(fmt: Format, to: Format) -> None:
    if to is fmt:
        assert f"fcvt.{fmt.suffix}.{fmt.suffix}" not in RV64.by_name
        return
    value = Fpu().run(f"fcvt.{to.suffix}.{fmt.suffix}", fmt, bits_of(fmt, -1.5))
    assert value == box(to, bits_of(to, -1.5))


@BY_FORMAT
def test_constants(fmt: Format) -> None:
    values = [-1, None, 2**-16, 2**-15, 2**-8, 2**-7, 0.0625, 0.125, 0.25, 0.3125, 0.375, 0.4375]
    values += [0.5, 0.625, 0.75, 0.875, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 8, 16, 128, 256]
    values += [2**15, 2**16, float("inf"), None]
    fpu = Fpu()
    for i, value in enumerate(values):
        if fmt is H and i == 29:
            value = float("inf")  # 2**16 is beyond half precision
        special = {1: 1 << fmt.ieee.fraction, 31: fmt.ieee.nan}.get(i)
        due = bits_of(fmt, value) if value is not None else special
        assert fpu.run(f"fli.{fmt.suffix}", uimm=i) == box(fmt, due or 0)
    assert fpu.flags == 0


@BY_FORMAT
def test_rounding_to_integral_reports_inexactness_only_when_asked(fmt: Format) -> None:
    fpu = Fpu()
    s = fmt.suffix
    assert fpu.run(f"fround.{s}", fmt, bits_of(fmt, -2.5), rm=RUP) == box(fmt, bits_of(fmt, -2))
    assert fpu.flags == 0
    assert fpu.run(f"froundnx.{s}", fmt, bits_of(fmt, 2.5), rm=4) == box(fmt, bits_of(fmt, 3))
    assert fpu.flags == NX
    assert fpu.run(f"fround.{s}", fmt, fmt.ieee.infinity + 1) == box(fmt, fmt.ieee.nan)
    assert fpu.flags == NX | NV


@given(pattern(64))
def test_the_modular_conversion_wraps_and_flags_like_fcvt(bits: int) -> None:
    (value,) = struct.unpack("<d", bits.to_bytes(8, "little"))
    finite = value == value and abs(value) != float("inf")
    due = int(value) & mask(32) if finite else 0
    fpu, other = Fpu(), Fpu()
    got = fpu.run("fcvtmod.w.d", D, bits)
    assert got & mask(32) == due
    assert got >> 32 == (mask(32) if due >> 31 else 0)
    other.run("fcvt.w.d", D, bits, rm=RTZ)
    assert fpu.flags == other.flags


@given(st.floats(width=32), st.floats(width=32))
def test_single_precision_sums_are_those_of_the_host(x: float, y: float) -> None:
    a, b = bits_of(S, x), bits_of(S, y)
    expected = floats.add(32, a, b, 0)[0]
    assert Fpu().run("fadd.s", S, a, b, rm=0) == box(S, expected)
