"""The fixed frame around a random program: memory map, start-up, trap handler, page tables.

A program's body runs in machine, supervisor or user mode. Whatever it does, the machine-mode
handler here logs the trap, skips the instruction (or goes to the mode that an `ecall` asks for)
and returns; traps delegated to the supervisor reach it by an `ecall` at the supervisor's vector.
The body has one address per mode that is right with and without translation, so that modes and
`satp` change freely. The handler touches only pages that no random store, table or PMP entry can
reach. Made by `random_programs`, run by tests/lockstep and by campaigns against other emulators.
"""

from functools import cache

from lamina.isa.asm import Assembler, Program
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.dialect import dialect

# The memory map (guest-physical).
BASE = 0x8000_0000  # start-up, handler, final dump of registers
SVEC = 0x8000_8000  # the supervisor's trap vector: 32 ecalls
CODE = 0x8001_0000  # the body, as machine and supervisor mode see it
CODE_SIZE = 0x1_0000
SAVE = 0x8002_0000  # mscratch; bit 17 is MPRV's, which the handler clears with this very number
LOG = 0x8002_2000
LOG_ENTRIES, LOG_ENTRY = 256, 64
TABLES = 0x8003_0000  # page tables that programs do not change
ARENA = 0x8005_0000  # data: what random PMP entries may cover, up to ARENA_END
LANDING = 0x8005_8000  # full of returns: where wild jumps may lead to
LEAVES = 0x8006_0000  # the table of the random pages
ARENA_END = 0x8006_1000
USER_CODE = 0x8004_0000  # the body as user mode sees it: a copy, or mapped to CODE
IMAGE_END = 0x8007_0000
BIG = 0x8020_0000  # 2 MiB for large pages; only its first 128 KiB are used
BIG_SIZE = 0x2_0000
COMPARED = ((SAVE, 0x6000), (TABLES, 0x8000), (ARENA, 0x1_1000), (BIG, BIG_SIZE))
"""What a run leaves behind: registers, the trap log, tables, data."""

# Virtual addresses (the same in Sv39, Sv48, Sv57; nothing answers there without translation).
DATA_VA = 0x1_0000_0000  # 512 random pages
HIGH_VA = 0xFFFF_FFC0_0000_0000  # the same pages again
BIG_VA = 0x1_0020_0000  # 7 random 2 MiB pages
GIGA_VA = 0x1_4000_0000  # a random 1 GiB page; BIG is at +BIG - BASE

# In the save area: x registers from 0, then
PRIVILEGED, FLOATS, CSRS = 0x100, 0x200, 0x300
COUNT, BASES, LIMIT, END_OFFSET = 0x100, 0x110, 0x130, 0x138
HANDLERS = (1, 5, 6, 7, 8, 9, 10, *range(18, 25), 28)  # the registers that the handler uses
DUMPED = (
    *("mstatus", "medeleg", "mideleg", "mie", "mip", "mtvec", "menvcfg", "senvcfg"),
    *("mcounteren", "scounteren", "stvec", "sscratch", "sepc", "scause", "stval", "satp"),
    *("fcsr", "pmpcfg0", "pmpcfg2", *(f"pmpaddr{i}" for i in range(16))),
)
FINISHER, FINISHER_PASS = 0x10_0000, 0x5555
CLINT_MTIMECMP = 0x0200_4000
_NO_TIMER = f"li t0, {CLINT_MTIMECMP:#x}\n li t1, -1\n sd t1, 0(t0)"
OPENINGS = {"idle": "", "finisher": _NO_TIMER, "htif": _NO_TIMER}
ENDINGS = {
    # Wait for an interrupt that never comes: the engine comes out idle.
    "idle": "stop: wfi\n j stop",
    "finisher": f"li t0, {FINISHER:#x}\n li t1, {FINISHER_PASS:#x}\n sw t1, 0(t0)\nstop: j stop",
    "htif": "la t0, tohost\n li t1, 1\n sd t1, 0(t0)\nstop: j stop",
}

