"""Small programs for machine mode, with their memory: what directed tests of engines run.

Code is at BASE, 1 MiB of RAM begins there, data may be anywhere behind `DATA`. Page tables are made
by `Tables`. Every exception is counted, logged and skipped, or goes on where s11 says.
"""

from collections.abc import Callable

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.bus.space import AddressSpace
from lamina.engine.lockstep import Engine, Side
from lamina.isa.arch import Arch
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv import fields as f
from lamina.testing.random_layout import assembler, entry

MakeEngine = Callable[[Arch, int, AddressSpace], Engine]

BASE = 0x8000_0000
RAM = 1 << 20
DATA = BASE + 0x4_0000
LOG = BASE + 0x3_0000
TABLES = BASE + 0x2_0000
END = BASE + RAM  # nothing answers from here on
WINDOW = 0x1_0000_0000  # guest-virtual, where nothing is: for pages of a test's own
FULL = f.PTE_V | f.PTE_R | f.PTE_W | f.PTE_X | f.PTE_A | f.PTE_D

FRAME = f"""
        j start
        .balign 64
handler:
        csrrw t6, mscratch, t6
        sd t0, 8(t6)
        ld t0, 0(t6)
        addi t0, t0, 1
        sd t0, 0(t6)
        csrr t0, mcause
        sd t0, 16(t6)
        bltz t0, back
        csrr t0, mtval
        sd t0, 24(t6)
        csrr t0, mepc
        sd t0, 32(t6)
        bnez s11, 1f
        addi t0, t0, 4
        csrw mepc, t0
        j back
1:      csrw mepc, s11
back:   ld t0, 8(t6)
        csrrw t6, mscratch, t6
        mret
start:
        la t0, handler
        csrw mtvec, t0
        li t0, {LOG}
        csrw mscratch, t0
        li t0, {f.FS}
        csrs mstatus, t0
        li sp, {DATA + 0x8000}
        li t0, -1
        csrw pmpaddr0, t0
        li t0, 0x1f
        csrw pmpcfg0, t0
{{body}}
stop:   wfi
        j stop
"""


class Tables:
    """An Sv39 page table per address space."""

    def __init__(self) -> None:
        self.tables: dict[int, dict[int, int]] = {}
        self._next = TABLES

    def root(self) -> int:
        return self._take()

    def _take(self) -> int:
        at, self._next = self._next, self._next + PAGE_SIZE
        self.tables[at] = {}
        return at

    def map(self, root: int, gva: int, gpa: int, flags: int = FULL) -> int:
        """One page; where its entry is."""
        table = root
        for level in (2, 1):
            index = gva >> PAGE_SHIFT + 9 * level & 511
            if index not in self.tables[table]:
                self.tables[table][index] = entry(self._take(), f.PTE_V)
            table = self.tables[table][index] >> f.PTE_PPN_SHIFT << PAGE_SHIFT
        index = gva >> PAGE_SHIFT & 511
        self.tables[table][index] = entry(gpa, flags)
        return table + 8 * index

    def map_in_turn(self, root: int, count: int, broken: int) -> None:
        """Pages of the window that may be accessed, and such without the flags `broken`, by turns;
        in the host they lie the other way round."""
        for i in range(count):
            flags = FULL & ~(broken if i % 2 else 0)
            self.map(root, WINDOW + i * PAGE_SIZE, DATA + (5 - i) * PAGE_SIZE, flags)

    def load(self, space: AddressSpace) -> None:
        for table, entries in self.tables.items():
            for index, value in entries.items():
                space.write(table + 8 * index, value.to_bytes(8, "little"))


def satp(root: int, asid: int = 0) -> int:
    return f.SV39 << f.SATP_MODE_SHIFT | asid << f.ASID_SHIFT | root >> PAGE_SHIFT


def bare_side(
    make: MakeEngine,
    body: str,
    tables: Tables | None = None,
    more: dict[int, bytes] | None = None,
    space: AddressSpace | None = None,
    index: int = 0,
) -> Side:
    """An engine at the start of a program; `more`: other code or data by address."""
    if space is None:
        space = AddressSpace()
        space.add_ram(BASE, RAM, "ram")
        space.write(BASE, assembler().program(FRAME.format(body=body), BASE).code)
        for at, data in (more or {}).items():
            space.write(at, data)
        if tables is not None:
            tables.load(space)
    engine = make(RISCV64, index, space)
    engine.vcpu.reset(pc=BASE)
    engine.vcpu.set_reg("x", 10, index)
    engine.set_time(offset=0, divisor=100, deterministic=True)  # type: ignore[attr-defined]
    engine.state_changed()  # type: ignore[attr-defined]
    return Side(engine, space)


def traps(side: Side) -> int:
    return int.from_bytes(side.space.read(LOG, 8), "little")


def code(source: str, at: int) -> bytes:
    return assembler().program(source, at).code
