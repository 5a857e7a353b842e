"""A hart without an engine: the evaluator's host over a dict of slots and a flat memory.

For tests of instruction descriptions: `EvalHost` runs one instruction form (`run`), or fetches,
decodes and runs from its memory (`step`). Addresses are not translated; those outside of memory
trap with the causes given. What an instruction did besides state and memory is in `events`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lamina.base.bits import mask, signed
from lamina.ir.evaluate import Evaluator, Leave
from lamina.isa.arch import RegFile
from lamina.isa.insn import Form, InsnTable

COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "swap": lambda w, old, new: new,
    "add": lambda w, old, new: (old + new) & mask(w),
    "and": lambda w, old, new: old & new,
    "or": lambda w, old, new: old | new,
    "xor": lambda w, old, new: old ^ new,
    "min": lambda w, old, new: min(old, new, key=lambda v: signed(v, w)),
    "max": lambda w, old, new: max(old, new, key=lambda v: signed(v, w)),
    "minu": lambda w, old, new: min(old, new),
    "maxu": lambda w, old, new: max(old, new),
}


@dataclass(frozen=True, slots=True)
class Faults:
    """The causes of accesses outside of memory, and of undecodable instructions."""

    read: int = 5
    write: int = 7
    fetch: int = 1
    illegal: int = 2


@dataclass(eq=False)
class EvalHost:
    """State, memory and control for `ir.evaluate`. Memory is at `base`, `memory_size` bytes."""

    files: Iterable[RegFile]
    memory_size: int = 0x1000
    base: int = 0
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.regs = {f.name: [0] * f.count for f in self.files}
        self.zero = {f.name for f in self.files if f.zero}
        self.slots: dict[str, int] = {"pc": self.base, "resv_addr": mask(64), "priv": 3}
        self.memory = bytearray(self.memory_size)
        self.events: list[tuple[object, ...]] = []
        self.trapped: tuple[int, int] | None = None  # cause, tval
        self.exited: int | None = None
        self.retired = 0
        self.clock = 0
        self._operands: dict[str, int] = {}
        self._length = 4
        self._target: int | None = None
        self._evaluators: dict[int, Evaluator] = {}

    # -- running -----------------------------------------------------------------------------
    def run(self, form: Form, values: dict[str, int], insn: int = 0) -> bool:
        """Execute a form with decoded operands of its own; False if it was abandoned (a trap)."""
        base = form.base
        self._operands = {**form.base_operands(values), "insn": insn}
        self._length = form.encoding.length
        self._target = self.trapped = self.exited = None
        if id(base) not in self._evaluators:
            self._evaluators[id(base)] = Evaluator(base.routine)
        try:
            self._evaluators[id(base)](self)
        except Leave:
            return False
        following = (self.slots["pc"] + self._length) & mask(64)
        self.slots["pc"] = following if self._target is None else self._target
        self.retired += 1
        return True

    def execute(self, table: InsnTable, insn: int) -> bool:
        """Execute one instruction word; a 16-bit one if its low bits say so."""
        length = 4 if insn & 3 == 3 else 2
        form = table.decode(insn, length)
        if form is None:
            self.trapped = (self.faults.illegal, insn)
            return False
        return self.run(form, form.encoding.decode(insn), insn)

    def step(self, table: InsnTable) -> bool:
        """Fetch at the slot `pc`, decode, execute."""
        at = self.slots["pc"] - self.base
        if not 0 <= at <= self.memory_size - 2:
            self.trapped = (self.faults.fetch, self.slots["pc"])
            return False
        low = int.from_bytes(self.memory[at : at + 2], "little")
        if low & 3 != 3:
            return self.execute(table, low)
        return self.execute(table, int.from_bytes(self.memory[at : at + 4], "little"))

    # -- state -------------------------------------------------------------------------------
    def get(self, slot: str) -> int:
        return self.slots.get(slot, 0)

    def set(self, slot: str, value: int) -> None:
        assert 0 <= value <= mask(64), f"{slot} = {value}"
        self.slots[slot] = value

    def reg_get(self, file: str, index: int) -> int:
        return self.regs[file][index]

    def reg_set(self, file: str, index: int, value: int) -> None:
        assert 0 <= value <= mask(64), f"{file}{index} = {value}"
        if index or file not in self.zero:
            self.regs[file][index] = value

    def operand(self, operand: str) -> int:
        return self._operands[operand] & mask(64)

    def pc(self) -> int:
        return self.slots["pc"]

    def insn_length(self) -> int:
        return self._length

    def icount(self) -> int:
        return self.retired

    def time(self) -> int:
        return self.clock

    # -- memory ------------------------------------------------------------------------------
    def _at(self, gva: int, size: int, cause: int) -> int:
        at = gva - self.base
        if not 0 <= at <= self.memory_size - size:
            self.trap(cause, gva)
        return at

    def load(self, gva: int, size: int) -> int:
        at = self._at(gva, size, self.faults.read)
        return int.from_bytes(self.memory[at : at + size], "little")

    def store(self, gva: int, value: int, size: int) -> None:
        at = self._at(gva, size, self.faults.write)
        self.memory[at : at + size] = value.to_bytes(size, "little")

    def rmw(self, gva: int, value: int, size: int, kind: str) -> int:
        self._at(gva, size, self.faults.write)
        old = self.load(gva, size)
        self.store(gva, COMBINE[kind](8 * size, old, value), size)
        return old

    def cas(self, gva: int, expected: int, new: int, size: int) -> int:
        self._at(gva, size, self.faults.write)
        old = self.load(gva, size)
        if old == expected:
            self.store(gva, new, size)
        return old

    def touch(self, gva: int, access: str) -> None:
        self._at(gva, 1, self.faults.read if access == "read" else self.faults.write)

    def phys_load(self, gpa: int, size: int) -> tuple[int, int]:
        if not 0 <= gpa - self.base <= self.memory_size - size:
            return 0, 0
        return self.load(gpa, size), 1

    def phys_cas(self, gpa: int, expected: int, new: int, size: int) -> tuple[int, int]:
        if not 0 <= gpa - self.base <= self.memory_size - size:
            return 0, 0
        return self.cas(gpa, expected, new, size), 1

    # -- control and the engine's own state --------------------------------------------------
    def jump(self, target: int) -> None:
        assert self._target is None, "an instruction jumps once"
        self._target = target

    def trap(self, cause: int, tval: int) -> None:
        self.trapped = (cause, tval)
        raise Leave

    def leave(self) -> None:
        raise Leave

    def exit(self, reason: int) -> None:
        self.exited = reason

    def fence(self) -> None:
        self.events.append(("fence",))

    def tlb_flush(self) -> None:
        self.events.append(("tlb.flush",))

    def tlb_flush_page(self, gva: int) -> None:
        self.events.append(("tlb.flush_page", gva))

    def tlb_flush_space(self, space: int) -> None:
        self.events.append(("tlb.flush_space", space))

    def tlb_flush_space_page(self, space: int, gva: int) -> None:
        self.events.append(("tlb.flush_space_page", space, gva))

    def tlb_space(self) -> None:
        self.events.append(("tlb.space",))

    def tlb_context(self) -> None:
        self.events.append(("tlb.context",))

    def icache_flush(self) -> None:
        self.events.append(("icache.flush",))

    def fence_remote(self, *arguments: int) -> int:
        self.events.append(("fence.remote", *arguments))
        return 0

    def post_remote(self, mask: int, base: int, bits: int) -> int:
        self.events.append(("post.remote", mask, base, bits))
        return 0

    def relax(self) -> None:
        self.events.append(("relax",))

    def pending(self) -> None:
        self.events.append(("pending",))

    def notify(self, value: int, event: str) -> None:
        self.events.append(("notify", event, value))
