"""Snippets of random code: the pieces of `random_programs`.

A snippet is a few instructions that may stand anywhere in a body; `random_operands` chooses what
they work on. x1 is where to go on after a jump that found no code.
"""

from collections.abc import Callable

from lamina.base.bits import U64
from lamina.isa.insn import Form
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv import fields as f
from lamina.testing import random_layout as at
from lamina.testing.random_operands import BAD_ADDRESSES, LOOP, Operands, corner, leaf


class Snippets(Operands):
    """Makes snippets from one random source."""

    loops = 20  # a loop is run less often than this

    def snippet(self) -> bytes:
        """One snippet; the weights keep traps rare enough that most code gets to run."""
        makers: tuple[tuple[Callable[[], bytes], int], ...] = (
            *((self.computing, 20), (self.floating, 18), (self.accesses, 26), (self.branch, 8)),
            *((self.loop, 5), (self.registers, 6), (self.csr, 8), (self.mode_call, 4)),
            *((self.trap_return, 3), (self.fence, 3), (self.modified, 2), (self.wild_jump, 3)),
            *((self.interrupt, 2), (self.table_change, 3), (self.protection, 1), (self.space, 2)),
            *((self.status, 3), (self.illegal, 1), (self.invalidation, 2)),
        )
        if self.tame:
            wild = {self.wild_jump, self.table_change, self.protection, self.space}
            wild |= {self.invalidation}
            makers = tuple((m, w) for m, w in makers if m not in wild)
        maker = self.rng.choices([m for m, _ in makers], [w for _, w in makers])[0]
        return maker()

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
        body = self.computing()
        data = self.accesses() if self.rng.random() < 0.5 else b""
        body += data + self.line(f"addi x{LOOP}, x{LOOP}, -1")
        count = self.rng.randrange(1, self.loops)
        if data:
            count = min(count, 40)  # it may trap each time
        head = self.line(f"addi x{LOOP}, x0, {count}")
        return head + body + self.line(f"bne x{LOOP}, x0, .-{len(body)}")

    # -- memory ----------------------------------------------------------------------------------
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
            if self.strict:
                return self.li(pointer, address & -16)
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

    def invalidation(self) -> bytes:
        """Use a page, let machine mode change its entry, and invalidate as a supervisor does."""
        rng = self.rng
        index = rng.randrange(64, 511)
        page = rng.choice((at.DATA_VA, at.HIGH_VA)) + 0x1000 * index
        use = self.li(8, page + rng.randrange(0, 0x1000, 8))
        use += self.line(rng.choice(("ld x9, 0(x8)", "sd x9, 0(x8)", "lw x9, 0(x8)")))
        code = use + self.line(f"addi x10, x0, {f.MACHINE}") + self.line("ecall")
        code += self.li(5, f.TVM) + self.line("csrc mstatus, x5")
        code += self.li(6, leaf(rng, index)) + self.li(7, at.LEAVES + 8 * index)
        code += self.line("sd x6, 0(x7)")
        code += self.line(f"addi x10, x0, {f.SUPERVISOR}") + self.line("ecall")
        code += self.li(7, page + rng.randrange(0x1000))
        if "Svinval" in self.exclude:
            return code + self.line("sfence.vma x7, x0") + use
        code += self.line("sfence.w.inval")
        code += self.line(f"sinval.vma {rng.choice(('x7', 'x7', 'zero'))}, x0")
        return code + self.line("sfence.inval.ir") + use

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
