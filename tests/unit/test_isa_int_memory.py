"""Loads, stores, jumps, atomics, cache-block operations and waits of the integer extensions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rv64 import BASE, execute, host, run_program, u64, x

from lamina.base.bits import U64, mask, sext, signed
from lamina.isa.riscv.hart import RV64 as TABLE
from lamina.testing.evalhost import COMBINE, EvalHost

AT = BASE + 0x100
ILLEGAL, LOAD_MISALIGNED, LOAD_FAULT, STORE_MISALIGNED, STORE_FAULT = 2, 4, 5, 6, 7


def put(h: EvalHost, gva: int, value: int, size: int) -> None:
    h.memory[gva - BASE : gva - BASE + size] = value.to_bytes(size, "little")


def peek(h: EvalHost, gva: int, size: int) -> int:
    return int.from_bytes(h.memory[gva - BASE : gva - BASE + size], "little")


@pytest.mark.parametrize(
    ("name", "size", "signed_"),
    [
        *(("lb", 1, True), ("lh", 2, True), ("lw", 4, True), ("ld", 8, True)),
        *(("lbu", 1, False), ("lhu", 2, False), ("lwu", 4, False)),
    ],
)
@settings(max_examples=30, deadline=None)
@given(value=u64, imm=st.integers(-256, 256))
def test_loads_extend_as_they_say(
    name: str, size: int, signed_: bool, value: int, imm: int
) -> None:
    h = host(a1=AT)
    put(h, AT + imm, value, 8)
    assert execute(h, f"{name} a0, {imm}(a1)")
    low = value & mask(8 * size)
    assert x(h, "a0") == (sext(low, 8 * size, 64) if signed_ else low)


@pytest.mark.parametrize(("name", "size"), [("sb", 1), ("sh", 2), ("sw", 4), ("sd", 8)])
@settings(max_examples=30, deadline=None)
@given(value=u64, imm=st.integers(-128, 255))
def test_stores_write_their_bytes_and_no_others(name: str, size: int, value: int, imm: int) -> None:
    h = host(a1=AT, a2=value)
    before = bytes(h.memory)
    assert execute(h, f"{name} a2, {imm}(a1)")
    at = AT + imm - BASE
    assert peek(h, AT + imm, size) == value & mask(8 * size)
    assert h.memory[:at] == before[:at] and h.memory[at + size :] == before[at + size :]


def test_a_faulting_load_leaves_its_destination_alone() -> None:
    h = host(a0=7, a1=0)
    assert not execute(h, "ld a0, 0(a1)")
    assert h.trapped == (LOAD_FAULT, 0)
    assert x(h, "a0") == 7 and h.slots["pc"] == BASE


# Jumps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("beq", lambda a, b: a == b),
        ("bne", lambda a, b: a != b),
        ("blt", lambda a, b: signed(a, 64) < signed(b, 64)),
        ("bge", lambda a, b: signed(a, 64) >= signed(b, 64)),
        ("bltu", lambda a, b: a < b),
        ("bgeu", lambda a, b: a >= b),
    ],
)
@settings(max_examples=30, deadline=None)
@given(a=u64, b=u64, offset=st.integers(-2048, 2047))
def test_branches_go_where_their_condition_says(
    name: str, test: object, a: int, b: int, offset: int
) -> None:
    h = host(a1=a, a2=b)
    assert execute(h, f"{name} a1, a2, . + {2 * offset}")
    assert h.slots["pc"] == BASE + (2 * offset if test(a, b) else 4)  # type: ignore[operator]


def test_jal_links_behind_itself() -> None:
    h = host()
    assert execute(h, "jal ra, . - 0x800")
    assert (h.slots["pc"], x(h, "ra")) == (BASE - 0x800, BASE + 4)


def test_a_compressed_call_links_two_bytes_on() -> None:
    h = host(a1=AT)
    assert execute(h, "c.jalr a1")
    assert (h.slots["pc"], x(h, "ra")) == (AT, BASE + 2)


def test_jalr_clears_bit_0_and_reads_its_base_before_it_links() -> None:
    h = host(ra=AT)
    assert execute(h, "jalr ra, 3(ra)")
    assert (h.slots["pc"], x(h, "ra")) == (AT + 2, BASE + 4)


def test_a_program_runs() -> None:
    h = run_program(
        """
        li a0, 0
        li a1, 100
    1:  add a0, a0, a1
        c.addi a1, -1
        bnez a1, 1b
    end:
        """
    )
    assert x(h, "a0") == 5050


# Atomics -----------------------------------------------------------------------------------------

SIZES = {"b": 1, "h": 2, "w": 4, "d": 8}


@pytest.mark.parametrize("letter", SIZES)
@pytest.mark.parametrize("kind", COMBINE)
@settings(max_examples=15, deadline=None)
@given(old=u64, new=u64)
def test_amo_combines_memory_and_returns_the_old_value(
    kind: str, letter: str, old: int, new: int
) -> None:
    size = SIZES[letter]
    h = host(a1=AT, a2=new)
    put(h, AT, old, 8)
    assert execute(h, f"amo{kind}.{letter}.aqrl a0, a2, (a1)")
    low = mask(8 * size)
    assert x(h, "a0") == sext(old & low, 8 * size, 64)
    due = COMBINE[kind](8 * size, old & low, new & low)
    assert peek(h, AT, 8) == (old & ~low) | due


@pytest.mark.parametrize(
    ("line", "off", "cause"),
    [
        ("lr.w a0, (a1)", 2, LOAD_MISALIGNED),
        ("lr.d a0, (a1)", 4, LOAD_MISALIGNED),
        ("sc.w a0, a2, (a1)", 2, STORE_MISALIGNED),
        ("sc.d a0, a2, (a1)", 4, STORE_MISALIGNED),
        ("amoadd.w a0, a2, (a1)", 1, STORE_MISALIGNED),
        ("amoadd.d a0, a2, (a1)", 4, STORE_MISALIGNED),
        ("amoadd.h a0, a2, (a1)", 1, STORE_MISALIGNED),
        ("amocas.q a0, a2, (a1)", 8, STORE_MISALIGNED),
    ],
)
def test_misaligned_atomics_trap(line: str, off: int, cause: int) -> None:
    h = host(a1=AT + off)
    assert not execute(h, line)
    assert h.trapped == (cause, AT + off)


def test_byte_atomics_need_no_alignment() -> None:
    h = host(a1=AT + 3, a2=1)
    assert execute(h, "amoadd.b a0, a2, (a1)")
    assert peek(h, AT + 3, 1) == 1


@pytest.mark.parametrize("letter", ["w", "d"])
def test_store_conditional_succeeds_after_load_reserved(letter: str) -> None:
    h = host(a1=AT, a2=5)
    put(h, AT, 1 << 31, 8)
    assert execute(h, f"lr.{letter} a0, (a1)")
    assert x(h, "a0") == sext(1 << 31, 8 * SIZES[letter], 64)
    assert execute(h, f"sc.{letter} a0, a2, (a1)")
    assert x(h, "a0") == 0 and peek(h, AT, SIZES[letter]) == 5


def test_store_conditional_fails_without_a_reservation() -> None:
    h = host(a1=AT, a2=5)
    assert execute(h, "sc.d a0, a2, (a1)")
    assert x(h, "a0") == 1 and peek(h, AT, 8) == 0


def test_store_conditional_fails_for_another_address_and_ends_the_reservation() -> None:
    h = host(a1=AT, a2=5, a3=AT + 8)
    for line in ("lr.d a0, (a1)", "sc.d a4, a2, (a3)", "sc.d a5, a2, (a1)"):
        assert execute(h, line)
    assert (x(h, "a4"), x(h, "a5")) == (1, 1)
    assert peek(h, AT, 16) == 0


def test_store_conditional_fails_if_memory_changed() -> None:
    h = host(a1=AT, a2=5)
    assert execute(h, "lr.w a0, (a1)")
    put(h, AT, 9, 4)
    assert execute(h, "sc.w a0, a2, (a1)")
    assert x(h, "a0") == 1 and peek(h, AT, 4) == 9


def test_store_conditional_that_fails_still_checks_its_address() -> None:
    h = host(a1=0, a2=5)
    assert not execute(h, "sc.d a0, a2, (a1)")
    assert h.trapped == (STORE_FAULT, 0)


def test_load_reserved_into_its_own_address_register() -> None:
    h = host(a1=AT, a2=5, a3=AT)
    assert execute(h, "lr.d a1, (a1)")
    assert execute(h, "sc.d a0, a2, (a3)")
    assert x(h, "a0") == 0


@pytest.mark.parametrize("letter", SIZES)
@pytest.mark.parametrize("equal", [True, False])
def test_compare_and_swap(letter: str, equal: bool) -> None:
    size = SIZES[letter]
    old = 0x8182_8384_8586_8788
    h = host(a0=old if equal else old ^ 1, a1=AT, a2=42)
    put(h, AT, old, 8)
    assert execute(h, f"amocas.{letter} a0, a2, (a1)")
    assert x(h, "a0") == sext(old & mask(8 * size), 8 * size, 64)
    assert peek(h, AT, size) == (42 if equal else old & mask(8 * size))


def test_compare_and_swap_compares_no_more_than_its_size() -> None:
    h = host(a0=0xFFFF_0000_0000_0007, a1=AT, a2=1)
    put(h, AT, 7, 4)
    assert execute(h, "amocas.w a0, a2, (a1)")
    assert (x(h, "a0"), peek(h, AT, 4)) == (7, 1)


@pytest.mark.parametrize("equal", [True, False])
def test_compare_and_swap_of_register_pairs(equal: bool) -> None:
    h = host(a0=1, a1=2 if equal else 3, a2=AT, a4=10, a5=11)
    put(h, AT, 2 << 64 | 1, 16)
    assert execute(h, "amocas.q a0, a4, (a2)")
    assert (x(h, "a0"), x(h, "a1")) == (1, 2)
    assert peek(h, AT, 16) == (11 << 64 | 10 if equal else 2 << 64 | 1)


def test_the_pair_of_x0_is_zero_and_takes_nothing() -> None:
    h = host(ra=99, a2=AT)
    put(h, AT, 0, 16)
    assert execute(h, "amocas.q zero, zero, (a2)")
    assert x(h, "ra") == 99 and peek(h, AT, 16) == 0
    put(h, AT, 5 << 64, 16)
    assert execute(h, "amocas.q zero, a4, (a2)")
    assert x(h, "ra") == 99 and peek(h, AT, 16) == 5 << 64


def test_odd_register_pairs_are_illegal() -> None:
    even = 0x28C7_452F  # amocas.q a0, a2, (a4)
    assert host(a4=AT).execute(TABLE, even)
    for bit in (7, 20):
        h = host(a4=AT)
        assert not h.execute(TABLE, even | 1 << bit)
        assert h.trapped is not None and h.trapped[0] == ILLEGAL


# Fences, cache blocks, waits ---------------------------------------------------------------------


@pytest.mark.parametrize("line", ["fence", "fence rw, w", "fence.tso", "fence w, w"])
def test_every_fence_is_a_fence(line: str) -> None:
    h = host()
    assert execute(h, line)
    assert h.events == [("fence",)]


@pytest.mark.parametrize("line", ["pause", "wrs.nto", "wrs.sto"])
def test_a_pause_and_a_wait_for_a_store_are_over_at_once(line: str) -> None:
    h = host()
    registers, memory = [*h.regs["x"]], bytes(h.memory)
    assert execute(h, line)
    assert (h.regs["x"], bytes(h.memory), h.events) == (registers, memory, [("relax",)])


def test_fence_i_drops_translations() -> None:
    h = host()
    assert execute(h, "fence.i")
    assert h.events == [("icache.flush",)]


def test_cbo_zero_clears_the_block_around_the_address() -> None:
    h = host(a1=AT + 0x55)
    h.memory[:] = b"\xff" * len(h.memory)
    assert execute(h, "cbo.zero (a1)")
    at = AT + 0x40 - BASE
    assert h.memory[at : at + 64] == bytes(64)
    assert h.memory.count(0) == 64


def test_cbo_zero_faults_with_the_address_as_given() -> None:
    h = host(a1=0x55)
    assert not execute(h, "cbo.zero (a1)")
    assert h.trapped == (STORE_FAULT, 0x55)


CBO_BITS = {"inval": 3 << 4, "clean": 1 << 6, "flush": 1 << 6, "zero": 1 << 7}


@pytest.mark.parametrize("name", CBO_BITS)
@pytest.mark.parametrize(
    ("priv", "menv", "senv", "legal"),
    [(3, 0, 0, 1), (1, 0, 1, 0), (1, 1, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0), (0, 1, 1, 1)],
)
def test_cache_block_operations_need_permission(
    name: str, priv: int, menv: int, senv: int, legal: int
) -> None:
    h = host(a1=AT)
    bits = CBO_BITS[name]
    h.slots |= {"priv": priv, "menvcfg": bits * menv, "senvcfg": bits * senv}
    assert execute(h, f"cbo.{name} (a1)") == bool(legal)
    assert legal or (h.trapped is not None and h.trapped[0] == ILLEGAL)


@pytest.mark.parametrize("line", ["ntl.all", "c.ntl.p1", "prefetch.r 32(a1)"])
def test_hints_complete_without_effect(line: str) -> None:
    h = host(a1=0)
    registers, memory = [*h.regs["x"]], bytes(h.memory)
    assert execute(h, line)
    assert (h.regs["x"], bytes(h.memory), h.events) == (registers, memory, [])


@pytest.mark.parametrize("line", ["mop.r.0 a0, a1", "mop.r.31 a0, a1", "mop.rr.7 a0, a1, a2"])
def test_may_be_operations_write_zero(line: str) -> None:
    h = host(a0=5, a1=6, a2=7)
    assert execute(h, line)
    assert [x(h, name) for name in ("a0", "a1", "a2")] == [0, 6, 7]


@pytest.mark.parametrize("number", range(1, 16, 2))
def test_compressed_may_be_operations_do_nothing(number: int) -> None:
    h = host(a0=5)
    h.regs["x"] = [0, *range(101, 132)]
    assert execute(h, f"c.mop.{number}")
    assert h.regs["x"] == [0, *range(101, 132)]


def test_an_illegal_word_traps_with_its_bits() -> None:
    h = host()
    assert not h.execute(TABLE, 0)
    assert h.trapped == (ILLEGAL, 0)


# Compressed forms do what they expand to ---------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "registers", "due"),
    [
        ("c.addi4spn a0, sp, 1020", {"sp": AT}, AT + 1020),
        ("c.li a0, -32", {}, U64 - 31),
        ("c.lui a0, 0xfffe0", {}, U64 & ~0x1FFFF),
        ("c.addiw a0, 1", {"a0": 0x7FFF_FFFF}, 0xFFFF_FFFF_8000_0000),
        ("c.srai a0, 63", {"a0": 1 << 63}, U64),
        ("c.andi a0, -2", {"a0": 7}, 6),
        ("c.subw a0, a1", {"a0": 0, "a1": 1}, U64),
        ("c.mv a0, a1", {"a1": 4}, 4),
        ("c.add a0, a1", {"a0": 3, "a1": 4}, 7),
        ("c.slli a0, 63", {"a0": 3}, 1 << 63),
        ("c.mul a0, a1", {"a0": 3, "a1": 4}, 12),
        ("c.zext.b a0", {"a0": 0x1FF}, 0xFF),
        ("c.sext.b a0", {"a0": 0x80}, U64 - 0x7F),
        ("c.zext.h a0", {"a0": 0x1_FFFF}, 0xFFFF),
        ("c.sext.h a0", {"a0": 0x8000}, U64 - 0x7FFF),
        ("c.zext.w a0", {"a0": U64}, 0xFFFF_FFFF),
        ("c.not a0", {"a0": 0}, U64),
    ],
)
def test_compressed_arithmetic(line: str, registers: dict[str, int], due: int) -> None:
    h = host(**registers)
    assert execute(h, line)
    assert x(h, "a0") == due and h.slots["pc"] == BASE + 2


def test_compressed_stack_pointer_adjustment() -> None:
    h = host(sp=AT)
    assert execute(h, "c.addi16sp sp, -512")
    assert x(h, "sp") == AT - 512


@pytest.mark.parametrize(
    ("store", "load", "due"),
    [
        ("c.sdsp a1, 504(sp)", "c.ldsp a0, 504(sp)", U64),
        ("c.swsp a1, 252(sp)", "c.lwsp a0, 252(sp)", U64),
        ("c.sd a1, 248(s0)", "c.ld a0, 248(s0)", U64),
        ("c.sw a1, 124(s0)", "c.lw a0, 124(s0)", U64),
        ("c.sb a1, 3(s0)", "c.lbu a0, 3(s0)", 0xFF),
        ("c.sh a1, 2(s0)", "c.lhu a0, 2(s0)", 0xFFFF),
        ("c.sh a1, 2(s0)", "c.lh a0, 2(s0)", U64),
    ],
)
def test_compressed_loads_read_what_compressed_stores_wrote(
    store: str, load: str, due: int
) -> None:
    h = host(sp=AT, s0=AT, a1=U64)
    assert execute(h, store) and execute(h, load)
    assert x(h, "a0") == due