_START = (
    """
        j start
        .balign 256
vector:
"""
    + "        j handler\n" * 32
    + f"""
handler:
        csrrw sp, mscratch, sp
        csrc mstatus, sp
        {{save}}
        csrr t0, mscratch
        sd t0, 16(sp)
        csrw mscratch, sp
        csrr s0, mcause
        csrr s1, mepc
        csrr s2, mtval
        csrr s3, mstatus
        csrr s4, scause
        csrr s5, sepc
        csrr s6, stval
        ld t0, {COUNT}(sp)
        andi t1, t0, {LOG_ENTRIES - 1}
        slli t1, t1, 6
        li t2, {LOG:#x}
        add t2, t2, t1
        sd s0, 0(t2)
        sd s1, 8(t2)
        sd s2, 16(t2)
        sd s3, 24(t2)
        sd s4, 32(t2)
        sd s5, 40(t2)
        sd s6, 48(t2)
        sd t0, 56(t2)
        addi t0, t0, 1
        sd t0, {COUNT}(sp)
        ld t1, {LIMIT}(sp)
        bgeu t0, t1, finish
        srli s7, s3, {f.MPP_SHIFT}
        andi s7, s7, 3
        srli t0, s1, 12
        li t1, {SVEC >> 12:#x}
        bne t0, t1, direct
        li t1, 9
        bne s0, t1, finish
        # Delegated: look at the supervisor's trap, return for it.
        srli s7, s3, 8
        andi s7, s7, 1
        mv s0, s4
        mv s1, s5
direct:
        slli t0, s7, 3
        add t0, t0, sp
        ld s8, {BASES}(t0)
        sub t1, s1, s8
        bltz s0, interrupted
        li t2, 8
        beq s0, t2, call
        li t2, 9
        beq s0, t2, call
        li t2, 11
        beq s0, t2, call
        srli t2, t1, 16
        bnez t2, outside
        li t2, 1
        beq s0, t2, outside
        li t2, 12
        beq s0, t2, outside
        li t2, {CODE:#x}
        add t2, t2, t1
        lhu t3, 0(t2)
        andi t3, t3, 3
        addi t1, t1, 2
        li t2, 3
        bne t3, t2, resume
        addi t1, t1, 2
        j resume
interrupted:
        li t2, 1
        sll t2, t2, s0
        csrc mie, t2
        srli t2, t1, 16
        beqz t2, resume
outside:
        # A jump that found no code: back to where x1 says.
        ld t1, 8(sp)
        j resume
call:
        ld t2, {END_OFFSET}(sp)
        slli t3, t1, 48
        srli t3, t3, 48
        bgeu t3, t2, finish
        addi t1, t1, 4
        ld s7, 80(sp)
        andi s7, s7, 3
        li t2, 2
        bne s7, t2, resume
        li s7, 0
resume:
        # To offset t1 of the body in mode s7.
        slli t1, t1, 48
        srli t1, t1, 49
        slli t1, t1, 1
        slli t0, s7, 3
        add t0, t0, sp
        ld s8, {BASES}(t0)
        add t1, t1, s8
        csrw mepc, t1
        li t0, {f.MPP:#x}
        csrc mstatus, t0
        slli t0, s7, {f.MPP_SHIFT}
        csrs mstatus, t0
        {{restore}}
        mret
finish:
        {{save_rest}}
        {{dump}}
        li t0, {f.FS:#x}
        csrs mstatus, t0
        {{floats}}
        csrr t0, fcsr
        sd t0, {CSRS + 8 * DUMPED.index("fcsr")}(sp)
        csrw mie, zero
        {{ending}}
start:
        la t0, vector
        csrw mtvec, t0
        li sp, {SAVE:#x}
        csrw mscratch, sp
        {{boot}}
        li t0, {f.FS:#x}
        csrs mstatus, t0
        {{load_floats}}
        {{restore_rest}}
        {{restore}}
        mret
        .balign 64
tohost: .dword 0
fromhost: .dword 0
"""
)


