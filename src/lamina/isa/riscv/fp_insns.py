"""The instructions that exist alike in every floating-point format, each written once.

RISC-V unprivileged specification, chapters "F", "D" and "Zfh". `declare_arithmetic(insn, fmt)`
and the other functions declare them for one format; ext_f.py, ext_d.py and ext_zfh.py call these.
"""

from collections.abc import Callable

from lamina.ir import floats
from lamina.ir.build import Val
from lamina.isa.insn import Semantics
from lamina.isa.riscv.fp import (
    Format,
    accrue,
    begin,
    finish,
    is_nan,
    is_signaling,
    magnitude,
    read,
    require_fp,
    rounding_mode,
    sign,
    write,
)
from lamina.isa.riscv.hart import Hart

Declare = Callable[[str, str], Callable[[Semantics], Semantics]]


def declare_memory(insn: Declare, fmt: Format) -> None:
    """Loads and stores; they move bits, also of values that are not properly boxed."""

    @insn(f"fl{fmt.letter} fd, imm(rs1)", f"imm[11:0] rs1 {fmt.memory} fd 0000111")
    def load(h: Hart, fd: Val, rs1: Val, imm: Val) -> None:
        clean = begin(h)
        write(h, fmt, clean, fd, h.load(h.x[rs1] + imm, fmt.size))

    @insn(f"fs{fmt.letter} fs2, imm(rs1)", f"imm[11:5] fs2 rs1 {fmt.memory} imm[4:0] 0100111")
    def store(h: Hart, rs1: Val, fs2: Val, imm: Val) -> None:
        require_fp(h)
        h.store(h.x[rs1] + imm, h.f[fs2].trunc(fmt.width))


def declare_moves(insn: Declare, fmt: Format) -> None:
    """Bit patterns between x and f registers."""
    x = "w" if fmt.letter == "w" else fmt.letter

    @insn(f"fmv.x.{x} rd, fs1", f"11100{fmt.code} 00000 fs1 000 rd 1010011")
    def to_x(h: Hart, rd: Val, fs1: Val) -> None:
        require_fp(h)
        h.x[rd] = h.f[fs1].trunc(fmt.width).sext(64)

    @insn(f"fmv.{x}.x fd, rs1", f"11110{fmt.code} 00000 rs1 000 fd 1010011")
    def from_x(h: Hart, fd: Val, rs1: Val) -> None:
        clean = begin(h)
        write(h, fmt, clean, fd, h.x[rs1].trunc(fmt.width))


def declare_arithmetic(insn: Declare, fmt: Format) -> None:
    """fadd, fsub, fmul, fdiv, fsqrt and the fused multiply-adds."""
    for name, op, code in [
        ("fadd", "fadd", "00000"),
        ("fsub", "fsub", "00001"),
        ("fmul", "fmul", "00010"),
        ("fdiv", "fdiv", "00011"),
    ]:
        _declare_binary(insn, fmt, name, op, code)

    @insn(f"fsqrt.{fmt.suffix} fd, fs1, rm", f"01011{fmt.code} 00000 fs1 rm fd 1010011")
    def square_root(h: Hart, fd: Val, fs1: Val, rm: Val) -> None:
        clean, mode = begin(h), rounding_mode(h, rm)
        finish(h, fmt, clean, fd, *h.float_op("fsqrt", fmt.width, read(h, fmt, fs1), mode))

    for name, opcode, negate_product, negate_addend in [
        ("fmadd", "1000011", False, False),
        ("fmsub", "1000111", False, True),
        ("fnmsub", "1001011", True, False),
        ("fnmadd", "1001111", True, True),
    ]:
        _declare_fused(insn, fmt, name, opcode, negate_product, negate_addend)


