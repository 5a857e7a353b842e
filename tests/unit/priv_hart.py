"""A small hart for tests of the privileged architecture: every routine evaluated, no TLB.

`SmallHart` is a host of `ir.evaluate` with RAM at 0x8000_0000. `insn`, `read`, `write` and
`translate` run one thing and raise `Trapped` where it traps; `step` is a whole instruction with
interrupts, fetch, trap entry. What reached the engine's own state is in `events`.
"""

from typing import Any

from lamina.base.bits import mask
from lamina.ir.evaluate import Evaluator, Leave
from lamina.ir.graph import Routine
from lamina.isa.arch import FETCH, READ, WRITE
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.csr_access import csr_names
from lamina.isa.riscv.state import LAYOUT, reset_values

RAM = 0x8000_0000
MACHINE, SUPERVISOR, USER = 3, 1, 0
OPEN_PMP = {"pmpcfg0": 0x1F, "pmpaddr0": mask(54)}
ACCESS_FAULT = {READ: 5, WRITE: 7, FETCH: 1}
_READY: dict[int, Evaluator] = {}


def run_routine(routine: Routine, host: Any, *args: int) -> tuple[int, ...]:
    if id(routine) not in _READY:
        _READY[id(routine)] = Evaluator(routine)
    return _READY[id(routine)](host, *args)


class Trapped(Leave):
    """An exception was raised: (cause, tval)."""

    def __init__(self, cause: int, tval: int) -> None:
        super().__init__(f"cause {cause}, tval {tval:#x}")
        self.cause = cause
        self.tval = tval


