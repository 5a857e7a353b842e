"""LLVM text of floating-point operations on the host's FPU (`hostfloat` says which and why).

`FloatWriter` writes a softfloat routine's call as the host's instruction where that has the same
result and the same exceptions, which then lie in the host's sticky flags. All other cases (rounding
modes, NaN results, numbers out of range) are `rare`: they go to the writer's way `escape`, on which
the instruction, of which nothing has happened yet but flags that it raises anyhow, is done by the
routine. Code that has no such way calls the routine on the spot.

LLVM's constrained intrinsics keep order with calls that look at the flags, are neither folded nor
dropped where that would lose an exception, and touch no memory.
"""

import struct

from lamina.engine.llvm.lower import literal
from lamina.engine.threaded.float_values import FloatValues
from lamina.engine.threaded.hostfloat import HOST_INSTRUCTIONS, TYPES, HostOperation
from lamina.engine.threaded.known import Facts
from lamina.ir.floats import RNE, RTZ
from lamina.ir.graph import Block, Op, Routine, Value
from lamina.isa.arch import StateLayout

_STRICT = 'metadata !"fpexcept.strict"'
_NEAREST = f'metadata !"round.tonearest", {_STRICT}'
# Assembly that LLVM has no constrained form for: the host's answer to what is out of range counts.
_ASM_TRAITS = "nounwind willreturn memory(inaccessiblemem: readwrite)"


def _constant(number: float) -> str:
    """A constant of either type as LLVM reads it: by the bits of the double."""
    return f"0x{struct.pack('>d', number).hex()}"


