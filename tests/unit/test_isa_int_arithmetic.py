"""Integer computation of RV64I, M, B and Zicond against plain Python formulas and known values."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rv64 import execute, host, result, u64, x

from lamina.base.bits import U64, sext, signed


def s(v: int) -> int:
    return signed(v, 64)


def s32(v: int) -> int:
    return signed(v, 32)


def word(v: int) -> int:
    """A 32-bit result as RV64 keeps it."""
    return sext(v & 0xFFFF_FFFF, 32, 64)


def quotient(a: int, b: int) -> int:
    q = abs(a) // abs(b) if b else 1
    return -1 if not b else (q if (a < 0) == (b < 0) else -q)


def remainder(a: int, b: int) -> int:
    return a - b * quotient(a, b) if b else a


def rotate_right(v: int, by: int, width: int) -> int:
    v &= (1 << width) - 1
    return (v >> by | v << (width - by)) & ((1 << width) - 1)


def carryless(a: int, b: int) -> int:
    product = 0
    for i in range(64):
        if b >> i & 1:
            product ^= a << i
    return product


def permute(table: int, chosen: int, bits: int) -> int:
    ones = (1 << bits) - 1
    return sum((table >> (chosen >> i & ones) * bits & ones) << i for i in range(0, 64, bits))


W = 0xFFFF_FFFF
BINARY: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "xor": lambda a, b: a ^ b,
    "or": lambda a, b: a | b,
    "and": lambda a, b: a & b,
    "sll": lambda a, b: a << b % 64,
    "srl": lambda a, b: a >> b % 64,
    "sra": lambda a, b: s(a) >> b % 64,
    "slt": lambda a, b: s(a) < s(b),
    "sltu": lambda a, b: a < b,
    "addw": lambda a, b: word(a + b),
    "subw": lambda a, b: word(a - b),
    "sllw": lambda a, b: word(a << b % 32),
    "srlw": lambda a, b: word((a & W) >> b % 32),
    "sraw": lambda a, b: word(s32(a) >> b % 32),
    "mul": lambda a, b: a * b,
    "mulh": lambda a, b: s(a) * s(b) >> 64,
    "mulhsu": lambda a, b: s(a) * b >> 64,
    "mulhu": lambda a, b: a * b >> 64,
    "mulw": lambda a, b: word(a * b),
    "div": lambda a, b: quotient(s(a), s(b)),
    "divu": lambda a, b: a // b if b else U64,
    "rem": lambda a, b: remainder(s(a), s(b)),
    "remu": lambda a, b: a % b if b else a,
    "divw": lambda a, b: word(quotient(s32(a), s32(b))),
    "divuw": lambda a, b: word((a & W) // (b & W) if b & W else W),
    "remw": lambda a, b: word(remainder(s32(a), s32(b))),
    "remuw": lambda a, b: word((a & W) % (b & W) if b & W else a),
    "sh1add": lambda a, b: 2 * a + b,
    "sh2add": lambda a, b: 4 * a + b,
    "sh3add": lambda a, b: 8 * a + b,
    "sh1add.uw": lambda a, b: 2 * (a & W) + b,
    "sh2add.uw": lambda a, b: 4 * (a & W) + b,
    "sh3add.uw": lambda a, b: 8 * (a & W) + b,
    "add.uw": lambda a, b: (a & W) + b,
    "andn": lambda a, b: a & ~b,
    "orn": lambda a, b: a | ~b,
    "xnor": lambda a, b: ~(a ^ b),
    "min": lambda a, b: min(s(a), s(b)),
    "max": lambda a, b: max(s(a), s(b)),
    "minu": min,
    "maxu": max,
    "rol": lambda a, b: rotate_right(a, -b % 64, 64),
    "ror": lambda a, b: rotate_right(a, b % 64, 64),
    "rolw": lambda a, b: word(rotate_right(a, -b % 32, 32)),
    "rorw": lambda a, b: word(rotate_right(a, b % 32, 32)),
    "clmul": carryless,
    "clmulh": lambda a, b: carryless(a, b) >> 64,
    "clmulr": lambda a, b: carryless(a, b) >> 63,
    "pack": lambda a, b: (b & W) << 32 | a & W,
    "packh": lambda a, b: (b & 0xFF) << 8 | a & 0xFF,
    "packw": lambda a, b: word((b & 0xFFFF) << 16 | a & 0xFFFF),
    "xperm4": lambda a, b: permute(a, b, 4),
    "xperm8": lambda a, b: permute(a, b, 8),
    "bclr": lambda a, b: a & ~(1 << b % 64),
    "bext": lambda a, b: a >> b % 64 & 1,
    "binv": lambda a, b: a ^ 1 << b % 64,
    "bset": lambda a, b: a | 1 << b % 64,
    "czero.eqz": lambda a, b: 0 if b == 0 else a,
    "czero.nez": lambda a, b: a if b == 0 else 0,
}
UNARY: dict[str, Callable[[int], int]] = {
    "clz": lambda a: 64 - a.bit_length(),
    "ctz": lambda a: f"1{a:064b}"[::-1].index("1"),
    "cpop": lambda a: f"{a:b}".count("1"),
    "clzw": lambda a: 32 - (a & W).bit_length(),
    "ctzw": lambda a: f"1{a & W:032b}"[::-1].index("1"),
    "cpopw": lambda a: f"{a & W:b}".count("1"),
    "sext.b": lambda a: signed(a, 8),
    "sext.h": lambda a: signed(a, 16),
    "zext.h": lambda a: a & 0xFFFF,
    "brev8": lambda a: int.from_bytes(bytes(int(f"{b:08b}"[::-1], 2) for b in a.to_bytes(8))),
    "rev8": lambda a: int.from_bytes(a.to_bytes(8, "little"), "big"),
    "orc.b": lambda a: int.from_bytes(bytes(255 * (b > 0) for b in a.to_bytes(8, "big")), "big"),
}
SHIFTS: dict[str, tuple[int, Callable[[int, int], int]]] = {
    "slli": (64, BINARY["sll"]),
    "srli": (64, BINARY["srl"]),
    "srai": (64, BINARY["sra"]),
    "slliw": (32, BINARY["sllw"]),
    "srliw": (32, BINARY["srlw"]),
    "sraiw": (32, BINARY["sraw"]),
    "rori": (64, BINARY["ror"]),
    "roriw": (32, BINARY["rorw"]),
    "slli.uw": (64, lambda a, b: (a & W) << b),
    "bclri": (64, BINARY["bclr"]),
    "bexti": (64, BINARY["bext"]),
    "binvi": (64, BINARY["binv"]),
    "bseti": (64, BINARY["bset"]),
}
IMMEDIATES: dict[str, Callable[[int, int], int]] = {
    "addi": BINARY["add"],
    "slti": lambda a, i: s(a) < i,
    "sltiu": lambda a, i: a < i & U64,
    "xori": BINARY["xor"],
    "ori": BINARY["or"],
    "andi": BINARY["and"],
    "addiw": BINARY["addw"],
}


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=40, deadline=None)
@given(a=u64, b=u64)
def test_register_instruction_follows_its_formula(name: str, a: int, b: int) -> None:
    assert result(f"{name} a0, a1, a2", a1=a, a2=b) == BINARY[name](a, b) & U64


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=40, deadline=None)
@given(a=u64)
def test_unary_instruction_follows_its_formula(name: str, a: int) -> None:
    assert result(f"{name} a0, a1", a1=a) == UNARY[name](a) & U64


@pytest.mark.parametrize("name", SHIFTS)
@settings(max_examples=40, deadline=None)
@given(a=u64, data=st.data())
def test_shift_by_an_immediate_follows_its_formula(name: str, a: int, data: st.DataObject) -> None:
    limit, formula = SHIFTS[name]
    by = data.draw(st.integers(0, limit - 1))
    assert result(f"{name} a0, a1, {by}", a1=a) == formula(a, by) & U64


@pytest.mark.parametrize("name", IMMEDIATES)
@settings(max_examples=40, deadline=None)
@given(a=u64, imm=st.integers(-2048, 2047))
def test_immediate_instruction_follows_its_formula(name: str, a: int, imm: int) -> None:
    assert result(f"{name} a0, a1, {imm}", a1=a) == IMMEDIATES[name](a, imm) & U64


@pytest.mark.parametrize(
    ("line", "a1", "a2", "due"),
    [
        ("div a0, a1, a2", 7, 0, U64),
        ("div a0, a1, a2", 1 << 63, U64, 1 << 63),
        ("rem a0, a1, a2", 1 << 63, U64, 0),
        ("rem a0, a1, a2", U64 - 6, 2, U64),  # -7 rem 2 = -1
        ("divw a0, a1, a2", 0x8000_0000, W, 0xFFFF_FFFF_8000_0000),
        ("divuw a0, a1, a2", 0xFFFF_FFFF, 1, U64),
        ("remuw a0, a1, a2", 0x8000_0000, 0, 0xFFFF_FFFF_8000_0000),
        ("mulhsu a0, a1, a2", U64, U64, U64),  # -1 times 2**64 - 1
        ("addw a0, a1, a2", 0x7FFF_FFFF, 1, 0xFFFF_FFFF_8000_0000),
        ("sll a0, a1, a2", 1, 64, 1),
        ("clmulr a0, a1, a2", 1 << 63, 1 << 63, 1 << 63),
        ("max a0, a1, a2", U64, 0, 0),
        ("maxu a0, a1, a2", U64, 0, U64),
    ],
)
def test_known_values(line: str, a1: int, a2: int, due: int) -> None:
    assert result(line, a1=a1, a2=a2) == due


def test_upper_immediates_are_sign_extended_from_32_bits() -> None:
    assert result("lui a0, 0x80000") == 0xFFFF_FFFF_8000_0000
    assert result("lui a0, 0x12345") == 0x1234_5000


def test_auipc_adds_to_the_address_of_the_instruction() -> None:
    h = host()
    h.slots["pc"] = 0x8000_0100
    assert execute(h, "auipc a0, 0xfffff")
    assert x(h, "a0") == 0x8000_0100 - 0x1000


def test_x0_stays_zero_and_reads_zero() -> None:
    h = host(a1=5)
    assert execute(h, "add zero, a1, a1")
    assert h.regs["x"][0] == 0
    assert result("add a0, zero, zero", a0=9) == 0


def test_sources_are_read_before_the_destination_is_written() -> None:
    assert result("sub a0, a0, a0", a0=77) == 0
    assert result("mulhu a0, a0, a0", a0=U64) == U64 - 1