def _declare_binary(insn: Declare, fmt: Format, name: str, op: str, code: str) -> None:
    @insn(f"{name}.{fmt.suffix} fd, fs1, fs2, rm", f"{code}{fmt.code} fs2 fs1 rm fd 1010011")
    def binary(h: Hart, fd: Val, fs1: Val, fs2: Val, rm: Val) -> None:
        clean, mode = begin(h), rounding_mode(h, rm)
        a, b = read(h, fmt, fs1), read(h, fmt, fs2)
        finish(h, fmt, clean, fd, *h.float_op(op, fmt.width, a, b, mode))


def _declare_fused(
    insn: Declare, fmt: Format, name: str, opcode: str, negate_product: bool, negate_addend: bool
) -> None:
    @insn(f"{name}.{fmt.suffix} fd, fs1, fs2, fs3, rm", f"fs3 {fmt.code} fs2 fs1 rm fd {opcode}")
    def fused(h: Hart, fd: Val, fs1: Val, fs2: Val, fs3: Val, rm: Val) -> None:
        clean, mode = begin(h), rounding_mode(h, rm)
        a, b, c = (read(h, fmt, r) for r in (fs1, fs2, fs3))
        if negate_product:
            a = a ^ fmt.ieee.sign
        if negate_addend:
            c = c ^ fmt.ieee.sign
        finish(h, fmt, clean, fd, *h.float_op("fma", fmt.width, a, b, c, mode))


def declare_bits(insn: Declare, fmt: Format) -> None:
    """Sign injection, minimum and maximum, comparisons, classification."""
    for name, funct3 in [("fsgnj", "000"), ("fsgnjn", "001"), ("fsgnjx", "010")]:
        _declare_sign(insn, fmt, name, funct3)
    for name, funct3, larger in [("fmin", "000", False), ("fmax", "001", True)]:
        declare_extremum(insn, fmt, name, funct3, larger, numbers_win=True)
    for name, funct3, quiet in [("feq", "010", True), ("flt", "001", False), ("fle", "000", False)]:
        declare_comparison(insn, fmt, name, name, funct3, quiet)

    @insn(f"fclass.{fmt.suffix} rd, fs1", f"11100{fmt.code} 00000 fs1 001 rd 1010011")
    def classify(h: Hart, rd: Val, fs1: Val) -> None:
        require_fp(h)
        h.x[rd] = class_of(h, fmt, read(h, fmt, fs1))


def class_of(h: Hart, fmt: Format, v: Val) -> Val:
    """The one-hot class: bits 0..7 are -inf, -normal, -subnormal, -0, +0, ..., +inf."""
    m = magnitude(fmt, v)
    f = fmt.ieee
    # Distance from zero: 0 zero, 1 subnormal, 2 normal, 3 infinity.
    rank = sum((m.uge(at).zext(64) for at in (1, 1 << f.fraction, f.infinity)), h.const(0))
    position = h.select(sign(fmt, v), 3 - rank, rank + 4)
    nan = h.select(is_signaling(fmt, v), 8, 9, 64)
    return h.const(1) << h.select(is_nan(fmt, v), nan, position)


def _declare_sign(insn: Declare, fmt: Format, name: str, funct3: str) -> None:
    @insn(f"{name}.{fmt.suffix} fd, fs1, fs2", f"00100{fmt.code} fs2 fs1 {funct3} fd 1010011")
    def inject(h: Hart, fd: Val, fs1: Val, fs2: Val) -> None:
        clean = begin(h)
        a, b = read(h, fmt, fs1), read(h, fmt, fs2)
        chosen = {"fsgnj": b, "fsgnjn": ~b, "fsgnjx": a ^ b}[name]
        write(h, fmt, clean, fd, magnitude(fmt, a) | (chosen & fmt.ieee.sign))


