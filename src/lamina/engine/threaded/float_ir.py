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
from lamina.ir.floats import FORMATS, RDN, RMM, RNE, RTZ
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
        """Attributes for a function that may have constrained intrinsics; no table of rounding
        modes, as a jump by it would be dearer than the usual mode's conversion."""
        if not any("constrained" in d for d in self.declares):
            return ""
        return ' strictfp "no-jump-tables"="true"'

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
        known = literal(self._mode(op))
        if known is not None and not host.does(known):
            self.call_routine(op, routine)
        elif self.escape:
            self._host_result(op, host)
        elif self.uses_host and any(op is o for o in self.routine.body.ops):
            self._host_or_routine(op, host, routine)
        else:
            self.call_routine(op, routine)

    def call_routine(self, op: Op, routine: Routine) -> None:
        raise NotImplementedError

    def _mode(self, op: Op) -> str:
        """The rounding mode: a number, where it is known."""
        known = self.facts.value(op.args[-1], self.use)
        return self.use(op.args[-1]) if known is None else str(known)

    def _host_or_routine(self, op: Op, host: HostOperation, routine: Routine) -> None:
        """Both ways, which meet behind the operation. The host's is for an instruction that is
        usual so far: what raises flags unseen must have found FS to be Dirty."""
        escapes, end = self.escapes, self.label("rounded")
        self.escape = self.label("soft")
        for earlier in self.routine.body.ops:
            if earlier is op:
                break
            if earlier.attrs.get("rare") and host.kind in ("to integer", "comparison"):
                self.rare(self.use(earlier.args[0]))
        self._host_result(op, host)
        bits, label = self.use(op.results[0]), self.current
        self.close(f"br label %{end}")
        self.open(self.escape)
        self.escape, self.escapes = "", escapes
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
        condition = op.args[0]
        known = self.facts.value(condition, self.use) if op.attrs.get("rare") else None
        if known == 0:
            self.bind(condition, "false")
        if not (self.escape and op.attrs.get("rare")):
            super().op_if(op)
            return
        self.rare(self.use(condition) if known is None else str(known))
        self.bind(condition, "false")
        value = self.learn_not(condition)
        if value is not None:
            self.bind(value, self.use(condition.op.args[1]))

    def learn_not(self, condition: Value) -> Value | None:
        """A condition does not hold from here on: what is not other than a constant is that
        constant. The value of which that is known."""
        self.facts.learn(condition, 0, self.use)
        if condition.op.name == "ne":
            value, constant = condition.op.args
            if constant.op.name == "const" and value.op.name != "const":
                self.facts.learn(value, constant.op.attrs["value"], self.use)
                return value
        return None

    # -- operations ----------------------------------------------------------------------------
    def _host_result(self, op: Op, host: HostOperation) -> None:
        """Bind the host's result; the flags are in the host's, so none remain."""
        self.bind(op.results[1], "0")
        mode, result = self._mode(op), op.results[0]
        dynamic = literal(mode) is None and op.args[-1].op.name == "get"
        if dynamic and not host.exact and host.does(RNE):
            self.rare_unless(mode, RNE)  # a mode of the state, not of the instruction
            mode = str(RNE)
        match host.kind:
            case "arithmetic":
                if not host.exact:
                    self.rare_unless(mode, RNE)
                self._number(result, self._arithmetic(op, host))
            case "from integer":
                if not host.exact:
                    self._rare_if_inexact(op, host, mode)
                self._from_integer(op, host)
            case "to integer":
                if host.signed:
                    self._to_signed(op, host, mode)
                else:
                    self._to_unsigned(op, mode)
            case "comparison":
                self.bind(result, self._relation(op, host.name, host.signals))
            case _:
                self._extremum(op, host.name)

    def rare_unless(self, mode: str, usual: int) -> None:
        """The rounding mode, if it is not known, is another one only rarely."""
        if literal(mode) is None:
            self.rare(self.temp(f"icmp ne i64 {mode}, {usual}"))

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

    def _rare_if_inexact(self, op: Op, host: HostOperation, mode: str) -> None:
        """In another mode than to nearest, integers that may not be exact in the format are
        rare: all that are too far from zero."""
        known = literal(mode)
        if known == RNE:
            return
        integer, bits = op.args[0], FORMATS[op.results[0].width].precision
        kind = f"i{integer.width}"
        if host.signed:
            shifted = self.temp(f"add {kind} {self.use(integer)}, {1 << bits}")
            far = self.temp(f"icmp ugt {kind} {shifted}, {2 << bits}")
        else:
            far = self.temp(f"icmp ugt {kind} {self.use(integer)}, {1 << bits}")
        if known is None:
            other = self.temp(f"icmp ne i64 {mode}, {RNE}")
            far = self.temp(f"and i1 {far}, {other}")
        self.rare(far)

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

    def _to_signed(self, op: Op, host: HostOperation, mode: str) -> None:
        argument, width = op.args[0], op.results[0].width
        source, known = self.as_float(argument), literal(mode)
        if known is not None:
            self.bind(op.results[0], self._rounded(source, argument.width, width, known))
            return
        end, ways = self.label("whole"), [self.label("mode") for _ in range(5)]
        cases = " ".join(f"i64 {m}, label %{ways[m]}" for m in range(RMM))
        self.close(f"switch i64 {mode}, label %{ways[RMM]} [ {cases} ]")
        found = []
        for m, way in enumerate(ways):
            self.open(way)
            if not host.does(m):
                self.rare("true")
                continue
            value = self._rounded(source, argument.width, width, m)
            found.append(f"[ {value}, %{self.current} ]")
            self.close(f"br label %{end}")
        self.open(end)
        self.bind(op.results[0], self.temp(f"phi i{width} {', '.join(found)}"))

    def _rounded(self, source: str, width: int, to: int, mode: int) -> str:
        """A float as an integer. In other modes than the host's the integral number is found
        first, without exceptions; then the truncation of the float itself, which is in range if
        that is, raises inexact where it is due."""
        directed = mode not in (RNE, RTZ)
        number = self._integral(source, width, mode) if directed else source
        value = self._convert(number, width, to, mode != RNE)
        self.rare(self.temp(f"icmp eq i{to} {value}, {-(1 << (to - 1))}"))
        if directed:
            self._convert(source, width, to, True)
        return value

    def _integral(self, source: str, width: int, mode: int) -> str:
        """The integral number that a float is rounded to in a mode that is not the host's; raises
        nothing but invalid with infinities and signaling NaNs."""
        kind, size = TYPES[width], f"f{width}"
        argument = [f"{kind} {source}"]
        if mode != RMM:
            name = "floor" if mode == RDN else "ceil"
            return self._constrained(f"{name}.{size}", kind, argument, _STRICT)
        whole = self._constrained(f"trunc.{size}", kind, argument, _STRICT)
        pair = [*argument, f"{kind} {whole}"]
        rest = self._constrained(f"fsub.{size}", kind, pair, _NEAREST)
        self.declares.add(f"declare {kind} @llvm.fabs.{size}({kind})")
        self.declares.add(f"declare {kind} @llvm.copysign.{size}({kind}, {kind})")
        distance = self.temp(f"call {kind} @llvm.fabs.{size}({kind} {rest})")
        far = self.temp(f"fcmp oge {kind} {distance}, {_constant(0.5)}")
        signed = f"@llvm.copysign.{size}({kind} {_constant(1.0)}, {argument[0]})"
        one = self.temp(f"call {kind} {signed}")
        more = self.temp(f"select i1 {far}, {kind} {one}, {kind} {_constant(0.0)}")
        pair = [f"{kind} {whole}", f"{kind} {more}"]
        return self._constrained(f"fadd.{size}", kind, pair, _NEAREST)

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
