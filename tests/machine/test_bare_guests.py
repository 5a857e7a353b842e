"""Small machine-mode guests on a whole machine: every hart starts, and a disk can be used.

They are assembled by the project's own assembler and put at the start of RAM.
"""

import pytest

from lamina.base.errors import ConfigError, HostError, ImageError
from lamina.isa.asm import Assembler
from lamina.isa.riscv import RV64
from lamina.isa.riscv.dialect import dialect
from lamina.machine import DiskConfig, Machine, MachineConfig

BASE = 0x8000_0000
SECTOR = 512
PATIENCE = 120.0

EVERY_HART = """
    csrr t0, mhartid
    li t1, flags
    add t1, t1, t0
    li t2, 1
    sb t2, 0(t1)
    bnez t0, 2f
    li t1, flags
    li t3, 0x01010101
1:  lw t2, 0(t1)
    bne t2, t3, 1b
    li t0, 0x100000
    li t1, 0x5555
    sw t1, 0(t0)
2:  j 2b
    .balign 8
flags: .dword 0
"""

# Copies sector 1 to sector 2, as xv6's driver would: the lower features only, no interrupts.
COPY = """
    li s0, 0x10001000
    lw t0, 0x008(s0)
    li t1, 2
    bne t0, t1, bad
    li t0, 3
    sw t0, 0x070(s0)
    lw t0, 0x010(s0)
    li t1, 0x30000000
    not t1, t1
    and t0, t0, t1
    sw t0, 0x020(s0)
    li t0, 11
    sw t0, 0x070(s0)
    lw t0, 0x070(s0)
    andi t0, t0, 8
    beqz t0, bad
    li t0, 8
    sw t0, 0x038(s0)
    li t0, desc
    sw t0, 0x080(s0)
    li t0, avail
    sw t0, 0x090(s0)
    li t0, used
    sw t0, 0x0a0(s0)
    li t0, 1
    sw t0, 0x044(s0)
    li t0, 15
    sw t0, 0x070(s0)
    li s1, 1
    li s2, 3
1:  li t0, avail
    sh s1, 2(t0)
    fence
    sw zero, 0x050(s0)
    li t0, used
2:  lh t1, 2(t0)
    bne t1, s1, 2b
    li t0, status
    lb t1, 0(t0)
    bnez t1, bad
    li t1, 0xff
    sb t1, 0(t0)
    addi s1, s1, 1
    bne s1, s2, 1b
    li t1, 0x5555
    j 3f
bad: li t1, 0x13333
3:  li t0, 0x100000
    sw t1, 0(t0)
4:  j 4b
    .balign 16
desc:
    .dword reading
    .word 16
    .half 1, 1
    .dword data
    .word 512
    .half 3, 2
    .dword status
    .word 1
    .half 2, 0
    .dword writing
    .word 16
    .half 1, 4
    .dword data
    .word 512
    .half 1, 5
    .dword status
    .word 1
    .half 2, 0
    .zero 32
avail: .half 0, 0, 0, 3, 0, 0, 0, 0, 0, 0
    .balign 4
used: .zero 68
    .balign 8
reading: .word 0, 0
    .dword 1
writing: .word 1, 0
    .dword 2
data: .zero 512
status: .byte 0xff
"""


def guest(tmp_path, source):
    path = tmp_path / "guest.bin"
    path.write_bytes(bytes(Assembler(RV64, dialect()).program(source, BASE).code))
    return path


@pytest.fixture(params=["reference", "threaded"])
def engine(request):
    return request.param


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(bytes([letter]) * SECTOR for letter in b"abcd"))
    return path


def test_every_hart_starts_at_the_reset_vector(tmp_path, engine):
    config = MachineConfig(
        bios_image=guest(tmp_path, EVERY_HART), engine=engine, cpus=4, memory=32 << 20
    )
    with Machine(config) as machine:
        assert machine.run(timeout=PATIENCE).reason == "poweroff"


def test_a_reset_reads_the_files_again_and_changes_nothing_if_it_cannot(tmp_path, engine):
    path = guest(tmp_path, EVERY_HART)
    config = MachineConfig(bios_image=path, engine=engine, cpus=4, memory=32 << 20)
    with Machine(config) as machine:
        assert machine.run(timeout=PATIENCE).reason == "poweroff"
        where, content = machine.pc, path.read_bytes()
        path.unlink()
        with pytest.raises(ImageError, match="cannot be read: No such file"):
            machine.reset()
        assert machine.pc == where
        path.write_bytes(content)
        machine.reset()
        assert machine.run(timeout=PATIENCE).reason == "poweroff"


@pytest.mark.parametrize(
    ("options", "after", "reason"),
    [
        ({}, b"abbd", "poweroff"),
        ({"snapshot": True}, b"abcd", "poweroff"),
        ({"readonly": True}, b"abcd", "fail"),
    ],
)
def test_a_guest_copies_a_sector(tmp_path, engine, image, options, after, reason):
    config = MachineConfig(
        bios_image=guest(tmp_path, COPY),
        engine=engine,
        memory=32 << 20,
        disks=(DiskConfig(image, **options),),
    )
    with Machine(config) as machine:
        for _ in range(2):
            assert machine.run(timeout=PATIENCE).reason == reason
            machine.reset()
    assert image.read_bytes()[::SECTOR] == after


def slots(machine):
    return [machine.space.mmio_read(0x1000_1008 + 0x1000 * slot, 4) for slot in range(8)]


def test_disks_come_first_and_nothing_moves_without_them(image):
    with Machine(MachineConfig(engine="reference")) as machine:
        assert slots(machine) == [4, 3, 0, 0, 0, 0, 0, 0]
    disks = (DiskConfig(image, readonly=True),) * 6
    with Machine(MachineConfig(engine="reference", disks=disks)) as machine:
        assert slots(machine) == [2, 2, 2, 2, 2, 2, 4, 3]


def test_a_machine_that_cannot_be_built_lets_go_of_its_disks(image, tmp_path):
    good, missing = DiskConfig(image), DiskConfig(tmp_path / "missing")
    shared = DiskConfig(image, readonly=True)
    for disks, error in (
        ((good, missing), HostError),
        ((good, good), HostError),
        ((shared,) * 7, ConfigError),
    ):
        with pytest.raises(error):
            Machine(MachineConfig(engine="reference", disks=disks))
    with (
        Machine(MachineConfig(engine="reference", disks=(good,))),
        pytest.raises(HostError, match="another machine"),
    ):
        Machine(MachineConfig(engine="reference", disks=(good,)))
    Machine(MachineConfig(engine="reference", disks=(good,))).close()
