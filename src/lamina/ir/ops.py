"""The op table: every operation of the IR, its shape and, for the pure ones, its meaning.

All operations are total: every argument has a defined result (shifts by the width or more,
division by zero, the one overflowing signed division). Arguments and results are non-negative
integers of the width noted in the table. The two engines and the optimiser hold to this table.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lamina.base.bits import mask, signed
from lamina.ir import floats

Pure = Callable[..., int | tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class OpSpec:
    """`arity` is -1 for any number. `pure(width, *args)`: width is the first result's or, for
    comparisons and conversions, the argument's (see `RESULT`)."""

    name: str
    arity: int
    result: str  # same | bool | attr | none | float | other
    pure: Pure | None = None
    attrs: tuple[str, ...] = ()
    blocks: int = 0


def _shl(w: int, a: int, b: int) -> int:
    return (a << b) & mask(w) if b < w else 0


def _lshr(w: int, a: int, b: int) -> int:
    return a >> b if b < w else 0


def _ashr(w: int, a: int, b: int) -> int:
    return (signed(a, w) >> min(b, w - 1)) & mask(w)


def _udiv(w: int, a: int, b: int) -> int:
    return a // b if b else mask(w)


def _urem(w: int, a: int, b: int) -> int:
    return a % b if b else a


def _sdiv(w: int, a: int, b: int) -> int:
    if b == 0:
        return mask(w)
    x, y = signed(a, w), signed(b, w)
    q = abs(x) // abs(y)
    return (q if (x < 0) == (y < 0) else -q) & mask(w)


def _srem(w: int, a: int, b: int) -> int:
    if b == 0:
        return a
    x, y = signed(a, w), signed(b, w)
    r = abs(x) % abs(y)
    return (-r if x < 0 else r) & mask(w)


def _ctz(w: int, a: int) -> int:
    return (a & -a).bit_length() - 1 if a else w


