"""Stencils: the machine code that the baseline compiler copies and patches, as LLVM assembly.

A stencil is a handler whose record is known: where a handler loads operands, a stencil has *holes*,
symbols whose values are the operands of one instruction. The linker's relocations say where they
stand in the code (copy-and-patch: Xu and Kjolstad, OOPSLA 2021). `baseline_ir` copies the stencils
of one instruction after another, fills their holes in and so has compiled them.

Code made of stencils has a handler's arguments, but no record: a block belongs to its records, so
that each instruction's is a hole, as is its address but for what is added to all of a page. Its
budget is the one that was left at the block's first instruction. Instead of the record there is the
middle of the general registers, which 8 bits reach from there; then come the data TLB, which
nothing in a block exchanges, the distance from guest to host of the page that was looked up last,
and general registers of the guest (`stencil_registers`). All that is not usual leaves by a *thunk*,
which stands apart from the code that usually runs: it goes on in the second handler of the
instruction (`handlers`), with its own record and what is left of the budget, or behind a jump in
`dispatch`.

LLVM makes a way out a jump on a condition if its block comes last and there is nothing else in it:
what usually runs has no jump that is taken then, and needs none to go around.

Neighbouring accesses about one register may share one look-up (CHECK) of all bytes that they touch;
they are the instruction's second stencil, which finds its page known.
"""

from lamina.engine.threaded.baseline import OUT_THUNK, SLOW_THUNK
from lamina.engine.threaded.decoder import PLACES, places
from lamina.engine.threaded.handlers import HandlerWriter, static_jump
from lamina.engine.threaded.layout import FETCH_ENTRY, ThreadedLayout
from lamina.engine.threaded.stencil_forms import PLAIN, Special, general_file
from lamina.engine.threaded.stencil_registers import PARAMETERS, call, call_outside, roles_of
from lamina.ir.graph import Op, Routine, Value
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn

_SHIFTS = {"shl": "shl", "lshr": "shr", "ashr": "sar"}
_SUFFIX = {32: "l", 64: "q"}


class NoStencilError(Exception):
    """An instruction does what stencils do not: its handler does it."""


