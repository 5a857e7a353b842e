"""Operands of random code: instruction forms, and the values, addresses and settings they work on.

Forms come from the instruction table, sorted by what their IR does (`_sort`); operands are random
within what the encoding allows. x29 counts loops and is written by nothing else. What other
implementations may do differently is left out if `external`. `random_snippets` makes code of this.
"""

import random
from functools import cache
from typing import NamedTuple

from lamina.base.bits import U64, mask
from lamina.ir.graph import Routine
from lamina.isa.insn import Form
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.csr_access import csr_names
from lamina.isa.riscv.dialect import load_immediate
from lamina.testing import random_layout as at

LOOP = 29
ATTEMPTS = 50
INTEGERS = (
    *(0, 1, 2, 3, U64, U64 - 1, 1 << 63, mask(63), 1 << 31, mask(31), 1 << 32, mask(32)),
    *(0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_7FFF_FFFF, 0x5555_5555_5555_5555, 63, 64, 0x80, 0xFF),
    *(0x8000, 0xFFFF, 0xFFFF_FFFF_FFFF_8000, 0xAAAA_AAAA_AAAA_AAAA),
)
FLOATS64 = (
    *(0, 1 << 63, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000),
    *(
        0xFFF0_0000_0000_0000,
        0x7FF8_0000_0000_0000,
        0x7FF0_0000_0000_0001,
        1,
        0x8000_0000_0000_0001,
    ),
    *(0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF, 0x43E0_0000_0000_0000),
    *(0xC3E0_0000_0000_0000, 0x43F0_0000_0000_0000, 0x3FE0_0000_0000_0000, 0x36A0_0000_0000_0000),
)
FLOATS32 = (
    *(0, 1 << 31, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7F80_0001),
    *(1, 0x8000_0001, 0x007F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0x4F00_0000, 0x5F00_0000, 0x3300_0000),
)
FLOATS16 = (0, 0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 1, 0x3FF, 0x400, 0x7BFF)
BAD_ADDRESSES = (0, 8, 0x2_0000_0000, U64 - 7, 1 << 56, 0x80_0000_0000, 0x4000_0000_0000_0000)
# Nothing of these may be written at random: the frame lives on them.
KEPT = {"mtvec", "mscratch", "stvec", "satp", "medeleg", "menvcfg"}
UNWRITABLE_OUTSIDE = {"mideleg", "senvcfg", "sepc", "mepc", "scause", "mcause"}
UNWRITABLE_OUTSIDE |= {
    "mstatus",
    "sstatus",
    "mip",
    "sip",
    "mie",
    "sie",
}  # but for `status`, `interrupt`
UNREADABLE_OUTSIDE = {"cycle", "time", "instret", "mcycle", "minstret", "mcountinhibit", "misa"}
UNREADABLE_OUTSIDE |= {"stimecmp", "mvendorid", "marchid", "mimpid", "mconfigptr", "tcontrol"}
UNREADABLE_OUTSIDE |= {"tselect", "tdata1", "tdata2", "tdata3", "tinfo"}
_CONTROL = {"mret", "sret", "wfi", "ecall", "ebreak", "c.ebreak"}
_FENCES = {"sfence.vma", "sinval.vma", "fence.i", "sfence.w.inval", "sfence.inval.ir"}
UNCHECKED = {"sfence.w.inval", "sfence.inval.ir"}  # QEMU 10 runs them in user mode, too
# Up to the implementation: whether an SC that fails can fault; how soon TW ends a wrs.nto.
OPEN = ("sc.", "wrs.nto")


class Sorted(NamedTuple):
    """The forms of the table by what they need around them."""

    plain: list[Form]
    floating: list[Form]
    memory: list[Form]
    branches: list[Form]
    csr: list[Form]
    fences: list[Form]


def _ops(routine: Routine) -> set[str]:
    return {op.name for op in routine.body.walk()}


