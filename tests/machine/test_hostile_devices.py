"""Guest code against the devices of the board: every width, misalignment, and rings of garbage."""

import logging
import random
import struct

import pytest

from lamina.devices.device import Device
from lamina.machine import Outcome
from lamina.testing import guests

from .conftest import Build

# Reads and writes s2 = GPA in all widths and at all alignments, with the pattern s3; counts faults.
POKE = f"""{guests.vector("trap")}
wait: beqz s2, wait
li s4, 9
1:  lb t0, 0(s2); lh t0, 0(s2); lw t0, 0(s2); ld t0, 0(s2); lbu t0, 0(s2); lhu t0, 0(s2)
    lwu t0, 0(s2); sb s3, 0(s2); sh s3, 0(s2); sw s3, 0(s2); sd s3, 0(s2)
    amoadd.w t0, s3, (s2); lr.w t0, (s2); sc.w t0, s3, (s2); flw ft0, 0(s2); fsd ft0, 0(s2)
    addi s2, s2, 1; addi s4, s4, -1; bnez s4, 1b
    li s2, 0; j wait
""" + guests.skip_trap()
CONSOLE_LIMIT = 1 << 22


def registers(device: Device) -> list[int]:
    """Offsets to try: all of small windows, the corners and a sample of large ones."""
    dice = random.Random(device.size)
    sample = [dice.randrange(device.size) & ~7 for _ in range(24)]
    return [*range(0, min(device.size, 0x200), 8), *sample, device.size - 8, device.size - 4]


