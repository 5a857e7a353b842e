"""Partial evaluation: the routine of one particular instruction word.

`specialise` takes the routine of an instruction form and the operands of one instruction, and
gives a routine in which they are constants and all that follows from them is done: operations on
constants are folded, branches on constants decided, calls replaced by what is left of the callee
where that is little. `csrr a0, sscratch` becomes a check of the privilege and a `get`.

One walk forward (`_Run`) makes the new operations, one walk backward drops those that nobody
uses. On the way forward are known: values of local variables, slots and registers in straight
code, conditions decided by a branch, and the pure operations made before. Compilers of guest code
call this for each instruction; they keep what they want to see again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lamina.ir.folding import Known
from lamina.ir.graph import Block, Op, Routine, Value
from lamina.ir.ops import OPS
from lamina.ir.partial import Refused, Walk
from lamina.ir.passes import size, sweep

INLINE_LIMIT = 60  # operations that a callee may leave behind, constants not counted
INLINE_DEPTH = 4
QUIET = (
    *("icount", "time", "fence", "relax", "jump", "pending"),
    *("tlb.flush", "tlb.flush_page", "tlb.context", "icache.flush"),
)
REMEMBERED = 1000  # refusals to inline; operands are the guest's, so there is a bound


@dataclass
class Specialiser:
    """Specialises routines for one architecture and engine.

    `zero_files` are register files whose register 0 is hardwired to zero. `keep` names routines
    that stay calls. `apart` names slots that only routines may touch, not instructions: a callee
    that does is not inlined.
    """

    zero_files: Collection[str] = ()
    keep: Collection[str] = ()
    apart: Collection[str] = ("pc",)
    inline_limit: int = INLINE_LIMIT
    _refused: dict[tuple[object, ...], Routine] = field(default_factory=dict, repr=False)

    def routine(
        self, routine: Routine, operands: Mapping[str, int], length: int | None = None
    ) -> Routine:
        """The routine for these operands (`insn`: the instruction's bits) and this length in
        bytes. What is not given stays open; the routine itself comes back if nothing is gained."""
        return _Run(self, operands, length).whole(routine)

    def refused(self, key: tuple[object, ...]) -> bool:
        """True if inlining a routine with these arguments was found to be too much."""
        return key in self._refused

    def refuse(self, key: tuple[object, ...], callee: Routine) -> None:
        """Remember it; `key` begins with the routine's id, which lives as long as the entry."""
        if len(self._refused) >= REMEMBERED:
            self._refused.clear()
        self._refused[key] = callee


def specialise(routine: Routine, operands: Mapping[str, int], length: int | None = None) -> Routine:
    """`Specialiser.routine` without anything that an architecture or engine could add."""
    return Specialiser().routine(routine, operands, length)


class _Run(Walk):
    """One specialisation: the walk with branches, loops and calls."""

    def __init__(
        self, options: Specialiser, operands: Mapping[str, int], length: int | None
    ) -> None:
        super().__init__(operands, length, options.zero_files, options.apart)
        self.options = options

    def whole(self, old: Routine) -> Routine:
        head = Op("params")
        params = tuple(self.new_value(p.width, head) for p in old.params)
        head.results = params
        self.env.update((o.number, n) for o, n in zip(old.params, params, strict=True))
        self.active.append(old)
        self.enter(old)
        self.block(old.body.ops)
        results = tuple(self.use(self.env.get(r.number, 0), r.width) for r in old.results)
        used = {r.number for r in results}
        read: set[int] = set()
        body = sweep(self.out, used, read)
        if not self.gained and size(body) == size(old.body.ops):
            return old
        constants = [c.op for c in self.constants.values() if c.number in used]
        variables = [v for v in self.made_variables if v.number in read]
        for number, variable in enumerate(variables):
            variable.number = number
        return Routine(old.name, params, Block(constants + body), results, variables, self.count)

    def block(self, ops: Sequence[Op]) -> bool:
        """Walk a block's operations; True if control never reaches their end."""
        rules = RULES
        for op in ops:
            ended = rules[op.name](self, op)
            if ended:
                return True
        return False

    # -- control ---------------------------------------------------------------------------------
    def end(self, op: Op) -> bool:
        """trap, leave, break: nothing of this path runs behind it."""
        self.copy(op)
        return True

    def exit(self, op: Op) -> None:
        """Means one thing in an instruction, which completes, and another in a callee."""
        if len(self.active) > 1:
            raise Refused
        self.copy(op)

    def conditional(self, op: Op) -> bool:
        condition = self.truth(self.env[op.args[0].number])
        if isinstance(condition, int):
            self.gained = True
            return self.block(op.blocks[0 if condition else 1].ops)
        return self._branch(op, condition, ((condition, 1), (condition, 0)))

    def switch(self, op: Op) -> bool:
        selector = self.env[op.args[0].number]
        if isinstance(selector, int):
            self.gained = True
            cases = op.attrs["cases"]
            chosen = cases.index(selector) if selector in cases else -1
            return self.block(op.blocks[chosen].ops)
        return self._branch(op, selector, (None,) * len(op.blocks))

    def _branch(self, op: Op, selector: Value, known: Sequence[tuple[Value, int] | None]) -> bool:
        """An `if` or a `switch` that stays, with what is known in each of its blocks."""
        out, facts, state = self.out, self.facts, self.state
        blocks, reached = [], []
        for block, fact in zip(op.blocks, known, strict=True):
            self.out, self.facts, self.state = [], facts.copy(), state.copy()
            if fact is not None:
                self.facts[fact[0]] = fact[1]
            ended = self.block(block.ops)
            blocks.append(Block(self.out))
            if not ended:
                reached.append((self.facts, self.state))
        self.out = out
        self.emit(op.name, (selector,), op.attrs, tuple(blocks))
        if not reached:
            return True
        self.facts = _common(facts, [f for f, _ in reached])
        self.state = _common(state, [s for _, s in reached])
        return False

    def loop(self, op: Op) -> None:
        body = op.blocks[0]
        for inner in body.walk():
            if inner.name == "var.set":
                self.facts.pop(self.variables[inner.attrs["var"].number].number, None)
        out, facts = self.out, self.facts
        self.out, self.facts, self.state = [], facts.copy(), {}
        self.loops += 1
        self.block(body.ops)
        self.loops -= 1
        made = Block(self.out)
        self.out, self.facts, self.state = out, facts, {}
        self.emit("loop", (), op.attrs, (made,))

    def call(self, op: Op) -> bool:
        callee: Routine = op.attrs["routine"]
        args = [self.env[a.number] for a in op.args]
        key = (id(callee), *(a if isinstance(a, int) else None for a in args))
        options = self.options
        may = callee.name not in options.keep and not any(callee is a for a in self.active)
        if may and len(self.active) <= INLINE_DEPTH and not options.refused(key):
            ended = self._inline(callee, args, op.results)
            if ended is not None:
                return ended
            if self.room >= options.inline_limit:
                options.refuse(key, callee)
        self.effect(op)
        return False

    def _inline(
        self, callee: Routine, args: list[Known], results: tuple[Value, ...]
    ) -> bool | None:
        """Put the callee's operations here: whether they end. None: refused, nothing is done."""
        saved = (self.env, self.variables, self.out, self.facts, self.state, self.loops)
        room, made = self.room, len(self.made_variables)
        self.room = given = min(room, self.options.inline_limit)
        self.env = {p.number: a for p, a in zip(callee.params, args, strict=True)}
        self.out, self.facts, self.state = [], self.facts.copy(), self.state.copy()
        self.active.append(callee)
        try:
            self.enter(callee)
            ended = self.block(callee.body.ops)
        except Refused:
            self.env, self.variables, self.out, self.facts, self.state, self.loops = saved
            self.room = room
            del self.made_variables[made:]
            return None
        finally:
            self.active.pop()
        answers = [self.env.get(r.number, 0) for r in callee.results]  # none if it always ends
        inner = self.out
        self.env, self.variables, self.out = saved[:3]
        self.out += inner
        self.room += room - given
        self.gained = True
        for r, answer in zip(results, answers, strict=True):
            self.env[r.number] = answer
        return ended


def _common(before: dict[object, Known], reached: list[dict[object, Known]]) -> dict[object, Known]:
    """What is known behind blocks: what all that reach their end agree on. A value that a block
    made is not visible there."""
    first, *others = reached
    return {
        key: known
        for key, known in first.items()
        if (isinstance(known, int) or before.get(key) is known)
        and all(other.get(key) == known for other in others)
    }


Rule = Callable[[_Run, Op], bool | None]  # True: control never reaches what is behind


def _rules() -> dict[str, Rule]:
    rules: dict[str, Rule] = dict.fromkeys(OPS, _Run.effect)
    for name, spec in OPS.items():
        if spec.result == "float":
            rules[name] = _Run.float_op
        elif spec.pure is not None and name != "select":
            rules[name] = _Run.binary if spec.arity == 2 else _Run.unary
    rules |= dict.fromkeys(("zext", "sext", "trunc"), _Run.resize)
    rules |= dict.fromkeys(QUIET, _Run.quiet)
    rules |= dict.fromkeys(("trap", "leave", "break"), _Run.end)
    return rules | {
        "const": _Run.const,
        "operand": _Run.operand,
        "insn.length": _Run.insn_length,
        "pc": _Run.pc,
        "select": _Run.select,
        "get": _Run.get,
        "set": _Run.set,
        "reg.get": _Run.reg_get,
        "reg.set": _Run.reg_set,
        "var.get": _Run.var_get,
        "var.set": _Run.var_set,
        "exit": _Run.exit,
        "if": _Run.conditional,
        "switch": _Run.switch,
        "loop": _Run.loop,
        "call": _Run.call,
    }


RULES = _rules()