class StencilWriter(HandlerWriter):
    """One instruction as a stencil. Its arguments are a handler's, but `length`: how long the
    instruction is stands in a hole. `second`: the other stencil of an instruction that has two: the
    page that it accesses was looked up before; its jump leads forward, where no boundary is due.
    `special`: what is known of its registers."""

    def __init__(
        self,
        name: str,
        routine: Routine,
        arch: Arch,
        layout: ThreadedLayout,
        insn: Insn,
        local: bool,
        second: bool = False,
        special: Special = PLAIN,
    ) -> None:
        super().__init__(name, routine, arch, layout, places(insn), 4, local)
        self._insn = insn
        self._second = second
        self._special = special
        self._changed = False  # the instruction cannot be begun again
        self._thunks: set[str] = set()
        self._roles = roles_of(arch, insn, special)
        self._result = "%result"

    # -- holes ---------------------------------------------------------------------------------
    def _operand(self, name: str) -> str:
        if name == "insn":
            raise NoStencilError(name)
        return number_of(self.places[name])

    def register_pointer(self, file: str, index: str) -> str:
        head, _, rest = index.partition('"hole.')
        if not head.startswith("ptrtoint"):
            return super().register_pointer(file, index)
        base = self.temp(f"getelementptr i8, ptr %x, i64 {number_of(rest[0] + '8')}")
        return self.temp(f"getelementptr i8, ptr {base}, i64 {from_middle(self.arch, file)}")

    def data_tlb(self) -> str:
        return "%t"

    def _place(self, index: Value) -> str:
        """The place in a record of the operand that names a register; "": none does."""
        return self.places[index.op.attrs["operand"]] if index.op.name == "operand" else ""

    def op_reg_get(self, op: Op) -> None:
        place, sources = self._place(op.args[0]), self._roles.sources
        if not self.layout.files[op.attrs["file"]].zero:
            super().op_reg_get(op)
        elif self._special.zero == place:
            self.bind(op.results[0], "0")
        elif place in sources:
            self.bind(op.results[0], ("%first", "%other")[sources.index(place)])
        else:
            super().op_reg_get(op)

    def op_reg_set(self, op: Op) -> None:
        file = self.layout.files[op.attrs["file"]]
        if file.zero and not self.discards_by_itself(op.args[0]):
            raise NoStencilError("a register that may be the hardwired zero")
        if file.zero and self._special.discard == self._place(op.args[0]):
            return
        self._changed = True
        if file.zero and self._roles.result == self._place(op.args[0]):
            self._result = self.use(op.args[1])
        else:
            super().op_reg_set(op)

    def op_set(self, op: Op) -> None:
        super().op_set(op)
        self._changed = True

    def op_store(self, op: Op) -> None:
        super().op_store(op)
        self._changed = True

    def _hit_pointer(self, gva: str, size: int, write: bool) -> str:
        if not self._second:
            # The way out stands last: so LLVM jumps to the thunk on a condition.
            hit, pointer = self.tlb_hit(gva, size, write)
            go = self.label("hit")
            self.branch(hit, go, self.escape, (1, 0))
            self.escapes = True
            self.open(go)
            return pointer
        return self.temp(f"inttoptr i64 {self.temp(f'add i64 {gva}, %k')} to ptr")

    def _shift(self, op: Op, instruction: str) -> None:
        amount = op.args[1]
        width = op.args[0].width
        if self._is_in_range(amount, width):
            kind, hole = f"i{width}", self.places[_operand_of(amount)]
            # LLVM would put the amount into a register.
            shift = f'asm "{_SHIFTS[instruction]}{_SUFFIX[width]} $2, $0", "=r,0,i,~{{flags}}"'
            text = f'call {kind} {shift}({kind} {self.use(op.args[0])}, ptr @"hole.{hole}")'
            self.bind(op.results[0], self.temp(text))
        else:
            super()._shift(op, instruction)

    def _is_in_range(self, amount: Value, width: int) -> bool:
        """Whether an operand is encoded in so few bits that it always is a shift of a width."""
        name = _operand_of(amount)
        if name in ("", "insn") or width not in _SUFFIX or self.places[name] not in PLACES[:4]:
            return False
        operand = self._insn.encoding.operands[name]
        return not operand.signed and not operand.add and 1 << operand.width <= width

    def _pc_at(self, hole: str) -> str:
        bias = self.temp(f"load i64, ptr {self.engine_word('pc_bias')}")
        return self.temp(f"add i64 {bias}, {self.temp(number_in(hole))}")

    def _pc(self) -> str:
        return self._pc_at("pc")

    def _next_pc(self) -> str:
        return self._pc_at("next_pc")

    def op_insn_length(self, op: Op) -> None:
        first, behind = (self.temp(number_in(name)) for name in ("pc", "next_pc"))
        self.bind(op.results[0], self.temp(f"sub i64 {behind}, {first}"))

    def _binary(self, instruction: str, op: Op) -> None:
        """The sums that stand in holes are not made."""
        first, more = (v.op for v in op.args)
        hole = ""
        if op.name == "add" and first.name == "pc":
            if more.name == "insn.length":
                hole = "next_pc"
            elif more.name == "operand" and self.places.get(more.attrs["operand"]) == "imm":
                hole = "target"
        if hole:
            self.bind(op.results[0], self._pc_at(hole))
        elif op.name == "add" and more.name == "operand" and first.name == "reg.get":
            result = self.temp(f"add i64 {self.use(op.args[0])}, {self.use(op.args[1])}")
            if not self._second:  # opaque, so that the sum is made once, by `lea`
                result = self.temp(f'call i64 asm "", "=r,0"(i64 {result})')
            self.bind(op.results[0], result)
        else:
            super()._binary(instruction, op)

    def _pending(self) -> str:
        """A plain load: this is the only one here, which the comparison takes in."""
        return self.temp(f"load i64, ptr {self.slot_pointer('pending')}")

    def _spent(self) -> str:
        return self.temp(f"add i64 %b, {number_of('spent')}")

    # -- leaving -------------------------------------------------------------------------------
    def _tail(self, callee: str, second: str, budget: str, traits: str = "") -> None:
        if callee == f'@"s.{self.name}"':
            self._leave_by(SLOW_THUNK)
            return
        text = call_outside(callee, second, budget)
        if second == "ptr %x":
            text = call(callee, budget=budget, held=("%first", "%other", self._result))
        self.close(f"ret i64 {self.temp(text + traits)}")

    def _leave_by(self, thunk: str) -> None:
        self._thunks.add(thunk)
        if len(self._thunks) > 1:
            raise NoStencilError("two ways out")
        self._tail("@cold", "ptr poison", "%b")

    def _dispatch(self, pc: str, inline: bool = False) -> None:
        """Go on at an address, by the record that the fetch TLB leads to. Each jump does this for
        itself, so that the host predicts where it goes on for each by itself."""
        left, pointer = self._spent(), self.temp(f"inttoptr i64 {pc} to ptr")
        go, far, found = self.label("go"), self.label("far"), self.label("found")
        self.branch(self._quiet(left), go, far, (1, 0))
        self.open(go)
        table = self.temp(f"load ptr, ptr {self.engine_word('tlb_fetch')}")
        entry = self.tlb_entry(table, pc, FETCH_ENTRY)
        tag = self.temp(f"load i64, ptr {entry}")
        base = self.temp(f"and i64 {pc}, -4096")
        hit = self.temp(f"icmp eq i64 {tag}, {base}")
        self.branch(hit, found, far, (1, 0))
        self.open(found)
        bias_at = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 8")
        bias = self.temp(f"load i64, ptr {bias_at}")
        self.out(f"store i64 {bias}, ptr {self.engine_word('pc_bias')}")
        distance = self.temp(f"shl i64 {self.temp(f'sub i64 {pc}, {bias}')}, 3")
        self._record(self.temp(f"inttoptr i64 {distance} to ptr"), left)
        self.open(far)
        self._tail("@dispatch", f"ptr {pointer}", left)

    def op_jump(self, op: Op) -> None:
        if static_jump(op) is None:
            self._dispatch(self.use(op.args[0]))
            return
        if not self.local:
            self._dispatch(self._pc_at("target"))
            return
        go, out = self.label("go"), self.label("out")
        if not self._second:
            self.branch(self._quiet(self._spent()), go, out, (1, 0))
            self.open(go)
        self._tail("@taken", "ptr %x", self.temp(f"add i64 %b, {number_of('rebase')}"))
        if not self._second:
            self.open(out)
            self._leave_by(OUT_THUNK)

    def op_trap(self, op: Op) -> None:
        """Where nothing has happened yet the second handler does it all, exception and all."""
        if self._changed or not self.has_slow:
            raise NoStencilError("an exception")
        self._leave_by(SLOW_THUNK)

    def _no(self, op: Op) -> None:
        raise NoStencilError(op.name)

    op_icount = op_exit = op_leave = op_time = op_notify = _no

    def call_routine(self, op: Op, routine: Routine) -> None:
        raise NoStencilError(routine.name)

    def before_call(self) -> None:
        raise NoStencilError("a call")

    def leave(self) -> None:
        raise NoStencilError("a call that may leave")

    def text(self) -> str:
        if self._redispatch:
            raise NoStencilError("what is fetched may change")
        self.body()
        if not self.closed:
            self._tail("@next", "ptr %x", "%b")
        if self.escapes:
            self.open("rare")
            self._tail(f'@"s.{self.name}"', "ptr poison", "%b")
        if any(_is_foreign_call(line) for line in self.lines):
            raise NoStencilError("a call")
        return define(self.name, self.lines, self.strictness())