@cache
def _sort(exclude: frozenset[str], external: bool, strict: bool) -> Sorted:
    kinds = Sorted([], [], [], [], [], [])
    for form in RISCV64.table.forms:
        if {form.extension, form.name} & exclude or form.name in _CONTROL:
            continue
        if external and form.name.startswith(OPEN):
            continue
        if external and not strict and form.name in UNCHECKED:
            continue
        ops = _ops(form.routine)
        if form.name in _FENCES:
            kinds.fences.append(form)
        elif "jump" in ops:
            if "offset" in form.encoding.operands:
                kinds.branches.append(form)
        elif "csr" in form.encoding.operands:
            kinds.csr.append(form)
        elif ops & {"load", "store", "rmw", "cas", "touch"}:
            kinds.memory.append(form)
        elif any(o.startswith("f") and o != "fm" for o in form.encoding.operands):
            kinds.floating.append(form)
        else:
            kinds.plain.append(form)
    return kinds


def corner(rng: random.Random) -> int:
    """A 64-bit value; mostly one where something happens."""
    choice = rng.randrange(6)
    if choice == 0:
        return rng.getrandbits(64)
    if choice == 1:
        return rng.getrandbits(rng.randrange(1, 65))
    if choice == 2:
        return (rng.choice(INTEGERS) + rng.randrange(-3, 4)) & U64
    if choice == 3:
        return 1 << rng.randrange(64)
    return rng.choice(INTEGERS)


def leaf(rng: random.Random, index: int) -> int:
    """A random entry of LEAVES. The first 64 lead to returns, the others to data."""
    flags = f.PTE_V | f.PTE_R | f.PTE_W | f.PTE_X | f.PTE_U | f.PTE_A | f.PTE_D
    if rng.random() < 0.5:
        flags ^= 1 << rng.randrange(8)
    if rng.random() < 0.4:
        flags &= rng.getrandbits(8) | f.PTE_V
    flags |= rng.getrandbits(2) << 8
    if rng.random() < 0.5:
        flags &= ~f.PTE_U
    gpa = at.LANDING + rng.choice((0, 0x1000))
    if index >= 64:
        gpa = at.ARENA + 0x1000 * rng.randrange(8)
    extra = rng.random()
    if extra < 0.04:
        gpa = 0x2_0000_0000  # no memory there
    elif extra < 0.08:
        flags |= rng.randrange(4) << f.PTE_PBMT_SHIFT
    elif extra < 0.10:
        flags |= 1 << rng.randrange(54, 64)
    elif extra < 0.14 and index >= 64:
        flags |= f.PTE_N
        gpa = at.BIG + (0x8000 if rng.random() < 0.9 else 0x4000)
    return at.entry(gpa, flags)