@cache
def assembler() -> Assembler:
    return Assembler(RISCV64.table, dialect())


def _each(template: str, indices: list[int]) -> str:
    return "\n".join(template.format(i, 8 * i) for i in indices)


def frame(boot: str, ending: str) -> Program:
    """Start-up and handler; `boot` are lines that set CSRs (t0 and t1 are free)."""
    rest = [i for i in range(3, 32) if i not in HANDLERS]
    floats = "\n".join(f"fsd f{i}, {FLOATS + 8 * i}(sp)" for i in range(32))
    dump = "\n".join(
        f"csrr t0, {name}\nsd t0, {CSRS + 8 * i}(sp)"
        for i, name in enumerate(DUMPED)
        if name != "fcsr"
    )
    source = _START.format(
        save=_each("sd x{0}, {1}(sp)", [*HANDLERS]),
        save_rest=_each("sd x{0}, {1}(sp)", rest),
        restore=_each("ld x{0}, {1}(sp)", [*HANDLERS]) + "\nld sp, 16(sp)",
        restore_rest=_each("ld x{0}, {1}(sp)", rest),
        dump=dump,
        floats=floats,
        load_floats=floats.replace("fsd", "fld"),
        boot=OPENINGS[ending] + "\n" + boot,
        ending=ENDINGS[ending],
    )
    return assembler().program(source, BASE)


def words(*values: int) -> bytes:
    return b"".join(v.to_bytes(8, "little") for v in values)


def entry(gpa: int, flags: int) -> int:
    """A page table entry."""
    return gpa >> 12 << f.PTE_PPN_SHIFT | flags


ROOT39, ROOT48, ROOT57 = TABLES, TABLES + 0x1000, TABLES + 0x2000
_CODE_MEGA, _CODE_LEAVES, DATA_MEGA = TABLES + 0x3000, TABLES + 0x4000, TABLES + 0x5000
SATPS = (
    0,
    f.SV39 << f.SATP_MODE_SHIFT | ROOT39 >> 12,
    f.SV48 << f.SATP_MODE_SHIFT | ROOT48 >> 12,
    f.SV57 << f.SATP_MODE_SHIFT | ROOT57 >> 12,
)


def fixed_tables(big: list[int], giga: int) -> bytes:
    """The page tables at TABLES; `big` are the entries of the 2 MiB pages at BIG_VA."""
    full = f.PTE_V | f.PTE_R | f.PTE_W | f.PTE_X | f.PTE_A | f.PTE_D
    tables: dict[int, dict[int, int]] = {
        ROOT39: {
            2: entry(_CODE_MEGA, f.PTE_V),
            4: entry(DATA_MEGA, f.PTE_V),
            5: giga,
            256: entry(DATA_MEGA, f.PTE_V),
        },
        ROOT48: {0: entry(ROOT39, f.PTE_V), 511: entry(ROOT39, f.PTE_V)},
        ROOT57: {0: entry(ROOT48, f.PTE_V), 511: entry(ROOT48, f.PTE_V)},
        _CODE_MEGA: {0: entry(_CODE_LEAVES, f.PTE_V)},
        DATA_MEGA: {0: entry(LEAVES, f.PTE_V), **{i + 1: e for i, e in enumerate(big)}},
    }
    leaves = {(SVEC - BASE) >> 12: entry(SVEC, full)}
    for at in range(0, CODE_SIZE, 0x1000):
        leaves[(CODE + at - BASE) >> 12] = entry(CODE + at, full)
        leaves[(USER_CODE + at - BASE) >> 12] = entry(CODE + at, full | f.PTE_U)
    tables[_CODE_LEAVES] = leaves
    image = bytearray(0x8000)
    for table, entries in tables.items():
        for index, value in entries.items():
            at = table - TABLES + 8 * index
            image[at : at + 8] = words(value)
    return bytes(image)
