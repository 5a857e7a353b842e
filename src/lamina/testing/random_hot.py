"""Snippets of hot code: what an optimising engine compiles, in the forms that occur in practice.

Loops that walk through memory, over the ends of pages and into pages that may not be used; loops
within loops; neighbouring accesses by one base; functions that are called; tables of jumps; code
that changes itself; jumps into the middle of instructions. Everything comes to an end: loops are
counted by x29, and by x28 outside. Used by `random_programs` if its options say `hot`.
"""

from collections.abc import Callable, Collection

from lamina.base.bits import PAGE_SIZE, U64
from lamina.engine.jit.flow import Decoder
from lamina.isa.insn import Form
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv import fields as f
from lamina.testing import random_layout as at
from lamina.testing.random_operands import LOOP
from lamina.testing.random_snippets import Snippets

OUTER = 28
LINK = 1
_ODD = ("amo", "lr.", "sc.", "cbo")  # rare, and many: misaligned ones trap
_DECODER = Decoder(RISCV64)


class HotSnippets(Snippets):
    """Makes snippets from one random source. `position` is where the next one begins in the body;
    it only decides how often code lies across pages."""

    position = 0
    paged = False  # whether most of the program's data is to be found by page tables
    _most = 20

    def snippet(self) -> bytes:
        makers: tuple[tuple[Callable[[], bytes], int], ...] = (
            *((self.walk, 24), (self.neighbours, 16), (self.nest, 10), (self.calls, 12)),
            *((self.table, 5), (self.overlap, 4), (self.rewriting, 4), (self.interrupted, 3)),
            *((self.registers, 4), (self.mode_call, 1), (self.table_change, 4), (self.space, 1)),
            *((self.status, 1), (self.floating, 4), (self.accesses, 4)),
        )
        maker = self.rng.choices([m for m, _ in makers], [w for _, w in makers])[0]
        code = maker()
        if self.rng.random() < 0.3 and len(code) < 1000:
            return self._to_page_end(len(code)) + code
        return code

    # -- pieces ----------------------------------------------------------------------------------
    def _to_page_end(self, length: int) -> bytes:
        """A jump to where a snippet of this length lies across the end of a page."""
        before = self.rng.randrange(2, max(length, 4), 2)
        gap = (-self.position - before) % PAGE_SIZE
        if gap < 4 or gap > 3000:
            return b""
        return self.line(f"jal x0, .+{gap}") + bytes(gap - 4)

    def _kept(self, forms: list[Form], count: int, keep: Collection[int]) -> bytes:
        """Instructions that leave some x registers alone."""
        code = b""
        while count:
            raw = self.encode(self.rng.choice(forms), {})
            decoded = _DECODER.decode(int.from_bytes(raw, "little"), len(raw)) if raw else None
            if decoded is not None and not any(decoded.changes >> r & 1 for r in keep):
                code += raw
                count -= 1
        return code

    def _work(self, most: int, keep: Collection[int]) -> bytes:
        rng = self.rng
        floats = self.forms.floating or self.forms.plain
        forms = self.forms.plain if rng.random() < 0.7 else floats
        return self._kept(forms, rng.randrange(most + 1), keep)

    def _access(self, pointer: int, low: int, high: int, keep: Collection[int]) -> bytes:
        """One access by a pointer, at a distance."""
        rng = self.rng
        odd = rng.random() < 0.1
        while True:
            form = rng.choice(self.forms.memory)
            if "sp" in form.syntax or "rs1" not in form.encoding.operands:
                continue
            if form.name.startswith(_ODD) != odd:
                continue
            fixed = {"rs1": pointer}
            if "imm" in form.encoding.operands:
                fixed["imm"] = rng.randrange(low, high) & U64
            raw = self.encode(form, fixed)
            decoded = _DECODER.decode(int.from_bytes(raw, "little"), len(raw)) if raw else None
            if decoded is not None and not any(decoded.changes >> r & 1 for r in keep):
                return raw

    def _skip(self, keep: Collection[int]) -> bytes:
        """A branch over some of what follows."""
        skipped = self._work(3, keep)
        form = self.rng.choice([f for f in self.forms.branches if "rs1" in f.encoding.operands])
        return self.encode(form, {"offset": form.encoding.length + len(skipped)}) + skipped

    def _counted(self, body: bytes, count: int, counter: int = LOOP) -> bytes:
        """A loop around position-independent code."""
        body += self.line(f"addi x{counter}, x{counter}, -1")
        if self.rng.random() < 0.2:  # out in the middle
            body = self.line(f"beq x{counter}, x0, .+{len(body) + 8}") + body
        head = self.line(f"addi x{counter}, x0, {count}")
        return head + body + self.line(f"bne x{counter}, x0, .-{len(body)}")

    def _start(self) -> int:
        """Where a walk begins: mostly where things go well, often near the end of a page. How
        often the next loop runs depends on it."""
        rng = self.rng
        self._most = self.loops
        if rng.random() < 0.8:
            start = at.DATA_VA + 64 * PAGE_SIZE if self.paged else at.ARENA
            start += rng.randrange(0, 7) * PAGE_SIZE
        else:
            start = self.address() & -PAGE_SIZE
            self._most = 5  # it may trap each time
        if rng.random() < 0.6:
            return (start + PAGE_SIZE - rng.randrange(1, 200)) & U64
        return start + rng.randrange(0, PAGE_SIZE, rng.choice((1, 8)))

    def _times(self) -> int:
        return self.rng.randrange(2, self._most)

    # -- snippets --------------------------------------------------------------------------------
    def space(self) -> bytes:
        """The same layout by another scheme, or another address space of the same tables."""
        schemes = at.SATPS[1:] if self.paged else at.SATPS[:1]
        value = self.rng.choice(schemes) | self.rng.randrange(4) << f.ASID_SHIFT
        return self.li(5, value) + self.line("csrw satp, x5")

    def walk(self) -> bytes:
        """A loop that moves a pointer or two through memory."""
        rng = self.rng
        first, second = rng.sample(range(8, 16), 2)
        keep = {LOOP, OUTER, first, second}
        head = self.li(first, self._start()) + self.li(second, self._start())
        body = b""
        for _ in range(rng.randrange(1, 4)):
            body += self._access(rng.choice((first, first, second)), -16, 32, keep)
            body += self._work(3, keep)
            if rng.random() < 0.3:
                body += self._skip(keep)
        step = rng.choice((1, 2, 4, 8, 8, 8, 16, 64, 0x400, -8, -64))
        body += self.line(f"addi x{first}, x{first}, {step}")
        if rng.random() < 0.5:
            body += self.line(f"addi x{second}, x{second}, {rng.choice((1, 4, 8, -8))}")
        return head + self._counted(body, self._times())

    def neighbours(self) -> bytes:
        """Accesses about one base, as in a prologue; the base may change between."""
        rng = self.rng
        pointer = rng.randrange(8, 16)
        keep = {LOOP, OUTER, pointer}
        body = b""
        for _ in range(rng.randrange(2, 9)):
            distance = rng.choice((0, 0, 8, -8, 64, 1000, -1500))
            body += self._access(pointer, distance - 24, distance + 40, keep)
            if rng.random() < 0.3:
                body += self._work(2, keep)
            if rng.random() < 0.1:
                body += self.line(f"addi x{pointer}, x{pointer}, {rng.choice((8, -8, 100))}")
            if rng.random() < 0.05:
                body += self._skip(keep)
        if rng.random() < 0.1:
            body += self.line(f"ld x{pointer}, 0(x{pointer})")
        again = self.li(pointer, self._start())
        if rng.random() < 0.5:
            return again + self._counted(body, min(self._times(), 12))
        return self._counted(again + body, min(self._times(), 12))

    def nest(self) -> bytes:
        """A loop within a loop."""
        rng = self.rng
        pointer = rng.randrange(8, 16)
        keep = {LOOP, OUTER, pointer}
        inner = self._access(pointer, -16, 16, keep) + self._work(4, keep)
        inner += self.line(f"addi x{pointer}, x{pointer}, {rng.choice((0, 4, 8, 32))}")
        code = self._work(4, keep) + self._counted(inner, rng.randrange(2, 12))
        code += self._work(2, keep)
        return self.li(pointer, self._start()) + self._counted(code, rng.randrange(2, 8), OUTER)

    def calls(self) -> bytes:
        """Functions, one of which may call the other, and a loop that calls them."""
        rng = self.rng
        pointer = rng.randrange(8, 16)
        keep = {LOOP, OUTER, pointer, LINK, 5}
        ret = self.line("jalr x0, 0(x1)")
        leaf = self._work(5, keep)
        if rng.random() < 0.7:
            leaf += self._access(pointer, -8, 24, keep)
        leaf += ret
        calling = self._work(2, keep)
        calling += self.line("addi x5, x1, 0")
        calling += self.line(f"jal x1, .-{len(leaf) + len(calling)}") + self._work(2, keep)
        calling += self.line("jalr x0, 0(x5)")
        functions = leaf + calling
        body = self._work(2, keep)
        for entry in rng.choices((0, len(leaf)), k=rng.randrange(1, 4)):
            # Behind the functions lie two instructions: li and the counter's.
            distance = len(functions) + 4 + len(body) - entry
            body += self.line(f"jal x1, .-{distance}")
        head = self.li(pointer, self._start())
        head += self.line(f"jal x0, .+{len(functions) + 4}")
        body += self.line(f"addi x{LOOP}, x{LOOP}, -1")
        loop = self.line(f"addi x{LOOP}, x0, {self._times()}") + body
        return head + functions + loop + self.line(f"bne x{LOOP}, x0, .-{len(body)}")

    def table(self) -> bytes:
        """A computed jump to one of four places."""
        keep = {LOOP, OUTER}
        body = self.line("auipc x7, 0") + self.line(f"andi x6, x{LOOP}, 3")
        body += self.line("slli x6, x6, 3") + self.line("add x7, x7, x6")
        body += self.line("jalr x0, 20(x7)")
        plain = [f for f in self.forms.plain if f.encoding.length == 4]
        for i in range(4):
            body += self._kept(plain, 1, keep) + self.line(f"jal x0, .+{28 - 8 * i}")
        return self._counted(body + self._work(3, keep), self._times())

    def overlap(self) -> bytes:
        """A jump into an instruction, every other time."""
        second = self.line("addi x9, x2, 0")  # its upper half is c.nop
        assert second[2:] == b"\x01\x00"
        body = self.line(f"andi x6, x{LOOP}, 1") + self.line("beq x6, x0, .+6") + second
        return self._counted(body + self._work(4, {LOOP, OUTER}), self._times())

    def rewriting(self) -> bytes:
        """A loop in which an instruction gives way to another, now and then."""
        rng = self.rng
        keep = {LOOP, OUTER, 6, 7}
        plain = [f for f in self.forms.plain if f.encoding.length == 4]
        old, new = (self._kept(plain, 1, keep) for _ in range(2))
        before, after = self._work(6, keep), self._work(6, keep)
        body = before + old + after
        # The two instructions of the test lie between.
        change = self.line("auipc x7, 0") + self.li(6, int.from_bytes(new, "little"))
        change += self.line(f"sw x6, -{len(old + after) + 8}(x7)") + self.line("fence.i")
        body += self.line(f"andi x6, x{LOOP}, {rng.choice((0, 1, 3, 7))}")
        body += self.line(f"bne x6, x0, .+{len(change) + 4}")
        return self._counted(body + change, self._times())

    def interrupted(self) -> bytes:
        """A loop in which an interrupt comes up that may be taken."""
        code = self.line("csrrsi x0, mie, 2") + self.line("csrrsi x0, mstatus, 10")
        keep = {LOOP, OUTER, 6}
        body = self._work(4, keep) + self.line(f"andi x6, x{LOOP}, 7")
        body += self.line("bne x6, x0, .+8") + self.line("csrrsi x0, mip, 2")
        body += self._work(3, keep)
        return code + self._counted(body, self._times()) + self.line("csrrci x0, mstatus, 10")