def _bswap(w: int, a: int) -> int:
    return int.from_bytes(a.to_bytes(w // 8, "little"), "big")


def _bitrev(w: int, a: int) -> int:
    return int(format(a, f"0{w}b")[::-1], 2)


OPS: dict[str, OpSpec] = {}


def _op(
    name: str,
    arity: int,
    result: str,
    pure: Pure | None = None,
    attrs: tuple[str, ...] = (),
    blocks: int = 0,
) -> None:
    OPS[name] = OpSpec(name, arity, result, pure, attrs, blocks)


_op("const", 0, "attr", None, ("value",))
_op("operand", 0, "attr", None, ("operand",))
# Arithmetic and logic: both arguments and the result have one width.
_op("add", 2, "same", lambda w, a, b: (a + b) & mask(w))
_op("sub", 2, "same", lambda w, a, b: (a - b) & mask(w))
_op("mul", 2, "same", lambda w, a, b: (a * b) & mask(w))
_op("udiv", 2, "same", _udiv)
_op("urem", 2, "same", _urem)
_op("sdiv", 2, "same", _sdiv)
_op("srem", 2, "same", _srem)
_op("and", 2, "same", lambda w, a, b: a & b)
_op("or", 2, "same", lambda w, a, b: a | b)
_op("xor", 2, "same", lambda w, a, b: a ^ b)
_op("shl", 2, "same", _shl)
_op("lshr", 2, "same", _lshr)
_op("ashr", 2, "same", _ashr)
_op("clz", 1, "same", lambda w, a: w - a.bit_length())
_op("ctz", 1, "same", _ctz)
_op("popcount", 1, "same", lambda w, a: a.bit_count())
_op("bswap", 1, "same", _bswap)
_op("bitrev", 1, "same", _bitrev)
# Comparisons: a one-bit result.
_op("eq", 2, "bool", lambda w, a, b: int(a == b))
_op("ne", 2, "bool", lambda w, a, b: int(a != b))
_op("ult", 2, "bool", lambda w, a, b: int(a < b))
_op("ule", 2, "bool", lambda w, a, b: int(a <= b))
_op("slt", 2, "bool", lambda w, a, b: int(signed(a, w) < signed(b, w)))
_op("sle", 2, "bool", lambda w, a, b: int(signed(a, w) <= signed(b, w)))
_op("select", 3, "other", lambda w, c, a, b: a if c else b)
# Changes of width (attribute `width` is the result's).
_op("zext", 1, "attr")
_op("sext", 1, "attr")
_op("trunc", 1, "attr")
# Floating point, IEEE 754-2019: (value, flags) from bit patterns; the rounding mode (RISC-V
# numbering: 0 RNE, 1 RTZ, 2 RDN, 3 RUP, 4 RMM) is the last argument; flags are NV DZ OF UF NX
# as bits 4..0; a NaN result is the canonical one. Comparisons (of one bit) and the minimum and
# maximum do not round: their last argument means nothing.
_op("fadd", 3, "float", floats.add)
_op("fsub", 3, "float", floats.sub)
_op("fmul", 3, "float", floats.mul)
_op("fdiv", 3, "float", floats.div)
_op("fsqrt", 2, "float", floats.sqrt)
_op("fma", 4, "float", floats.fma)
_op("fcvt", 2, "float", floats.convert, ("width",))
_op("f_from_int", 2, "float", floats.from_int, ("width", "signed"))
_op("f_to_int", 2, "float", floats.to_int, ("width", "signed"))
_op("frint", 2, "float", floats.round_to_integral)
_op("feq", 3, "float", floats.equal, ("quiet",))
_op("flt", 3, "float", floats.less, ("quiet",))
_op("fle", 3, "float", floats.less_or_equal, ("quiet",))
_op("fmin", 3, "float", floats.minimum, ("numbers",))
_op("fmax", 3, "float", floats.maximum, ("numbers",))
# The vCPU's state. `slot` and `file` name entries of the architecture's state layout.
_op("get", 0, "attr", None, ("slot",))
_op("set", 1, "none", None, ("slot",))
_op("reg.get", 1, "attr", None, ("file",))
_op("reg.set", 2, "none", None, ("file",))
_op("pc", 0, "attr")
_op("insn.length", 0, "attr")
_op("icount", 0, "attr")
_op("time", 0, "attr")
# Guest memory at virtual addresses; may leave by a fault. `size` is in bytes.
_op("load", 1, "attr", None, ("size",))
_op("store", 2, "none", None, ("size",))
_op("rmw", 2, "attr", None, ("size", "kind"))
_op("cas", 3, "attr", None, ("size",))
_op("touch", 1, "none", None, ("access",))
_op("fence", 0, "none")
_op("relax", 0, "none")  # the guest waits for another vCPU, in a loop
# Guest-physical RAM (page walks): (value, ok) and ok; ok is 0 where there is no such RAM.
_op("phys.load", 1, "other", None, ("size",))
_op("phys.cas", 3, "other", None, ("size",))
# Control.
_op("jump", 1, "none")
_op("trap", 2, "none")
_op("leave", 0, "none")
_op("exit", 0, "none", None, ("reason",))
_op("call", -1, "other", None, ("routine",))
_op("if", 1, "none", None, (), 2)  # an attribute `rare` may say that it hardly ever holds
_op("switch", 1, "none", None, ("cases",), -1)
_op("loop", 0, "none", None, (), 1)
_op("break", 0, "none")
_op("var.get", 0, "attr", None, ("var",))
_op("var.set", 1, "none", None, ("var",))
# The engine's own state.
_op("tlb.flush", 0, "none")
_op("tlb.flush_page", 1, "none")
_op("tlb.flush_space", 1, "none")
_op("tlb.flush_space_page", 2, "none")
_op("tlb.space", 0, "none")
_op("tlb.context", 0, "none")
_op("icache.flush", 0, "none")
# Fences for other vCPUs: kind (0 code, 1 pages, 2 pages of one address space), mask of vCPUs, the
# mask's first vCPU (all ones: all vCPUs are meant), address, bytes (both 0, or bytes all ones: the
# whole address space), address space. The result is 1, or 0: the engine leaves it to the machine.
_op("fence.remote", 6, "attr")
# Software interrupts of other vCPUs: a mask of vCPUs and its first one, as above, and the bits that
# are set in the slot `Arch.posted_slot` of each. The result is 1, or 0, likewise; a mask of none
# asks whether the engine does such calls at all.
_op("post.remote", 3, "attr")
_op("pending", 0, "none")
_op("notify", 1, "none", None, ("event",))
