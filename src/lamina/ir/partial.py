"""The straight part of partial evaluation: what each operation without blocks becomes.

`Walk` makes the operations of the new routine one by one and notes what it learns on the way:
constants, contents of variables, slots and registers, pure operations made before. Branches,
loops and calls are those of `specialise`, which is who uses it.
"""

from collections.abc import Collection, Mapping

from lamina.base.bits import U64, mask
from lamina.base.bits import sext as sext_int
from lamina.ir.folding import COMMUTATIVE, COMPARISONS, FOLD, Known, fold
from lamina.ir.graph import Block, Op, Routine, Value, Variable
from lamina.ir.known_bits import Memory, compare, merge

UNLIMITED = 1 << 30
# Slots that change while an instruction runs, or that engines keep elsewhere meanwhile.
VOLATILE = frozenset(
    {"pc", "irq", "pending", "requests", "icount_end", "icount", "exit_pc", "timer", "posted"}
)


class Refused(Exception):
    """A callee is not to be inlined."""


class Walk:
    """The walk forward through one routine. What is known holds at the place that it has reached:

    `facts`: by number of a new variable its value; by condition its truth; by (name, arguments)
    the value of a pure operation made before. `state`: by slot, or (file, index), its contents.
    """

    def __init__(
        self,
        operands: Mapping[str, int],
        length: int | None,
        zero_files: Collection[str],
        apart: Collection[str],
    ) -> None:
        self.operands = operands
        self.length = length
        self.zero_files = zero_files
        self.apart = apart
        self.env: dict[int, Known] = {}  # by number of the old value
        self.variables: dict[int, Variable] = {}  # by number of the old variable
        self.made_variables: list[Variable] = []
        self.out: list[Op] = []
        self.constants: dict[tuple[int, int], Value] = {}
        self.count = 0  # of new values
        self.facts: dict[object, Known] = {}
        self.state: dict[object, Known] = {}
        self.active: list[Routine] = []  # being inlined
        self.bits: Memory = {}
        self.loops = 0
        self.room = UNLIMITED  # operations that may still be made
        self.gained = False  # more was done than moving operations about

    def enter(self, routine: Routine) -> None:
        """New variables for those of a routine that begins here; they are zero."""
        self.variables = {}
        for v in routine.variables:
            new = Variable(len(self.made_variables), v.width, v.name)
            self.made_variables.append(new)
            self.variables[v.number] = new
            self.facts[new.number] = 0
            if self.loops:
                self.emit("var.set", (self.use(0, v.width),), {"var": new})

    # -- making operations -----------------------------------------------------------------------
    def new_value(self, width: int, op: Op) -> Value:
        value = Value(self.count, width, op)
        self.count += 1
        return value

    def use(self, known: Known, width: int) -> Value:
        """An argument for a new operation. Constants are defined at the routine's head."""
        if isinstance(known, Value):
            return known
        value = self.constants.get((known, width))
        if value is None:
            op = Op("const", (), {"value": known})
            value = self.constants[known, width] = self.new_value(width, op)
            op.results = (value,)
        return value

    def _uses(self, op: Op) -> tuple[Value, ...]:
        """The arguments of an old operation for a new one."""
        env = self.env
        return tuple([self.use(env[a.number], a.width) for a in op.args])

    def emit(
        self,
        name: str,
        args: tuple[Value, ...],
        attrs: dict[str, object],
        blocks: tuple[Block, ...] = (),
    ) -> Op:
        if self.room <= 0:
            raise Refused
        self.room -= 1
        made = Op(name, args, attrs, (), blocks)
        self.out.append(made)
        return made

    def copy(self, op: Op) -> Op:
        """The operation as it is, with new arguments and results."""
        made = self.emit(op.name, self._uses(op), op.attrs)
        if op.results:
            made.results = tuple([self.new_value(r.width, made) for r in op.results])
            for old, new in zip(op.results, made.results, strict=True):
                self.env[old.number] = new
        return made

    def _pure(self, op: Op, key: tuple[object, ...]) -> None:
        """A pure operation with one result, made unless it was made before."""
        found = self.facts.get(key)
        if found is None:
            self.copy(op)
            self.facts[key] = self.env[op.results[0].number]
        else:
            self.env[op.results[0].number] = found

    # -- pure operations -------------------------------------------------------------------------
    def const(self, op: Op) -> None:
        self.env[op.results[0].number] = op.attrs["value"]

    def operand(self, op: Op) -> None:
        name = op.attrs["operand"]
        value = self.operands.get(name)
        if value is not None:
            self.gained = True
            self.env[op.results[0].number] = value & U64
        elif len(self.active) > 1 and name != "insn":
            raise Refused
        else:
            self._pure(op, ("operand", name))

    def insn_length(self, op: Op) -> None:
        if self.length is None:
            self._pure(op, ("insn.length",))
        else:
            self.gained = True
            self.env[op.results[0].number] = self.length

    def pc(self, op: Op) -> None:
        self._pure(op, ("pc",))

    def unary(self, op: Op) -> None:
        (x,) = op.args
        a = self.env[x.number]
        if isinstance(a, int):
            self.env[op.results[0].number] = FOLD[op.name](x.width, a)
        else:
            self._pure(op, (op.name, a))

    def resize(self, op: Op) -> None:
        (x,), (r,) = op.args, op.results
        a = self.env[x.number]
        if not isinstance(a, int):
            self._pure(op, (op.name, a, r.width))
        elif op.name == "sext":
            self.env[r.number] = sext_int(a, x.width, r.width)
        else:
            self.env[r.number] = a & mask(r.width)

    def binary(self, op: Op) -> None:
        x, y = op.args
        a, b = self.env[x.number], self.env[y.number]
        self.env[op.results[0].number] = self.make(op.name, x.width, a, b)

    def make(self, name: str, width: int, a: Known, b: Known) -> Known:
        """The result of a binary operation over `width` bits, made if there is no other way."""
        if isinstance(a, int) and not isinstance(b, int) and name in COMMUTATIVE:
            a, b = b, a
        known = fold(name, width, a, b)
        if known is not None:
            return known
        key = (name, a, b)
        known = self.facts.get(key)
        if known is not None:
            return known
        if name == "or" and isinstance(a, Value) and isinstance(b, Value):
            merged = self._merged(width, a, b)
            if merged is not None:
                return merged
        compares = name in COMPARISONS
        if compares and isinstance(a, Value) and isinstance(b, int) and name in ("eq", "ne"):
            equal = compare(a, b, self.bits)
            if equal is not None:
                return equal ^ (name == "ne")
        made = self.emit(name, (self.use(a, width), self.use(b, width)), {})
        value = self.facts[key] = self.new_value(1 if compares else width, made)
        made.results = (value,)
        return value

    def _merged(self, width: int, a: Value, b: Value) -> Known | None:
        """Fields of two values put together, if that is some value with bits set and cleared."""
        if a.op.name != "and" or b.op.name != "and":
            return None
        bits = merge(a, b, self.bits)
        if bits.base is None or bits.same | bits.ones | bits.zeros != mask(width):
            return None
        kept = self.make("and", width, bits.base, bits.same | bits.ones)
        return self.make("or", width, kept, bits.ones)

    def select(self, op: Op) -> None:
        c, a, b = (self.env[v.number] for v in op.args)
        c = self.truth(c)
        if isinstance(c, int):
            self.env[op.results[0].number] = a if c else b
        elif a is b or a == b:
            self.env[op.results[0].number] = a
        else:
            self._pure(op, ("select", c, a, b, op.results[0].width))

    def float_op(self, op: Op) -> None:
        args = [self.env[a.number] for a in op.args]
        if any(isinstance(a, Value) for a in args):
            self.copy(op)
            return
        answer = FOLD[op.name](op.args[0].width, *args, **op.attrs)
        for r, part in zip(op.results, answer, strict=True):
            self.env[r.number] = part

    def truth(self, condition: Known) -> Known:
        """The condition, or what a branch around or before decided about it."""
        return condition if isinstance(condition, int) else self.facts.get(condition, condition)

    # -- state -----------------------------------------------------------------------------------
    def _check_slot(self, slot: str) -> None:
        if len(self.active) > 1 and slot in self.apart:
            raise Refused

    def get(self, op: Op) -> None:
        slot = op.attrs["slot"]
        self._check_slot(slot)
        known = self.state.get(slot)
        if known is None:
            self.copy(op)
            if slot not in VOLATILE:
                self.state[slot] = self.env[op.results[0].number]
        else:
            self.env[op.results[0].number] = known

    def set(self, op: Op) -> None:
        slot = op.attrs["slot"]
        self._check_slot(slot)
        self.copy(op)
        if slot not in VOLATILE:
            self.state[slot] = self.env[op.args[0].number]

    def reg_get(self, op: Op) -> None:
        file, index = op.attrs["file"], self.env[op.args[0].number]
        known: Known | None = None
        if index == 0 and file in self.zero_files:
            self.gained = True
            known = 0
        elif isinstance(index, int):
            known = self.state.get((file, index))
        if known is None:
            self.copy(op)
            known = self.env[op.results[0].number]
            if isinstance(index, int):
                self.state[file, index] = known
        self.env[op.results[0].number] = known

    def reg_set(self, op: Op) -> None:
        file, index = op.attrs["file"], self.env[op.args[0].number]
        if index == 0 and file in self.zero_files:
            self.gained = True
            return
        self.copy(op)
        if index == 0:
            self.state.pop((file, 0), None)  # a write that may be dropped
        elif isinstance(index, int):
            self.state[file, index] = self.env[op.args[1].number]
        else:
            self.state.clear()

    def var_get(self, op: Op) -> None:
        new = self.variables[op.attrs["var"].number]
        known = self.facts.get(new.number)
        if known is None:
            made = self.emit("var.get", (), {"var": new})
            known = self.facts[new.number] = self.new_value(new.width, made)
            made.results = (known,)
        self.env[op.results[0].number] = known

    def var_set(self, op: Op) -> None:
        new = self.variables[op.attrs["var"].number]
        self.emit("var.set", self._uses(op), {"var": new})
        self.facts[new.number] = self.env[op.args[0].number]

    def quiet(self, op: Op) -> None:
        """An operation that changes no slot and no register."""
        self.copy(op)

    def effect(self, op: Op) -> None:
        """An operation that may run other code, which changes what slots and registers hold."""
        self.copy(op)
        self.state.clear()