def _operand_of(value: Value) -> str:
    """The operand that a value is, in whatever width; "": it is none."""
    while value.op.name in ("zext", "trunc"):
        value = value.op.args[0]
    return str(value.op.attrs["operand"]) if value.op.name == "operand" else ""


def _is_foreign_call(line: str) -> bool:
    """Whether a line of LLVM assembly calls a function of the runtime, and comes back."""
    return "call " in line and not any(w in line for w in ("musttail ", "@llvm.", " asm "))


def define(name: str, lines: list[str], traits: str = "") -> str:
    """A function in a section of its own, so that its size and its relocations are its own."""
    head = f'define preserve_nonecc i64 @"{name}"({PARAMETERS}) optsize{traits}'
    return "\n".join([f'{head} section ".text.{name}" {{', "entry:", *lines, "}"])


def from_middle(arch: Arch, file: str) -> int:
    """Where a register file begins, from the address that blocks have at hand."""
    return 8 * (arch.layout.file_base[file] - middle_word(arch))


def middle_word(arch: Arch) -> int:
    """The word of the state from which the host reaches the general registers by 8 bits."""
    general = general_file(arch)
    return arch.layout.file_base[general] + 16 if general else 0


def number_of(hole: str) -> str:
    """The number in a hole that 32 bits hold, as an operand."""
    return f'ptrtoint (ptr @"hole.{hole}" to i64)'


def number_in(name: str) -> str:
    """The number of 64 bits in a hole. LLVM would look for a symbol within reach of the code."""
    return f'call i64 asm "movabsq $1, $0", "=r,i"(ptr @"hole.{name}")'
