"""LLVM text of instruction handlers: `i64 @h.NAME(ptr state, ptr record, i64 budget)`.

Handlers tail-call each other; the budget counts down retired instructions and traps. Called by
`module` for the whole runtime and by `single` for one handler.
"""

from lamina.engine.threaded.functions import REDISPATCH, MemoryWriter, mentions
from lamina.engine.threaded.hostfloat import HOST_INSTRUCTIONS
from lamina.engine.threaded.layout import RECORD, ThreadedLayout
from lamina.ir.graph import Block, Op, Routine, Value
from lamina.isa.arch import Arch

ACCESSES = {"load", "store", "rmw", "cas", "touch"}
_CHANGES = {"set", "reg.set", "store", "rmw", "cas", "phys.cas", "exit", "call", "notify"}
_CHANGES |= REDISPATCH


class HandlerWriter(MemoryWriter):
    """One instruction of `length` bytes as a handler. `local`: a static jump stays in the page.

    `places` maps operands to their place in a record: "a".."d" or "imm".

    Where an instruction can be begun again at a memory access or a rare case, its handler
    `h.NAME` only knows accesses that hit the TLB and usual cases, so that it needs no stack frame;
    all else goes on in `s.NAME`, which does the whole instruction by slow paths (`slow`).
    """

    def __init__(
        self,
        name: str,
        routine: Routine,
        arch: Arch,
        layout: ThreadedLayout,
        places: dict[str, str],
        length: int,
        local: bool,
        slow: bool = False,
    ) -> None:
        super().__init__(routine, arch, layout)
        self.name = name
        self.slow = slow
        self.has_slow = restartable(routine)
        self.uses_host = not slow
        self.escape = "rare" if self.has_slow and not slow else ""
        self.places = places
        self.length = length
        self.local = local
        self._zero_free = remapped_operands(routine, arch)
        self._redispatch = mentions(routine, REDISPATCH)

    # -- operands and the program counter ------------------------------------------------------
    def _field(self, offset: int, width: int, extend: str) -> str:
        at = self.temp(f"getelementptr inbounds i8, ptr %r, i64 {offset}")
        raw = self.temp(f"load i{width}, ptr {at}")
        return self.temp(f"{extend} i{width} {raw} to i64")

    def _operand(self, name: str) -> str:
        if name == "insn":
            return self._field(12, 32, "zext")
        place = self.places[name]
        if place == "imm":
            return self._field(8, 32, "sext")
        return self._field(4 + "abcd".index(place), 8, "zext")

    def op_operand(self, op: Op) -> None:
        self.bind(op.results[0], self._operand(op.attrs["operand"]))

    def discards_by_itself(self, index: Value) -> bool:
        if index.op.name == "operand" and index.op.attrs["operand"] in self._zero_free:
            return True  # the decoder replaced register 0 by the discard register
        return super().discards_by_itself(index)

    def _pc(self) -> str:
        bias = self.temp(f"load i64, ptr {self.engine_word('pc_bias')}")
        record = self.temp("ptrtoint ptr %r to i64")
        return self.temp(f"add i64 {bias}, {self.temp(f'lshr i64 {record}, 3')}")

    def op_pc(self, op: Op) -> None:
        self.bind(op.results[0], self._pc())

    def op_insn_length(self, op: Op) -> None:
        self.bind(op.results[0], str(self.length))

    def op_icount(self, op: Op) -> None:
        self.bind(op.results[0], self._icount())

    def _icount(self) -> str:
        end = self.temp(f"load i64, ptr {self.slot_pointer('icount_end')}")
        return self.temp(f"sub i64 {end}, %b")

    def before_call(self) -> None:
        self.out(f"store i64 {self._pc()}, ptr {self.slot_pointer('pc')}")
        self.out(f"store i64 {self._icount()}, ptr {self.slot_pointer('icount')}")
        self.out(f"store i64 {self._operand('insn')}, ptr {self.engine_word('insn')}")

    # -- memory --------------------------------------------------------------------------------
    def _hit_pointer(self, gva: str, size: int, write: bool) -> str:
        """The host pointer of an access that hits the TLB; a miss goes on in the slow handler."""
        hit, pointer = self.tlb_hit(gva, size, write)
        go, miss = self.label("hit"), self.label("miss")
        self.branch(hit, go, miss, (1, 0))
        self.open(miss)
        self._tail(f'@"s.{self.name}"', "ptr %r", "%b")
        self.open(go)
        return pointer

    def op_load(self, op: Op) -> None:
        if not self.has_slow:
            super().op_load(op)
        elif self.slow:
            self.bind(op.results[0], self.load_slowly(op))
        else:
            size = op.attrs["size"]
            pointer = self._hit_pointer(self.use(op.args[0]), size, write=False)
            self.bind(op.results[0], self.temp(f"load i{8 * size}, ptr {pointer}, align 1"))

    def op_store(self, op: Op) -> None:
        if not self.has_slow:
            super().op_store(op)
        elif self.slow:
            self.store_slowly(op)
        else:
            size = op.attrs["size"]
            pointer = self._hit_pointer(self.use(op.args[0]), size, write=True)
            self.out(f"store i{8 * size} {self.use(op.args[1])}, ptr {pointer}, align 1")

    def atomic_pointer(self, op: Op) -> str:
        if self.slow or not self.has_slow:
            return super().atomic_pointer(op)
        return self._hit_pointer(self.use(op.args[0]), op.attrs["size"], write=True)

    def op_touch(self, op: Op) -> None:
        if self.slow or not self.has_slow:
            super().op_touch(op)
        else:
            self._hit_pointer(self.use(op.args[0]), 1, write=op.attrs["access"] == "write")

    # -- leaving -------------------------------------------------------------------------------
    def _tail(self, callee: str, second: str, budget: str, traits: str = "") -> None:
        call = f"musttail call preserve_nonecc i64 {callee}(ptr %s, {second}, i64 {budget}){traits}"
        result = self.temp(call)
        self.close(f"ret i64 {result}")

    def leave(self) -> None:
        self._tail("@left", "ptr null", "%b")

    def _spent(self) -> str:
        return self.temp("sub i64 %b, 1")

    def _next_pc(self) -> str:
        return self.temp(f"add i64 {self._pc()}, {self.length}")

    def _dispatch(self, pc: str, inline: bool = False) -> None:
        pointer = self.temp(f"inttoptr i64 {pc} to ptr")
        traits = " alwaysinline" if inline else ""
        self._tail("@dispatch", f"ptr {pointer}", self._spent(), traits)

    def _record(self, record: str, budget: str) -> None:
        """Go on with the record's handler."""
        offset = self.temp(f"load i32, ptr {record}")
        wide = self.temp(f"sext i32 {offset} to i64")
        target = self.temp(f"getelementptr i8, ptr @h.decode, i64 {wide}")
        self._tail(target, f"ptr {record}", budget)

    def op_exit(self, op: Op) -> None:
        self.out(f"store i64 {int(op.attrs['reason'])}, ptr {self.engine_word('exit_code')}")
        self.op_pending(op)
        self._dispatch(self._next_pc())

    def _pending(self) -> str:
        slot = self.slot_pointer("pending")
        return self.temp(f"load atomic i64, ptr {slot} monotonic, align 8")

    def _quiet(self, budget: str) -> str:
        """Whether no boundary is due at a jump."""
        return self.temp(f"icmp sgt i64 {budget}, {self._pending()}")

    def _unless_quiet(self, budget: str) -> str:
        """Begin what is done where a boundary is due at a jump; the label to go on at elsewhere."""
        go, out = self.label("go"), self.label("out")
        self.branch(self._quiet(budget), go, out, (1, 0))
        self.open(out)
        return go

    def op_jump(self, op: Op) -> None:
        offset = static_jump(op)
        if offset is None or not self.local:
            # Inline, so that the host predicts the next handler for each kind of jump by itself.
            self._dispatch(self.use(op.args[0]), inline=True)
            return
        budget = self._spent()
        go = self._unless_quiet(budget)
        self._dispatch(self.temp(f"add i64 {self._pc()}, {self._operand(offset)}"))
        self.open(go)
        distance = self.temp(f"mul i64 {self._operand(offset)}, {RECORD // 2}")
        self._record(self.temp(f"getelementptr i8, ptr %r, i64 {distance}"), budget)

    def text(self) -> str:
        self.body()
        if not self.closed:
            if self._redispatch:
                self._dispatch(self._next_pc())
            else:
                step = self.length // 2 * RECORD
                following = self.temp(f"getelementptr inbounds i8, ptr %r, i64 {step}")
                self._record(following, self._spent())
        if self.escapes:
            self.open("rare")
            self._tail(f'@"s.{self.name}"', "ptr %r", "%b")
        kind, traits = ("s", " noinline cold") if self.slow else ("h", "")
        name = f"{kind}.{self.name}"
        head = f'define dso_local preserve_nonecc i64 @"{name}"(ptr %s, ptr %r, i64 %b){traits}'
        head += self.strictness()
        return "\n".join([head + " {", "entry:", *self.lines, "}"])


