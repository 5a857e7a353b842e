"""From IR routines to LLVM assembly text.

`FunctionWriter` knows every operation that means the same in all compiled code: arithmetic, local
variables, control flow, state. What differs (memory, jumps, operands, leaving) is left to
subclasses: a shared routine returns `{i1 left, results...}`, an instruction handler tail-calls.
"""

from collections.abc import Callable

from lamina.base.bits import mask
from lamina.ir.graph import Block, Op, Routine, Value, Variable
from lamina.ir.ops import OPS
from lamina.isa.arch import StateLayout

# Between the module of a region and the one of its loops that are functions of their own.
LOOPS = "; loops, for the vectoriser"
BINARY = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
COMPARE = ("eq", "ne", "ult", "ule", "slt", "sle")


def literal(operand: str) -> int | None:
    """The number that an LLVM operand is, if it is one."""
    if operand in ("true", "false"):
        return int(operand == "true")
    return int(operand) if operand.lstrip("-").isdigit() else None


class FunctionWriter:
    """Writes the body of one LLVM function from one routine."""

    def __init__(self, routine: Routine, layout: StateLayout) -> None:
        self.routine = routine
        self.layout = layout
        self.lines: list[str] = []
        self.declares: set[str] = set()
        self._names: dict[int, str] = {}
        self._temp = 0
        self._labels = 0
        self._loop_exits: list[str] = []
        self.current = "entry"  # the label of the LLVM block being written
        self.closed = False  # the current LLVM block already has its terminator

    # -- text ----------------------------------------------------------------------------------
    def out(self, line: str) -> None:
        self.lines.append("  " + line)

    def temp(self, expression: str) -> str:
        """Append `%tN = expression`; returns the name."""
        name = f"%t{self._temp}"
        self._temp += 1
        self.out(f"{name} = {expression}")
        return name

    def label(self, hint: str) -> str:
        self._labels += 1
        return f"{hint}{self._labels}"

    def open(self, label: str) -> None:
        """Begin the LLVM block `label`, falling into it if the last one is still open."""
        if not self.closed:
            self.out(f"br label %{label}")
        self.lines.append(f"{label}:")
        self.current = label
        self.closed = False

    def close(self, terminator: str) -> None:
        self.out(terminator)
        self.closed = True

    def branch(
        self, condition: str, yes: str, no: str, weights: tuple[int, int] | None = None
    ) -> None:
        hint = ""
        if weights is not None:
            hint = ", !prof !0" if weights[0] > weights[1] else ", !prof !1"
        self.close(f"br i1 {condition}, label %{yes}, label %{no}{hint}")

    def use(self, value: Value) -> str:
        """The LLVM operand for a value: a name or a literal."""
        if value.op.name == "const":
            number = value.op.attrs["value"]
            return str(number) if value.width > 1 else ("true" if number else "false")
        return self._names[value.number]

    def bind(self, value: Value, name: str) -> None:
        self._names[value.number] = name

    def slot_pointer(self, slot: str) -> str:
        return self.word_pointer(self.layout.index[slot])

    def word_pointer(self, index: int) -> str:
        return self.temp(f"getelementptr inbounds i8, ptr %s, i64 {8 * index}")

    # -- structure -----------------------------------------------------------------------------
    def body(self) -> None:
        """Variables, then every operation."""
        for v in self.routine.variables:
            self.out(f"{self.variable(v)} = alloca i{v.width}")
            self.out(f"store i{v.width} 0, ptr {self.variable(v)}")
        self.block(self.routine.body)

    def variable(self, v: Variable) -> str:
        """The name of a local variable's stack slot; LLVM makes values of them."""
        return f"%var{v.number}"

    def block(self, block: Block) -> None:
        for op in block.ops:
            if self.closed:
                return  # behind a trap or a break nothing of this path runs
            self.op(op)

    def op(self, op: Op) -> None:
        if op.name in BINARY:
            self._binary(BINARY[op.name], op)
        elif op.name in COMPARE:
            self._compare(op)
        else:
            writer: Callable[[Op], None] = getattr(self, "op_" + op.name.replace(".", "_"))
            writer(op)

    def _binary(self, instruction: str, op: Op) -> None:
        a, b = op.args
        text = f"{instruction} i{a.width} {self.use(a)}, {self.use(b)}"
        self.bind(op.results[0], self.temp(text))

    def _compare(self, op: Op) -> None:
        """A comparison; of known numbers at once, as those of operands in a region are."""
        width = op.args[0].width
        a, b = (literal(self.use(v)) for v in op.args)
        holds = OPS[op.name].pure
        if a is None or b is None or holds is None:
            self._binary(f"icmp {op.name}", op)
        else:
            known = holds(width, a & mask(width), b & mask(width))
            self.bind(op.results[0], "true" if known else "false")

    def op_const(self, op: Op) -> None:
        pass

    def op_if(self, op: Op) -> None:
        then, other = op.blocks
        known = literal(self.use(op.args[0]))
        if known is not None:
            self.block(then if known else other)
            return
        t, e, end = self.label("then"), self.label("else"), self.label("end")
        self.branch(self.use(op.args[0]), t, e if other.ops else end)
        reached = not other.ops
        for label, block in ((t, then), (e, other)):
            if block is other and not other.ops:
                continue
            self.open(label)
            self.block(block)
            if not self.closed:
                reached = True
                self.close(f"br label %{end}")
        if reached:
            self.open(end)

    def op_switch(self, op: Op) -> None:
        end = self.label("end")
        labels = [self.label("case") for _ in op.blocks]
        width = op.args[0].width
        table = " ".join(
            f"i{width} {c}, label %{label}"
            for c, label in zip(op.attrs["cases"], labels, strict=False)
        )
        self.close(f"switch i{width} {self.use(op.args[0])}, label %{labels[-1]} [ {table} ]")
        reached = False
        for label, block in zip(labels, op.blocks, strict=True):
            self.open(label)
            self.block(block)
            if not self.closed:
                reached = True
                self.close(f"br label %{end}")
        if reached:
            self.open(end)

    def op_loop(self, op: Op) -> None:
        head, end = self.label("loop"), self.label("done")
        self.open(head)
        self._loop_exits.append(end)
        self.block(op.blocks[0])
        self._loop_exits.pop()
        if not self.closed:
            self.close(f"br label %{head}")
        self.open(end)

    def op_break(self, op: Op) -> None:
        self.close(f"br label %{self._loop_exits[-1]}")

    def op_var_get(self, op: Op) -> None:
        v = op.attrs["var"]
        self.bind(op.results[0], self.temp(f"load i{v.width}, ptr {self.variable(v)}"))

    def op_var_set(self, op: Op) -> None:
        v = op.attrs["var"]
        self.out(f"store i{v.width} {self.use(op.args[0])}, ptr {self.variable(v)}")

    # -- pure operations -----------------------------------------------------------------------
    def _shift(self, op: Op, instruction: str) -> None:
        value, amount = op.args
        w = value.width
        a, b = self.use(value), self.use(amount)
        if amount.op.name == "const":
            n = amount.op.attrs["value"]
            if n < w:
                result = self.temp(f"{instruction} i{w} {a}, {n}")
            elif instruction == "ashr":
                result = self.temp(f"ashr i{w} {a}, {w - 1}")
            else:
                result = self.temp(f"and i{w} {a}, 0")
            self.bind(op.results[0], result)
            return
        in_range = self.temp(f"icmp ult i{w} {b}, {w}")
        safe = self.temp(f"select i1 {in_range}, i{w} {b}, i{w} {w - 1}")
        shifted = self.temp(f"{instruction} i{w} {a}, {safe}")
        if instruction != "ashr":
            shifted = self.temp(f"select i1 {in_range}, i{w} {shifted}, i{w} 0")
        self.bind(op.results[0], shifted)

    def op_shl(self, op: Op) -> None:
        self._shift(op, "shl")

    def op_lshr(self, op: Op) -> None:
        self._shift(op, "lshr")

    def op_ashr(self, op: Op) -> None:
        self._shift(op, "ashr")

    def _divide(self, op: Op, instruction: str) -> None:
        a, b = op.args
        w, x, y = a.width, self.use(a), self.use(b)
        if w > 64:
            raise NotImplementedError(f"{instruction} of {w} bits: LLVM would call a library")
        zero = self.temp(f"icmp eq i{w} {y}, 0")
        special = zero
        if instruction[0] == "s":
            minimum = self.temp(f"icmp eq i{w} {x}, {1 << (w - 1)}")
            minus_one = self.temp(f"icmp eq i{w} {y}, {mask(w)}")
            overflow = self.temp(f"and i1 {minimum}, {minus_one}")
            special = self.temp(f"or i1 {zero}, {overflow}")
        safe = self.temp(f"select i1 {special}, i{w} 1, i{w} {y}")
        result = self.temp(f"{instruction} i{w} {x}, {safe}")  # x / 1 = x is right for overflow
        by_zero = str(mask(w)) if instruction.endswith("div") else x
        self.bind(op.results[0], self.temp(f"select i1 {zero}, i{w} {by_zero}, i{w} {result}"))

    def op_udiv(self, op: Op) -> None:
        self._divide(op, "udiv")

    def op_urem(self, op: Op) -> None:
        self._divide(op, "urem")

    def op_sdiv(self, op: Op) -> None:
        self._divide(op, "sdiv")

    def op_srem(self, op: Op) -> None:
        self._divide(op, "srem")

    def _intrinsic(self, op: Op, name: str, more: str = "") -> None:
        w = op.args[0].width
        extra = ", i1" if more else ""
        self.declares.add(f"declare i{w} @llvm.{name}.i{w}(i{w}{extra})")
        call = f"call i{w} @llvm.{name}.i{w}(i{w} {self.use(op.args[0])}{more})"
        self.bind(op.results[0], self.temp(call))

    def op_clz(self, op: Op) -> None:
        self._intrinsic(op, "ctlz", ", i1 false")

    def op_ctz(self, op: Op) -> None:
        self._intrinsic(op, "cttz", ", i1 false")

    def op_popcount(self, op: Op) -> None:
        self._intrinsic(op, "ctpop")

    def op_bswap(self, op: Op) -> None:
        self._intrinsic(op, "bswap")

    def op_bitrev(self, op: Op) -> None:
        self._intrinsic(op, "bitreverse")

    def op_select(self, op: Op) -> None:
        c, a, b = op.args
        w, known = a.width, literal(self.use(c))
        if known is not None:
            self.bind(op.results[0], self.use(a if known else b))
            return
        text = f"select i1 {self.use(c)}, i{w} {self.use(a)}, i{w} {self.use(b)}"
        self.bind(op.results[0], self.temp(text))

    def _resize(self, op: Op) -> None:
        a, r = op.args[0], op.results[0]
        self.bind(r, self.temp(f"{op.name} i{a.width} {self.use(a)} to i{r.width}"))

    op_zext = op_sext = op_trunc = _resize

    # -- state ---------------------------------------------------------------------------------
    def op_get(self, op: Op) -> None:
        pointer = self.slot_pointer(op.attrs["slot"])
        kind = "load atomic" if op.attrs["slot"] == "irq" else "load"
        tail = " monotonic, align 8" if kind != "load" else ""
        self.bind(op.results[0], self.temp(f"{kind} i64, ptr {pointer}{tail}"))

    def op_set(self, op: Op) -> None:
        pointer = self.slot_pointer(op.attrs["slot"])
        self.out(f"store i64 {self.use(op.args[0])}, ptr {pointer}")

    def register_pointer(self, file: str, index: str) -> str:
        base = self.temp(
            f"getelementptr inbounds i8, ptr %s, i64 {8 * self.layout.file_base[file]}"
        )
        return self.temp(f"getelementptr inbounds i64, ptr {base}, i64 {index}")

    def op_reg_get(self, op: Op) -> None:
        pointer = self.register_pointer(op.attrs["file"], self.use(op.args[0]))
        self.bind(op.results[0], self.temp(f"load i64, ptr {pointer}"))

    def op_reg_set(self, op: Op) -> None:
        file = self.layout.files[op.attrs["file"]]
        index = self.use(op.args[0])
        if file.zero and not self.discards_by_itself(op.args[0]):
            dropped = self.temp(f"icmp eq i64 {index}, 0")
            index = self.temp(f"select i1 {dropped}, i64 {file.count}, i64 {index}")
        pointer = self.register_pointer(file.name, index)
        self.out(f"store {self.typed(op.args[1])}, ptr {pointer}")

    def typed(self, value: Value) -> str:
        """A value with an LLVM type, whichever of its width is at hand, as a store takes it."""
        return f"i{value.width} {self.use(value)}"

    def discards_by_itself(self, index: Value) -> bool:
        """True if a register index is known never to be that of a hardwired zero."""
        return index.op.name == "const" and index.op.attrs["value"] != 0

    def op_fence(self, op: Op) -> None:
        self.out("fence seq_cst")

    def op_pending(self, op: Op) -> None:
        pointer = self.slot_pointer("pending")
        self.out(f"store atomic i64 {(1 << 63) - 1}, ptr {pointer} seq_cst, align 8")


def result_type(routine: Routine) -> str:
    """The LLVM return type of a shared routine."""
    return "{ " + ", ".join(["i1", *(f"i{r.width}" for r in routine.results)]) + " }"


def symbol(routine: Routine) -> str:
    return '@"r.' + routine.name + '"'
