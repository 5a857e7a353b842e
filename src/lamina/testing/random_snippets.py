"""Snippets of random code: the pieces of `random_programs`.

A snippet is a few instructions that may stand anywhere in a body. Instruction forms come from the
instruction table, sorted by what their IR does (`_sort`); operands are random within what the
encoding allows. x29 counts loops and is written by nothing else; x1 is where to go on after a jump
that found no code.
"""

import random
from collections.abc import Callable
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
def _sort(exclude: frozenset[str], external: bool) -> Sorted:
    kinds = Sorted([], [], [], [], [], [])
    for form in RISCV64.table.forms:
        if form.extension in exclude or form.name in _CONTROL:
            continue
        if external and form.name.startswith("sc."):
            continue  # whether one that fails can fault is up to the implementation
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


class Snippets:
    """Makes snippets from one random source."""

    def __init__(
        self, rng: random.Random, external: bool, exclude: frozenset[str], tame: bool = False
    ) -> None:
        self.rng = rng
        self.external = external
        self.tame = tame
        self.forms = _sort(exclude, external)
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

    def snippet(self) -> bytes:
        """One snippet; the weights keep traps rare enough that most code gets to run."""
        makers: tuple[tuple[Callable[[], bytes], int], ...] = (
            *((self.computing, 20), (self.floating, 18), (self.accesses, 26), (self.branch, 8)),
            *((self.loop, 5), (self.registers, 6), (self.csr, 8), (self.mode_call, 4)),
            *((self.trap_return, 3), (self.fence, 3), (self.modified, 2), (self.wild_jump, 3)),
            *((self.interrupt, 2), (self.table_change, 3), (self.protection, 1), (self.space, 2)),
            *((self.status, 3), (self.illegal, 1)),
        )
        if self.tame:
            wild = {self.wild_jump, self.table_change, self.protection, self.space}
            makers = tuple((m, w) for m, w in makers if m not in wild)
        maker = self.rng.choices([m for m, _ in makers], [w for _, w in makers])[0]
        return maker()

    # -- pieces ----------------------------------------------------------------------------------
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

    # -- computing -------------------------------------------------------------------------------
    def computing(self) -> bytes:
        return self._some(self.forms.plain, 24)

    def floating(self) -> bytes:
        return self._some(self.forms.floating or self.forms.plain, 12)

    def registers(self) -> bytes:
        """Fresh interesting values."""
        register = self.target()
        if self.rng.random() < 0.5 or not self.forms.floating:
            return self.li(register, corner(self.rng))
        load = self.li(register, self.float_bits())
        return load + self.line(f"fmv.d.x f{self.rng.randrange(32)}, x{register}")

    def branch(self) -> bytes:
        """A jump forward over some instructions, or over none."""
        skipped = self._some(self.forms.plain, 4)
        if self.rng.random() < 0.15:
            link, via = self.rng.choice((0, 1, 5)), self.rng.choice((6, 7))
            jump = self.line(f"auipc x{via}, 0")
            return jump + self.line(f"jalr x{link}, {len(skipped) + 8}(x{via})") + skipped
        form = self.rng.choice(self.forms.branches)
        return self.encode(form, {"offset": form.encoding.length + len(skipped)}) + skipped

    def loop(self) -> bytes:
        """A counted loop around plain code and accesses."""
        body = self.computing() + (self.accesses() if self.rng.random() < 0.5 else b"")
        body += self.line(f"addi x{LOOP}, x{LOOP}, -1")
        head = self.line(f"addi x{LOOP}, x0, {self.rng.randrange(1, 20)}")
        return head + body + self.line(f"bne x{LOOP}, x0, .-{len(body)}")

    # -- memory ----------------------------------------------------------------------------------
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

    def accesses(self) -> bytes:
        """A pointer into data, then loads, stores and atomics by it."""
        form = self.rng.choice(self.forms.memory)
        address, rng = self.address(), self.rng
        code, many = b"", rng.randrange(1, 4)
        pointer = 2 if "sp" in form.syntax else rng.randrange(8, 16)
        code += self.li(pointer, address)
        for _ in range(many):
            fixed = {"rs1": pointer} if "rs1" in form.encoding.operands else {}
            if "imm" in form.encoding.operands and rng.random() < 0.7:
                fixed["imm"] = rng.randrange(-16, 16) & U64
            if form.name.startswith(("amo", "lr.", "sc.")) and rng.random() < 0.8:
                code += self.li(pointer, address & -16)
            if self.external:
                code += self._where_all_agree(form, pointer, address)
            code += self.encode(form, fixed, pointer)
            form = rng.choice(self.forms.memory)
            if "sp" in form.syntax and pointer != 2:
                form = rng.choice([m for m in self.forms.memory if "rs1" in m.encoding.operands])
            if rng.random() < 0.2:
                code += self.li(pointer, address & -rng.choice((1, 4, 8, 16)))
        if rng.random() < 0.3:
            code += self._reservation(pointer, address & -8)
        return code

    def _where_all_agree(self, form: Form, pointer: int, address: int) -> bytes:
        """Another pointer, where implementations may differ or where QEMU is known to."""
        if form.name.startswith(("cbo", "amo")):
            # QEMU does the read of an AMO first, with its faults and its A bit, and for a cache
            # block first tries to read, then to write.
            if form.name.startswith("cbo"):
                return self.li(pointer, at.ARENA + address % 0x7000 & -64)
            return self.li(pointer, at.ARENA + address % 0x7000 & -16)
        if form.name.startswith("lr."):
            return self.li(pointer, address & -8)  # misaligned or not mapped: either may come first
        return b""

    def _reservation(self, pointer: int, address: int) -> bytes:
        """A load-reserved and store-conditional pair that may well succeed."""
        size, mark = self.rng.choice("wd"), 0x15
        got = self.plain_target(pointer) or 6
        code = self.li(pointer, address) + self.line(f"addi x{got}, x0, {mark}")
        code += self.line(f"lr.{size} x{got}, (x{pointer})")
        if self.external:
            other = self.plain_target(got) or 7
            if other in (pointer, 0):
                return b""
            code += self.line(f"addi x{other}, x0, {mark}")
            code += self.line(f"beq x{got}, x{other}, .+8")  # no reservation was made
        size = size if self.external else self.rng.choice((size, size, size, "w"))
        stored, status = self.rng.randrange(32), self.plain_target(pointer)
        return code + self.line(f"sc.{size} x{status}, x{stored}, (x{pointer})")

    def plain_target(self, but: int) -> int:
        while (register := self.target()) == but:
            pass
        return register

    # -- system ----------------------------------------------------------------------------------
    def csr(self) -> bytes:
        """Read and write a CSR."""
        form = self.rng.choice(self.forms.csr)
        writes = form.name in (
            "csrrw",
            "csrw",
            "csrrwi",
            "csrwi",
        ) or form.encoding.operands.keys() & {
            "rs1",
            "uimm",
        }
        number = self.rng.choice(self.writable if writes else self.readable)
        code = b""
        fixed = {"csr": number}
        if "rs1" in form.encoding.operands and self.rng.random() < 0.5:
            fixed["rs1"] = self.plain_target(0)
            code = self.li(fixed["rs1"], corner(self.rng))
        return code + self.encode(form, fixed)

    def status(self) -> bytes:
        """Flip a few bits of mstatus or sstatus."""
        bits = 0
        for _ in range(self.rng.randrange(1, 4)):
            bits |= self.rng.choice(
                (f.MPRV, f.SUM, f.MXR, f.TVM, f.TW, f.TSR, f.SIE, f.MIE, f.SPP, f.MPP, f.FS)
            )
        code = self.li(5, bits)
        how = self.rng.choice(("csrs", "csrs", "csrc"))
        if self.rng.random() < 0.3:
            return code + self.line("csrc mstatus, x5")
        return code + self.line(f"{how} {self.rng.choice(('mstatus', 'sstatus'))}, x5")

    def mode_call(self) -> bytes:
        """Ask the handler for a mode."""
        return self.line(f"addi x10, x0, {self.rng.choice((0, 1, 3))}") + self.line("ecall")

    def trap_return(self) -> bytes:
        """mret or sret to the code behind, in some mode."""
        rng = self.rng
        level = rng.choice("ms")
        mode = rng.choice((f.USER, f.SUPERVISOR, f.MACHINE) if level == "m" else (0, 1))
        shift, bits = (f.MPP_SHIFT, f.MPP) if level == "m" else (8, f.SPP)
        status = "mstatus" if level == "m" else "sstatus"
        tail = self.li(5, bits) + self.line(f"csrc {status}, x5")
        tail += self.li(5, mode << shift) + self.line(f"csrs {status}, x5") if mode else b""
        tail += self.line(f"{level}ret")
        upper = (at.USER_CODE - at.CODE) >> 12 if mode == f.USER else 0
        distance = len(tail) + 12
        head = self.line(f"auipc x1, {upper}") + self.line(f"addi x1, x1, {distance}")
        return head + self.line(f"csrw {level}epc, x1") + tail

    def fence(self) -> bytes:
        return self._some(self.forms.fences, 2)

    def modified(self) -> bytes:
        """Run an instruction, overwrite it, run it again."""
        plain = [p for p in self.forms.plain if p.encoding.length == 4]
        old, new = (self.encode(self.rng.choice(plain), {}) for _ in range(2))
        value = self.li(6, int.from_bytes(new, "little"))
        loop = old + self.line("auipc x7, 0") + value
        loop += self.line("sw x6, -4(x7)") + self.line("fence.i")
        loop += self.line(f"addi x{LOOP}, x{LOOP}, -1")
        head = self.line(f"addi x{LOOP}, x0, 2")
        return head + loop + self.line(f"bne x{LOOP}, x0, .-{len(loop)}")

    def wild_jump(self) -> bytes:
        """A call into pages that may not allow it, with nothing but returns on them."""
        rng = self.rng
        page = rng.randrange(63) * 0x1000
        base = rng.choice((at.LANDING, at.DATA_VA + page, at.DATA_VA + page, at.HIGH_VA + page))
        target = base + rng.choice((rng.randrange(0, 0x1000, 2), 0xFFE))
        if rng.random() < 0.1:
            target = rng.choice(BAD_ADDRESSES)
        register = rng.choice((5, 6, 7))
        return self.li(register, target) + self.line(f"jalr x1, 0(x{register})")

    def interrupt(self) -> bytes:
        """Make a supervisor interrupt pending, open and close it."""
        bits = self.rng.choice((f.SSIP, f.STIP, f.SEIP, f.S_INTERRUPTS))
        if self.external and bits & f.STIP:
            bits = f.SSIP | f.SEIP  # with STCE set later, QEMU leaves a STIP that software set
        if self.tame:
            bits = f.SSIP  # QEMU without AIA takes the lowest number first
        code = self.li(5, bits) + self.line("csrs mie, x5") + self.line("csrs sie, x5")
        code += self.line(f"{self.rng.choice(('csrs', 'csrs', 'csrc'))} mip, x5")
        code += self.line(f"csrs {self.rng.choice(('sip', 'sie'))}, x5")
        code += self.li(5, self.rng.choice((f.MIE | f.SIE, f.SIE, f.MIE)))
        code += self.line("csrs mstatus, x5") + self.line("csrs sstatus, x5")
        return code + self._some(self.forms.plain, 3) + self.line("csrc mstatus, x5")

    def table_change(self) -> bytes:
        """A new entry for one of the random pages, and its fence."""
        index = self.rng.randrange(512)
        code = self.li(6, leaf(self.rng, index)) + self.li(7, at.LEAVES + 8 * index)
        code += self.line("sd x6, 0(x7)")
        if self.rng.random() < 0.5:
            return code + self.line("sfence.vma")
        for base in (at.DATA_VA, at.HIGH_VA):
            code += self.li(7, base + 0x1000 * index) + self.line("sfence.vma x7, x0")
        return code

    def space(self) -> bytes:
        """Another satp: the same layout by another scheme, or no translation."""
        value = self.rng.choice(at.SATPS)
        if self.rng.random() < 0.2:
            value |= 5 << 60  # no such mode: nothing happens
        code = self.li(5, value) + self.line("csrw satp, x5")
        return code + self.line("sfence.vma")

    def protection(self) -> bytes:
        """Other settings of physical memory protection, of delegation or of the environment."""
        which = self.rng.randrange(4)
        if which == 0:
            name, value = f"pmpaddr{self.rng.randrange(14)}", self.pmp_address()
        elif which == 1:
            name, value = "pmpcfg0", self.pmp_settings(0)
        elif which == 2:
            name, value = "medeleg", self.medeleg()
        else:
            name, value = "menvcfg", self.menvcfg()
        code = self.li(5, value) + self.line(f"csrw {name}, x5")
        return code + self.line("sfence.vma")

    def illegal(self) -> bytes:
        """Bits that no form matches."""
        while True:
            length = self.rng.choice((2, 4))
            word = self.rng.getrandbits(8 * length) | (3 if length == 4 else 0)
            if (word & 3 == 3) == (length == 4) and not self.external:
                if RISCV64.table.decode(word, length) is None:
                    return word.to_bytes(length, "little")
            elif self.external:
                return bytes(length)

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