def restartable(routine: Routine) -> bool:
    """True if an instruction accesses memory or has rare cases, and may be begun again at each of
    them because nothing was changed before."""
    stops = any(_begins_again(op) for op in routine.body.walk())
    return stops and _changed_after(routine.body, False) is not None


def _begins_again(op: Op) -> bool:
    """Whether an operation may be what sends an instruction to its slow handler."""
    return op.name in ACCESSES or bool(op.attrs.get("rare")) or _is_host_float(op)


def _is_host_float(op: Op) -> bool:
    return op.name == "call" and op.attrs["routine"].name in HOST_INSTRUCTIONS


def _changed_after(block: Block, changed: bool) -> bool | None:
    """Whether something was changed at a block's end; None if what may begin again comes after
    a change."""
    for op in block.ops:
        if op.name == "loop" or (_begins_again(op) and changed):
            return None
        ends = [_changed_after(b, changed) for b in op.blocks]
        if None in ends:
            return None
        changed |= (op.name in _CHANGES and not _is_host_float(op)) or any(ends)
    return changed


def static_jump(op: Op) -> str | None:
    """The operand `offset` of a jump to pc + offset; None for any other target."""
    target = op.args[0].op
    if target.name != "add":
        return None
    a, b = (v.op for v in target.args)
    if a.name == "pc" and b.name == "operand":
        return str(b.attrs["operand"])
    return None


def has_static_jump(routine: Routine) -> str | None:
    """The offset operand if the routine has a static jump."""
    for op in routine.body.walk():
        if op.name == "jump" and static_jump(op) is not None:
            return static_jump(op)
    return None


def remapped_operands(routine: Routine, arch: Arch) -> set[str]:
    """Operands that only name destinations in a file with a hardwired zero: for these the decoder
    puts the discard register in place of register 0."""
    written: set[str] = set()
    read: set[str] = set()
    for op in routine.body.walk():
        for position, arg in enumerate(op.args):
            if arg.op.name != "operand":
                continue
            is_target = op.name == "reg.set" and position == 0
            zero = is_target and arch.layout.files[op.attrs["file"]].zero
            (written if zero else read).add(arg.op.attrs["operand"])
    return written - read