class Operands:
    """Chooses operands from one random source."""

    def __init__(
        self,
        rng: random.Random,
        external: bool,
        exclude: frozenset[str],
        tame: bool = False,
        strict: bool = False,
    ) -> None:
        self.rng = rng
        self.external = external
        self.tame = tame
        self.strict = strict
        self.exclude = exclude
        self.forms = _sort(exclude, external, strict)
        names = csr_names()
        hidden = UNREADABLE_OUTSIDE if external else {"time"}
        if tame:
            hidden = hidden | {
                n for n in names if "hpm" in n or n.endswith(("envcfg", "counteren"))
            }
        kept = {n for n in names if n.startswith(("pmp", "hpm", "mhpm"))}
        self.readable = sorted(names[n] for n in names if n not in hidden)
        kept |= hidden | KEPT | (UNWRITABLE_OUTSIDE if external else set())
        self.writable = sorted(names[n] for n in names if n not in kept)

    # -- registers and words ----------------------------------------------------------------------
    def target(self) -> int:
        """A register that may be written."""
        while (register := self.rng.randrange(32)) == LOOP:
            pass
        return register

    def line(self, text: str) -> bytes:
        return at.assembler().line(text)

    def li(self, register: int, value: int) -> bytes:
        return b"".join(self.line(t) for t in load_immediate(f"x{register}", value))

    def encode(self, form: Form, fixed: dict[str, int], keep: int = LOOP) -> bytes:
        """A form with random operands, but for the fixed ones; empty if it cannot hold those.
        `keep` is a register that it does not write."""
        e = form.encoding
        for _ in range(ATTEMPTS):
            word = e.match | self.rng.getrandbits(8 * e.length) & ~e.mask & mask(8 * e.length)
            if not e.matches(word):
                continue
            values = {**e.decode(word), **fixed}
            if "rm" in values and self.rng.random() < 0.9:
                values["rm"] = self.rng.choice((0, 1, 2, 3, 4, 7))
            rd = values.get("rd", 0)
            if LOOP in (rd, rd | 1) or keep in (rd, rd | 1):
                continue
            try:
                word = e.encode(values)
            except ValueError:
                continue
            if self.external and rd == 0 and form.name.startswith("amocas"):
                continue  # QEMU 10 overwrites its zero register
            if RISCV64.table.decode(word, e.length) is form:
                return word.to_bytes(e.length, "little")
        return b""

    def _some(self, forms: list[Form], most: int) -> bytes:
        count = self.rng.randrange(1, most + 1)
        return b"".join(self.encode(self.rng.choice(forms), {}) for _ in range(count))

    def plain_target(self, but: int) -> int:
        while (register := self.target()) == but:
            pass
        return register

    # -- values -----------------------------------------------------------------------------------
    def float_bits(self) -> int:
        """Contents of a float register: all formats, properly boxed or not."""
        choice = self.rng.randrange(8)
        if choice < 3:
            return self.rng.choice(FLOATS64)
        if choice < 5:
            return mask(32) << 32 | self.rng.choice((*FLOATS32, self.rng.getrandbits(32)))
        if choice < 6:
            return mask(48) << 16 | self.rng.choice((*FLOATS16, self.rng.getrandbits(16)))
        return self.rng.getrandbits(64)

    def address(self) -> int:
        """Where data may be: aligned or not, at the end of a page, or nowhere."""
        rng = self.rng
        if self.tame:
            return at.ARENA + 0x800 + rng.randrange(0, 0x6000, 16)
        page = rng.randrange(64, 511) * 0x1000
        base = rng.choice(
            (
                *(at.ARENA + page % 0x8000, at.DATA_VA + page, at.DATA_VA + page),
                *(at.HIGH_VA + page, at.BIG_VA + rng.randrange(7) * 0x20_0000),
                *(at.GIGA_VA + at.BIG - at.BASE, at.DATA_VA + page, at.BIG),
            )
        )
        if rng.random() < 0.03:
            bad = BAD_ADDRESSES[:3] if self.external else BAD_ADDRESSES
            return rng.choice(bad)  # which half of an access around the end faults is open
        offset = rng.choice((rng.randrange(0, 0xFC0, 16), rng.randrange(0xFC0), 0xFF0))
        if offset == 0xFF0:
            offset = 0x1000 - rng.randrange(1, 17)
        return base + offset

    # -- values of CSRs --------------------------------------------------------------------------
    def pmp_address(self) -> int:
        """Over the arena or BIG only."""
        rng = self.rng
        start = rng.choice(
            (at.ARENA + rng.randrange(0x1_1000), at.BIG + rng.randrange(at.BIG_SIZE))
        )
        start = start & -rng.choice((4, 8, 64, 0x1000)) if rng.random() < 0.8 else at.LEAVES
        free = rng.choice((0, 0, 1, 7, 0x1FF, 0x3FF))
        return start >> 2 & ~free | free >> 1

    def pmp_settings(self, first: int) -> int:
        """Eight configuration bytes; the first entry of all is not TOR, which would begin at 0."""
        value = 0
        for i in range(8):
            setting = self.rng.getrandbits(5)
            if self.rng.random() < 0.6:
                setting |= f.PMP_R | f.PMP_W | f.PMP_X
            if self.rng.random() < 0.1:
                setting |= f.PMP_L
            if first + i == 0:
                setting &= ~f.PMP_A
            if self.external and setting & (f.PMP_R | f.PMP_W) == f.PMP_W:
                setting |= f.PMP_R  # writable without readable is reserved
            value |= setting << 8 * i
        return value

    def medeleg(self) -> int:
        """Random delegation; an ecall from the supervisor stays machine mode's."""
        value = self.rng.getrandbits(16) & ~(1 << 9)
        return value & f.DELEGABLE & ~1 if self.external else value

    def menvcfg(self) -> int:
        bits = f.CBIE | f.CBCFE | f.CBZE | f.ADUE | f.PBMTE | f.STCE
        value = self.rng.getrandbits(64) & bits if self.rng.random() < 0.7 else bits
        return self.legal_cbie(value)

    def legal_cbie(self, value: int) -> int:
        """For others, without the reserved value 2 of CBIE."""
        return value | f.CBIE if self.external and value >> f.CBIE_SHIFT & 1 == 0 else value