@pytest.mark.parametrize("name", ["rtc", "clint", "plic", "uart0", "virtio0", "virtio1", "virtio7"])
def test_every_register_in_every_width_and_alignment(
    build: Build, engine: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    m = build(POKE)
    device = m.board.devices[name]
    base = next(at for at, d in m.space.devices if d is device)
    m.run(max_instructions=20, timeout=30)
    with caplog.at_level(logging.ERROR):
        for pattern in (0, 0xFFFF_FFFF_FFFF_FFFF):
            for offset in registers(device)[:: 1 if engine == "threaded" else 5]:
                m.cpus[0].set_reg("x", 18, base + offset)
                m.cpus[0].set_reg("x", 19, pattern)
                assert m.run(max_instructions=700, timeout=30).reason == "limit"
    assert not caplog.records  # no device failed
    assert m.regs["x27"] > 100  # and the guest got its faults


def test_any_value_of_the_finisher_is_a_defined_end(build: Build, engine: str) -> None:
    m = build(POKE)
    m.run(max_instructions=20, timeout=30)
    for value in (
        *range(0, 0x1_0000, 257 if engine == "threaded" else 2999),
        0xFFFF_5555,
        0xFFFF_3333,
        0xFFFF_7777,
        0x8000_3333,
    ):
        m.cpus[0].set_reg("x", 18, 0x10_0000)
        m.cpus[0].set_reg("x", 19, value)
        outcome = m.run(max_instructions=700, timeout=30)
        assert outcome.reason in ("limit", "poweroff", "fail", "reboot")
        assert 0 <= outcome.code <= 0xFFFF


# -- rings of garbage ----------------------------------------------------------------------------
DRIVER = f"""{guests.vector("trap")}
wait: beqz s2, wait
    sw zero, 0x70(s2); li t0, 1; sw t0, 0x70(s2); li t0, 3; sw t0, 0x70(s2)
    sw zero, 0x24(s2); sw s5, 0x20(s2); li t1, 1; sw t1, 0x24(s2); sw t1, 0x20(s2)
    li t0, 11; sw t0, 0x70(s2)
    li s6, 2
1:  addi s6, s6, -1; sw s6, 0x30(s2); sw s3, 0x38(s2)
    sw s7, 0x80(s2); srli t0, s7, 32; sw t0, 0x84(s2)
    sw s8, 0x90(s2); srli t0, s8, 32; sw t0, 0x94(s2)
    sw s9, 0xa0(s2); srli t0, s9, 32; sw t0, 0xa4(s2)
    sw t1, 0x44(s2); bnez s6, 1b
    li t0, 15; sw t0, 0x70(s2)
    sw zero, 0x50(s2); sw t1, 0x50(s2); li t0, 77; sw t0, 0x50(s2)
    lw t0, 0x60(s2); sw t0, 0x64(s2); lw s10, 0x70(s2)
    li s2, 0; j wait
""" + guests.skip_trap()


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_virtqueues_of_garbage_leave_memory_around_them_alone(
    build: Build, engine: str, slot: int, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Sixty drivers, each with rings and descriptors of noise (some of it made plausible)."""
    dice = random.Random(seed)
    m = build(DRIVER)
    m.run(max_instructions=20, timeout=30)
    ring, end = 0x8100_0000, 0x8000_0000 + guests.MEMORY
    corners = [
        0,
        ring,
        ring + 64,
        end - 16,
        end - 1,
        end,
        0x1000_1000 + slot * 0x1000,
        (1 << 64) - 8,
    ]
    with caplog.at_level(logging.ERROR):
        for _ in range(60 if engine == "threaded" else 20):
            m.memory.write(ring, dice.randbytes(0x1000))
            for n in range(16):  # descriptors: where, how long, flags, next
                where = dice.choice([*corners, ring + dice.randrange(0x1000)])
                words = (
                    where.to_bytes(8, "little"),
                    dice.choice([0, 1, 8, 64, 4096, 0xFFFF_FFFF]).to_bytes(4, "little"),
                    dice.choice([0, 1, 2, 3, 4, 5, 7]).to_bytes(2, "little"),
                    dice.choice([n, n + 1, 0, 15, 16, 65535]).to_bytes(2, "little"),
                )
                m.memory.write(ring + 16 * n, b"".join(words))
            heads = [dice.choice([*range(16), 16, 65535]) for _ in range(16)]
            idx = dice.choice([0, 1, 2, 15, 16, 17, 0x8000, 0xFFFF])
            avail = b"\0\0" + idx.to_bytes(2, "little")
            m.memory.write(ring + 0x400, avail + b"".join(h.to_bytes(2, "little") for h in heads))
            cpu = m.cpus[0]
            cpu.set_reg("x", 19, dice.choice([0, 1, 3, 8, 16, 16, 16, 1024, 65535]))
            cpu.set_reg("x", 21, dice.choice([1, 0, 0xFFFF_FFFF]))
            cpu.set_reg("x", 23, dice.choice([ring, ring, ring, *corners]))
            cpu.set_reg("x", 24, dice.choice([ring + 0x400, ring + 0x400, *corners]))
            cpu.set_reg("x", 25, dice.choice([ring + 0x800, ring + 0x800, *corners]))
            cpu.set_reg("x", 18, 0x1000_1000 + slot * 0x1000)
            m.console.send(b"typed")
            assert m.run(max_instructions=500, timeout=30) == Outcome("limit")
            assert m.regs["x18"] == 0  # the driver came through
    assert not caplog.records
    code = guests.assemble(DRIVER).code
    assert m.memory.read(0x8000_0000, len(code)) == code


def test_a_sound_ring_is_served_by_the_same_driver(build: Build) -> None:
    """So that the noise above is known to reach the device: the entropy device fills a buffer."""
    m = build(DRIVER)
    m.run(max_instructions=20, timeout=30)
    ring = 0x8100_0000
    m.memory.write(ring, struct.pack("<QIHH", ring + 0x900, 64, 2, 0))
    m.memory.write(ring + 0x400, struct.pack("<HHH", 0, 1, 0))
    values = {19: 16, 21: 0, 23: ring, 24: ring + 0x400, 25: ring + 0x800, 18: 0x1000_1000}
    for number, value in values.items():
        m.cpus[0].set_reg("x", number, value)
    assert m.run(max_instructions=500, timeout=30) == Outcome("limit")
    assert struct.unpack("<HHII", m.memory.read(ring + 0x800, 12)) == (0, 1, 0, 64)
    assert m.memory.read(ring + 0x900, 64) != bytes(64)


# -- SBI -----------------------------------------------------------------------------------------
EIDS = [
    *range(0, 9), 0x10, 0x54494D45, 0x735049, 0x52464E43, 0x48534D, 0x53525354, 0x4442434E,
    0x53555350, 0x535441, 0x504D55, 0x4E41434C, 1 << 63, (1 << 64) - 1,
]  # fmt: skip
HARMLESS_END = ("poweroff", "fail", "reboot", "limit", "timeout")


def wild(dice: random.Random) -> int:
    ram_end = 0x8000_0000 + guests.MEMORY
    corners = [0, 1, 2, 3, 7, 8, 63, 64, 0x1000, 0x1000_0000, 0x8000_0000, ram_end - 1, ram_end]
    corners += [0x8010_0000, 0x8010_0001, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1, (1 << 64) - 8]
    return dice.choice([*corners, dice.getrandbits(64), dice.getrandbits(32)])


def test_random_sbi_calls_never_raise(caplog: pytest.LogCaptureFixture) -> None:
    """10^5 calls straight into the firmware, past the engine."""
    dice = random.Random(5)
    with guests.machine("1: j 1b", firmware="none", cpus=3) as m, caplog.at_level(logging.ERROR):
        for n in range(100_000):
            hart = dice.randrange(3)
            cpu = m.cpus[hart]
            for register in range(10, 16):
                cpu.set_reg("x", register, wild(dice))
            cpu.set_reg("x", 16, dice.choice([0, 1, 2, 3, 4, 5, 6, 7, wild(dice)]))
            cpu.set_reg("x", 17, dice.choice(EIDS))
            m.hypercall(hart)
            if n % 100 == 0:
                m.reset()
        m.reset()
        assert m.run(max_instructions=100, timeout=30) == Outcome("limit")
    assert not caplog.records


def test_random_sbi_calls_by_guest_code_on_two_harts(build: Build, engine: str) -> None:
    """The calls come from a table that the guest walks through; stops and resets included."""
    dice = random.Random(6)
    source = """
    la s0, calls; la s1, over
    1: ld a0, 0(s0); ld a1, 8(s0); ld a2, 16(s0); ld a3, 24(s0); ld a6, 32(s0); ld a7, 40(s0); ecall
    addi s0, s0, 48; bltu s0, s1, 1b
    j .
    .balign 8
    calls:
    """
    count = 400
    head = guests.assemble(source + "over:")
    rows = b"".join(
        value.to_bytes(8, "little")
        for _ in range(count)
        for value in (*(wild(dice) for _ in range(4)), dice.randrange(8), dice.choice(EIDS))
    )
    head = guests.assemble(source + f".zero {len(rows)}\nover:")
    m = build(head.code[: -len(rows)] + rows, firmware="none", cpus=2)
    assert m.run(timeout=0.3).reason in HARMLESS_END


def test_the_debug_console_cannot_write_to_rom(build: Build) -> None:
    source = "li a0, 4; li a1, MROM; li a2, 0; li a6, 1; li a7, 0x4442434e; ecall; wfi"
    m = build(source, firmware="none")
    m.space.write(0x1000, b"rom!")
    m.console.send(b"typed")
    m.run(max_instructions=20, timeout=0.2)
    assert m.memory.read(0x1000, 4) == b"rom!"
    assert m.regs["x10"] == (1 << 64) - 3  # SBI_ERR_INVALID_PARAM