def declare_extremum(
    insn: Declare, fmt: Format, name: str, funct3: str, larger: bool, numbers_win: bool
) -> None:
    """IEEE 754-2019 minimumNumber and maximumNumber (a number wins over a NaN), or minimum and
    maximum (a NaN wins). -0 is less than +0."""

    @insn(f"{name}.{fmt.suffix} fd, fs1, fs2", f"00101{fmt.code} fs2 fs1 {funct3} fd 1010011")
    def extremum(h: Hart, fd: Val, fs1: Val, fs2: Val) -> None:
        clean = begin(h)
        a, b, op = read(h, fmt, fs1), read(h, fmt, fs2), "fmax" if larger else "fmin"
        unused = h.const(floats.RNE)
        result = h.float_op(op, fmt.width, a, b, unused, numbers=numbers_win)
        finish(h, fmt, clean, fd, *result)


def declare_comparison(
    insn: Declare, fmt: Format, name: str, relation: str, funct3: str, quiet: bool
) -> None:
    """A comparison; false with a NaN, which is invalid unless `quiet` (then only if it signals)."""

    @insn(f"{name}.{fmt.suffix} rd, fs1, fs2", f"10100{fmt.code} fs2 fs1 {funct3} rd 1010011")
    def compare(h: Hart, rd: Val, fs1: Val, fs2: Val) -> None:
        clean = begin(h)
        a, b = read(h, fmt, fs1), read(h, fmt, fs2)
        holds, flags = h.float_op(relation, 1, a, b, h.const(floats.RNE), quiet=quiet)
        accrue(h, clean, flags)
        h.x[rd] = holds.zext(64)


INTEGERS = [  # suffix, the field that names it, width, signed
    ("w", "00000", 32, True),
    ("wu", "00001", 32, False),
    ("l", "00010", 64, True),
    ("lu", "00011", 64, False),
]


def declare_integer_conversions(insn: Declare, fmt: Format) -> None:
    """To and from integers; results of 32 bits are sign-extended, unsigned ones too."""
    for suffix, field, width, signed in INTEGERS:
        _declare_to_int(insn, fmt, suffix, field, width, signed)
        _declare_from_int(insn, fmt, suffix, field, width, signed)


def _declare_to_int(
    insn: Declare, fmt: Format, suffix: str, field: str, width: int, signed: bool
) -> None:
    @insn(f"fcvt.{suffix}.{fmt.suffix} rd, fs1, rm", f"11000{fmt.code} {field} fs1 rm rd 1010011")
    def to_int(h: Hart, rd: Val, fs1: Val, rm: Val) -> None:
        clean, mode = begin(h), rounding_mode(h, rm, usual=floats.RMM)
        value, flags = h.float_op("f_to_int", width, read(h, fmt, fs1), mode, signed=signed)
        accrue(h, clean, flags)
        h.x[rd] = value.sext(64)


def _declare_from_int(
    insn: Declare, fmt: Format, suffix: str, field: str, width: int, signed: bool
) -> None:
    @insn(f"fcvt.{fmt.suffix}.{suffix} fd, rs1, rm", f"11010{fmt.code} {field} rs1 rm fd 1010011")
    def from_int(h: Hart, fd: Val, rs1: Val, rm: Val) -> None:
        clean, mode = begin(h), rounding_mode(h, rm, usual=floats.RMM)
        integer = h.x[rs1].trunc(width)
        result = h.float_op("f_from_int", fmt.width, integer, mode, signed=signed)
        finish(h, fmt, clean, fd, *result)


def declare_conversion(insn: Declare, to: Format, source: Format) -> None:
    """fcvt from one format to another; widening is exact, but rm must be a valid one anyhow."""

    @insn(
        f"fcvt.{to.suffix}.{source.suffix} fd, fs1, rm",
        f"01000{to.code} 000{source.code} fs1 rm fd 1010011",
    )
    def convert(h: Hart, fd: Val, fs1: Val, rm: Val) -> None:
        exact = to.width > source.width
        clean, mode = begin(h), rounding_mode(h, rm, usual=floats.RMM if exact else floats.RNE)
        finish(h, to, clean, fd, *h.float_op("fcvt", to.width, read(h, source, fs1), mode))