class SmallHart:
    """Slots and registers go by their names in the layout: `hart["mstatus"]`, `hart["x5"]`."""

    def __init__(self, ram_size: int = 0x10_0000, paravirtual: bool = False, **state: int) -> None:
        self.words = [0] * LAYOUT.words
        for name, value in {**reset_values(paravirtual=paravirtual), **state}.items():
            self[name] = value
        self.ram = bytearray(ram_size)
        self.events: list[Any] = []
        self.retired = 0
        self.ticks = 0
        self.exited: int | None = None
        self.target: int | None = None
        self.operands: dict[str, int] = {}
        self.length = 4

    def __getitem__(self, name: str) -> int:
        return self.words[LAYOUT.index[name]]

    def __setitem__(self, name: str, value: int) -> None:
        assert 0 <= value <= mask(64), f"{name} = {value}"
        self.words[LAYOUT.index[name]] = value

    # -- what tests call ---------------------------------------------------------------------
    def insn(self, syntax: str, **operands: int) -> None:
        """Run the form with this syntax or, if it is the only one, this mnemonic."""
        forms = [f for f in RISCV64.table.forms if syntax in (f.syntax, f.name)]
        assert len(forms) == 1, f"{syntax}: {len(forms)} forms"
        form = forms[0]
        word = form.encoding.encode(operands)
        assert RISCV64.table.decode(word, form.encoding.length) is form
        self.run(form, word)

    def run(self, form: Any, word: int) -> None:
        values = form.base_operands(form.encoding.decode(word))
        self.operands = {**values, "insn": word}
        self.length, self.target, self.exited = form.encoding.length, None, None
        run_routine(form.routine, self)
        self.retired += 1
        following = (self["pc"] + self.length) & mask(64)
        self["pc"] = following if self.target is None else self.target

    def read(self, name: str) -> int:
        self.insn("csrr", rd=5, csr=csr_names()[name])
        return self["x5"]

    def write(self, name: str, value: int) -> int:
        """csrw; returns what the register reads afterwards."""
        self["x6"] = value
        self.insn("csrw", csr=csr_names()[name], rs1=6)
        return self.read(name)

    def translate(self, gva: int, access: int = READ, size: int = 8) -> tuple[int, ...]:
        return run_routine(RISCV64.routines["translate"], self, gva, access, size)

    def context(self) -> tuple[int, ...]:
        return run_routine(RISCV64.routines["context"], self)

    def take_trap(self, cause: int, tval: int = 0) -> None:
        run_routine(RISCV64.routines["trap"], self, cause, tval)

    def take_interrupt(self) -> bool:
        """True if there was one to take."""
        before = self["pc"], self["priv"], self["mstatus"]
        run_routine(RISCV64.routines["interrupt"], self)
        return before != (self["pc"], self["priv"], self["mstatus"])

    def step(self) -> None:
        """Take an interrupt if one is due, else run the instruction at pc with all its effects."""
        if self.take_interrupt():
            return
        try:
            word = self.load_as(self["pc"], 2, FETCH)
            if word & 3 == 3:
                word |= self.load_as((self["pc"] + 2) & mask(64), 2, FETCH) << 16
            form = RISCV64.table.decode(word, 4 if word & 3 == 3 else 2)
            if form is None:
                raise Trapped(2, word)
            self.run(form, word)
        except Trapped as trapped:
            self.take_trap(trapped.cause, trapped.tval)

    # -- memory, host side -------------------------------------------------------------------
    def peek(self, gpa: int, size: int = 8) -> int:
        return int.from_bytes(self.ram[gpa - RAM : gpa - RAM + size], "little")

    def poke(self, gpa: int, value: int, size: int = 8) -> None:
        assert 0 <= gpa - RAM <= len(self.ram) - size
        self.ram[gpa - RAM : gpa - RAM + size] = value.to_bytes(size, "little")

    def load_as(self, gva: int, size: int, access: int) -> int:
        return self.peek(self._gpa(gva, access, size), size)

    def _gpa(self, gva: int, access: int, size: int) -> int:
        gpa = self.translate(gva, access, size)[0]
        if not RAM <= gpa <= RAM + len(self.ram) - size:
            raise Trapped(ACCESS_FAULT[access], gva)
        return gpa

    # -- the evaluator's host ----------------------------------------------------------------
    def get(self, slot: str) -> int:
        return self[slot]

    def set(self, slot: str, value: int) -> None:
        self[slot] = value

    def reg_get(self, file: str, index: int) -> int:
        assert 0 <= index < LAYOUT.files[file].count
        return self.words[LAYOUT.file_base[file] + index]

    def reg_set(self, file: str, index: int, value: int) -> None:
        assert 0 <= index < LAYOUT.files[file].count
        if index or not LAYOUT.files[file].zero:
            self.words[LAYOUT.file_base[file] + index] = value

    def operand(self, operand: str) -> int:
        return self.operands[operand]

    def pc(self) -> int:
        return self["pc"]

    def insn_length(self) -> int:
        return self.length

    def icount(self) -> int:
        return self.retired

    def time(self) -> int:
        return self.ticks

    def load(self, gva: int, size: int) -> int:
        return self.load_as(gva, size, READ)

    def store(self, gva: int, value: int, size: int) -> None:
        self.poke(self._gpa(gva, WRITE, size), value, size)

    def phys_load(self, gpa: int, size: int) -> tuple[int, int]:
        inside = RAM <= gpa <= RAM + len(self.ram) - size
        return (self.peek(gpa, size), 1) if inside else (0, 0)

    def phys_cas(self, gpa: int, expected: int, new: int, size: int) -> tuple[int, int]:
        old, ok = self.phys_load(gpa, size)
        if ok and old == expected:
            self.poke(gpa, new, size)
        return old, ok

    def jump(self, target: int) -> None:
        self.target = target

    def trap(self, cause: int, tval: int) -> None:
        raise Trapped(cause, tval)

    def leave(self) -> None:
        raise Leave

    def exit(self, reason: int) -> None:
        self.exited = reason

    def tlb_flush(self) -> None:
        self.events.append("flush")

    def tlb_flush_page(self, gva: int) -> None:
        self.events.append(("flush_page", gva))

    def tlb_flush_space(self, space: int) -> None:
        self.events.append(("flush_space", space))

    def tlb_flush_space_page(self, space: int, gva: int) -> None:
        self.events.append(("flush_space_page", space, gva))

    def tlb_space(self) -> None:
        self.events.append("space")

    def tlb_context(self) -> None:
        self.events.append("context")

    def icache_flush(self) -> None:
        self.events.append("icache")

    def fence_remote(self, *arguments: int) -> int:
        self.events.append(("fence.remote", *arguments))
        return 0

    def post_remote(self, mask: int, base: int, bits: int) -> int:
        self.events.append(("post.remote", mask, base, bits))
        return 0

    def relax(self) -> None:
        self.events.append("relax")

    def pending(self) -> None:
        self.events.append("pending")

    def fence(self) -> None:
        self.events.append("fence")

    def touch(self, gva: int, access: str) -> None:
        self.translate(gva, WRITE if access == "write" else READ, 1)

    def notify(self, value: int, event: str) -> None:
        self.events.append((event, value))