class FloatWriter(FloatValues):
    """What all compiled code shares in floating point."""

    escape = ""  # the label where rare cases of the instruction go on; none: no such way
    escapes = False  # whether anything goes there
    uses_host = True

    def __init__(self, routine: Routine, layout: StateLayout) -> None:
        super().__init__(routine, layout)
        self.facts = Facts()
        self._depth = 0  # of blocks: in the outermost one, what is written surely happens

    def strictness(self) -> str:
        """The attribute that a function with constrained intrinsics is to have."""
        return " strictfp" if any("constrained" in d for d in self.declares) else ""

    def block(self, block: Block) -> None:
        self._depth += 1
        super().block(block)
        self._depth -= 1

    def op(self, op: Op) -> None:
        """Write an operation, and note what it makes known or what is known no more."""
        super().op(op)
        if op.name == "set":
            self.facts.forget()
        elif op.name == "reg.set":
            self.sources.clear()
            self.facts.wrote(op, self.use, surely=self._depth == 1)

    def _float_call(self, op: Op, routine: Routine) -> None:
        """A float operation by the host's FPU, or else by its routine."""
        host = HOST_INSTRUCTIONS[routine.name]
        if self.escape:
            self._host_result(op, host)
        elif self.uses_host and host.kind in ("arithmetic", "from integer"):
            self._host_or_routine(op, host, routine)
        else:
            self.call_routine(op, routine)

    def call_routine(self, op: Op, routine: Routine) -> None:
        raise NotImplementedError

    def _host_or_routine(self, op: Op, host: HostOperation, routine: Routine) -> None:
        """Both ways, which meet behind the operation."""
        self.escape, end = self.label("soft"), self.label("rounded")
        self._host_result(op, host)
        bits, label = self.use(op.results[0]), self.current
        self.close(f"br label %{end}")
        self.open(self.escape)
        self.escape = ""
        self.call_routine(op, routine)
        soft, flags = (self.use(r) for r in op.results)
        other = self.current
        self.close(f"br label %{end}")
        self.open(end)
        kind = f"i{op.results[0].width}"
        value = self.temp(f"phi {kind} [ {bits}, %{label} ], [ {soft}, %{other} ]")
        self.bind(op.results[0], value)
        self.bind(op.results[1], self.temp(f"phi i5 [ 0, %{label} ], [ {flags}, %{other} ]"))

    # -- rare cases ----------------------------------------------------------------------------
    def rare(self, condition: str) -> None:
        """Go on only if the condition is false; otherwise at `escape`."""
        known = literal(condition)
        if known == 0:
            return
        self.escapes = True
        go = self.label("usual")
        if known is None:
            self.branch(condition, self.escape, go, (0, 1))
            self.open(go)
        else:
            self.close(f"br label %{self.escape}")

    def op_if(self, op: Op) -> None:
        if not (self.escape and op.attrs.get("rare")):
            super().op_if(op)
            return
        condition = op.args[0]
        known = self.facts.value(condition, self.use)
        self.rare(self.use(condition) if known is None else str(known))
        self.bind(condition, "false")
        self.facts.learn(condition, 0, self.use)
        if condition.op.name == "ne":  # what is not other than a constant is that constant
            value, constant = condition.op.args
            if constant.op.name == "const" and value.op.name != "const":
                self.bind(value, self.use(constant))
                self.facts.learn(value, constant.op.attrs["value"], self.use)

    # -- operations ----------------------------------------------------------------------------
    def _host_result(self, op: Op, host: HostOperation) -> None:
        """Bind the host's result; the flags are in the host's, so none remain."""
        self.bind(op.results[1], "0")
        known = self.facts.value(op.args[-1], self.use)
        mode = self.use(op.args[-1]) if known is None else str(known)
        result = op.results[0]
        match host.kind:
            case "arithmetic":
                if not host.exact:
                    self.rare_unless(mode, RNE)
                self._number(result, self._arithmetic(op, host))
            case "from integer":
                if not host.exact:
                    self.rare_unless(mode, RNE)
                self._from_integer(op, host)
            case "to integer":
                if host.signed:
                    self._to_signed(op, mode)
                else:
                    self._to_unsigned(op, mode)
            case "comparison":
                self.bind(result, self._relation(op, host.name, host.signals))
            case _:
                self._extremum(op, host.name)

    def rare_unless(self, mode: str, usual: int) -> None:
        """The rounding mode is another one only rarely."""
        known = literal(mode)
        if known is None:
            self.rare(self.temp(f"icmp ne i64 {mode}, {usual}"))
        elif known != usual:
            self.rare("true")

    def _constrained(self, name: str, result: str, args: list[str], more: str) -> str:
        """A call of a constrained intrinsic; `args` are typed, `name` carries the types."""
        types = ", ".join(a.split()[0] for a in args)
        extra = ", metadata" * more.count("metadata")
        full = f"@llvm.experimental.constrained.{name}"
        self.declares.add(f"declare {result} {full}({types}{extra})")
        return self.temp(f"call {result} {full}({', '.join(args)}, {more}) strictfp")

    def _arithmetic(self, op: Op, host: HostOperation) -> str:
        args = [f"{TYPES[a.width]} {self.as_float(a)}" for a in op.args[:-1]]
        width = op.results[0].width
        name = f"{host.name}.f{width}"
        if host.name in ("fpext", "fptrunc"):
            name += f".f{op.args[0].width}"
        return self._constrained(name, TYPES[width], args, _STRICT if host.exact else _NEAREST)

    def _number(self, result: Value, value: str) -> None:
        """Bind a result that is no NaN; where it is one the routine makes it canonical."""
        kind = TYPES[result.width]
        self.rare(self.temp(f"fcmp uno {kind} {value}, {value}"))
        self.bind_float(result, value)

    def _from_integer(self, op: Op, host: HostOperation) -> None:
        integer, result = op.args[0], op.results[0]
        kind, source, width = TYPES[result.width], self.use(integer), integer.width
        name = "sitofp"
        if not host.signed and width == 32:
            source, width = self.temp(f"zext i32 {source} to i64"), 64
        elif not host.signed:
            name = "uitofp"
        name = f"{name}.f{result.width}.i{width}"
        value = self._constrained(name, kind, [f"i{width} {source}"], _NEAREST)
        self.bind_float(result, value)

    def _convert(self, source: str, width: int, to: int, truncate: bool) -> str:
        """cvt[t]sd2si and the like: what does not fit gives the least integer, and is invalid."""
        suffix = "sd" if width == 64 else "ss"
        text = f"cvt{'t' if truncate else ''}{suffix}2si $1, $0"
        call = f'call i{to} asm sideeffect "{text}", "=r,x"({TYPES[width]} {source}) {_ASM_TRAITS}'
        return self.temp(call)

    def _to_signed(self, op: Op, mode: str) -> None:
        argument, width = op.args[0], op.results[0].width
        source, known = self.as_float(argument), literal(mode)
        if known in (RNE, RTZ):
            value = self._convert(source, argument.width, width, known == RTZ)
        else:
            self.rare(self.temp(f"icmp ugt i64 {mode}, {RTZ}"))
            cut, even, end = self.label("cut"), self.label("even"), self.label("whole")
            self.branch(self.temp(f"icmp eq i64 {mode}, {RTZ}"), cut, even)
            self.open(cut)
            a = self._convert(source, argument.width, width, True)
            self.close(f"br label %{end}")
            self.open(even)
            b = self._convert(source, argument.width, width, False)
            self.open(end)
            value = self.temp(f"phi i{width} [ {a}, %{cut} ], [ {b}, %{even} ]")
        self.rare(self.temp(f"icmp eq i{width} {value}, {-(1 << (width - 1))}"))
        self.bind(op.results[0], value)

    def _to_unsigned(self, op: Op, mode: str) -> None:
        """Truncation of numbers in range; the comparisons raise nothing that the routine does
        not raise as well."""
        argument, width = op.args[0], op.results[0].width
        self.rare_unless(mode, RTZ)
        source, kind = self.as_float(argument), TYPES[argument.width]
        name = f"fcmp.f{argument.width}"
        for predicate, limit in (("ule", -1.0), ("uge", float(1 << width))):
            args = [f"{kind} {source}", f"{kind} {_constant(limit)}"]
            outside = self._constrained(name, "i1", args, f'metadata !"{predicate}", {_STRICT}')
            self.rare(outside)
        if width == 32:
            wide = self._convert(source, argument.width, 64, True)
            value = self.temp(f"trunc i64 {wide} to i32")
        else:
            name = f"fptoui.i64.f{argument.width}"
            value = self._constrained(name, "i64", [f"{kind} {source}"], _STRICT)
        self.bind(op.results[0], value)

    def _relation(self, op: Op, predicate: str, signals: bool) -> str:
        args = [f"{TYPES[a.width]} {self.as_float(a)}" for a in op.args[:2]]
        name = f"fcmp{'s' if signals else ''}.f{op.args[0].width}"
        return self._constrained(name, "i1", args, f'metadata !"{predicate}", {_STRICT}')

    def _extremum(self, op: Op, predicate: str) -> None:
        """By one comparison; equal numbers may be zeros of different signs, of which the minimum
        has the sign if one of them has it, the maximum if both have it."""
        left, right = op.args[:2]
        kind, width = TYPES[left.width], left.width
        a, b = self.as_float(left), self.as_float(right)
        args = [f"{kind} {a}", f"{kind} {b}"]
        more = f'metadata !"ueq", {_STRICT}'
        alike = self._constrained(f"fcmp.f{width}", "i1", args, more)
        equal, differ, end = self.label("alike"), self.label("differ"), self.label("chosen")
        self.branch(alike, equal, differ, (0, 1))
        self.open(equal)
        self.rare(self.temp(f"fcmp uno {kind} {a}, {b}"))
        logic = "or" if predicate == "olt" else "and"
        joined = self.temp(f"{logic} i{width} {self.use(left)}, {self.use(right)}")
        joined_float = self.temp(f"bitcast i{width} {joined} to {kind}")
        label = self.current
        self.close(f"br label %{end}")
        self.open(differ)
        first = self.temp(f"fcmp {predicate} {kind} {a}, {b}")
        chosen = self.temp(f"select i1 {first}, {kind} {a}, {kind} {b}")
        self.close(f"br label %{end}")
        self.open(end)
        value = self.temp(f"phi {kind} [ {joined_float}, %{label} ], [ {chosen}, %{differ} ]")
        self.bind_float(op.results[0], value)
