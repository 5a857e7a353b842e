"""Capturing: Python functions over symbolic values become routines.

A `Builder` is what semantics are written against. Values are `Val` objects with the operators
of an unsigned integer of their width; conditionals are `with b.when(c):` / `with b.otherwise():`.
Operations on constants are folded while capturing, so that unrolled loops and width-generic
Python code leave no trace.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Union

from lamina.base.bits import mask
from lamina.base.bits import sext as sext_int
from lamina.ir.graph import Block, Op, Routine, Value, Variable
from lamina.ir.ops import OPS

Operand = Union["Val", int]


class Val:
    """A symbolic value: operators build IR. `<`, `>` and the like do not exist: say ult or slt."""

    __slots__ = ("b", "value", "width")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, b: "Builder", value: Value) -> None:
        self.b = b
        self.value = value
        self.width = value.width

    def _bin(self, name: str, other: Operand, swap: bool = False) -> "Val":
        rhs = self.b.val(other, self.width)
        return self.b.pure(name, rhs, self) if swap else self.b.pure(name, self, rhs)

    def __add__(self, o: Operand) -> "Val":
        return self._bin("add", o)

    def __sub__(self, o: Operand) -> "Val":
        return self._bin("sub", o)

    def __mul__(self, o: Operand) -> "Val":
        return self._bin("mul", o)

    def __and__(self, o: Operand) -> "Val":
        return self._bin("and", o)

    def __or__(self, o: Operand) -> "Val":
        return self._bin("or", o)

    def __xor__(self, o: Operand) -> "Val":
        return self._bin("xor", o)

    __radd__ = __add__
    __rmul__ = __mul__
    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __rsub__(self, o: Operand) -> "Val":
        return self._bin("sub", o, swap=True)

    def __neg__(self) -> "Val":
        return self._bin("sub", 0, swap=True)

    def __invert__(self) -> "Val":
        return self._bin("xor", mask(self.width))

    def __lshift__(self, o: Operand) -> "Val":
        return self._bin("shl", o)

    def __rshift__(self, o: Operand) -> "Val":
        """Logical; see `sar`."""
        return self._bin("lshr", o)

    def sar(self, o: Operand) -> "Val":
        """Arithmetic shift right."""
        return self._bin("ashr", o)

    def __eq__(self, o: Operand) -> "Val":  # type: ignore[override]
        return self._bin("eq", o)

    def __ne__(self, o: Operand) -> "Val":  # type: ignore[override]
        return self._bin("ne", o)

    def ult(self, o: Operand) -> "Val":
        return self._bin("ult", o)

    def ule(self, o: Operand) -> "Val":
        return self._bin("ule", o)

    def ugt(self, o: Operand) -> "Val":
        return self._bin("ult", o, swap=True)

    def uge(self, o: Operand) -> "Val":
        return self._bin("ule", o, swap=True)

    def slt(self, o: Operand) -> "Val":
        return self._bin("slt", o)

    def sle(self, o: Operand) -> "Val":
        return self._bin("sle", o)

    def sgt(self, o: Operand) -> "Val":
        return self._bin("slt", o, swap=True)

    def sge(self, o: Operand) -> "Val":
        return self._bin("sle", o, swap=True)

    def udiv(self, o: Operand) -> "Val":
        return self._bin("udiv", o)

    def urem(self, o: Operand) -> "Val":
        return self._bin("urem", o)

    def sdiv(self, o: Operand) -> "Val":
        return self._bin("sdiv", o)

    def srem(self, o: Operand) -> "Val":
        return self._bin("srem", o)

    def clz(self) -> "Val":
        return self.b.pure("clz", self)

    def ctz(self) -> "Val":
        return self.b.pure("ctz", self)

    def popcount(self) -> "Val":
        return self.b.pure("popcount", self)

    def bswap(self) -> "Val":
        return self.b.pure("bswap", self)

    def bitrev(self) -> "Val":
        return self.b.pure("bitrev", self)

    def zext(self, width: int) -> "Val":
        return self if width == self.width else self.b.resize("zext", self, width)

    def sext(self, width: int) -> "Val":
        return self if width == self.width else self.b.resize("sext", self, width)

    def trunc(self, width: int) -> "Val":
        return self if width == self.width else self.b.resize("trunc", self, width)

    def __getitem__(self, key: int | slice) -> "Val":
        """`v[11:4]` is bits 11..4 (inclusive) as an 8-bit value; `v[3]` is one bit."""
        high: int
        low: int
        high, low = (key.start, key.stop) if isinstance(key, slice) else (key, key)
        return (self >> low).trunc(high - low + 1)

    def insert(self, high: int, low: int, bits: Operand) -> "Val":
        """This value with bits high..low replaced."""
        part = self.b.val(bits, high - low + 1).zext(self.width) << low
        return (self & ~(mask(high - low + 1) << low) & mask(self.width)) | part

    def __bool__(self) -> bool:
        raise TypeError("a symbolic value has no truth: use b.when() or b.select()")

    def __repr__(self) -> str:
        return repr(self.value)


class Var:
    """A local variable of the routine under capture."""

    def __init__(self, b: "Builder", var: Variable) -> None:
        self.b = b
        self.var = var

    def get(self) -> Val:
        return self.b.one("var.get", self.var.width, var=self.var)

    def set(self, value: Operand) -> None:
        self.b.emit("var.set", (self.b.val(value, self.var.width),), var=self.var)


class Builder:
    """Captures one routine. Architectures subclass it with their registers and habits."""

    def __init__(self, name: str, params: tuple[int, ...] = ()) -> None:
        """`params` are the widths of the parameters, found as `.params` afterwards."""
        self.name = name
        self._count = 0
        self._variables: list[Variable] = []
        self._blocks: list[Block] = [Block()]
        self._last_if: list[Op | None] = [None]
        head = Op("params")
        self._params = tuple(self._value(width, head) for width in params)
        self.params = [Val(self, p) for p in self._params]

    def finish(self, *results: Operand) -> Routine:
        """The routine that was captured; it returns `results`."""
        values = tuple(self.val(r, r.width if isinstance(r, Val) else 64).value for r in results)
        body = self._blocks[0]
        return Routine(self.name, self._params, body, values, self._variables, self._count)

    # -- making operations -------------------------------------------------------------------
    def _value(self, width: int, op: Op) -> Value:
        value = Value(self._count, width, op)
        self._count += 1
        return value

    def emit(
        self,
        name: str,
        args: tuple[Val, ...] = (),
        widths: tuple[int, ...] = (),
        blocks: tuple[Block, ...] = (),
        **attrs: Any,
    ) -> list[Val]:
        """Append one operation; returns its results."""
        op = Op(name, tuple(a.value for a in args), attrs, (), blocks)
        op.results = tuple(self._value(w, op) for w in widths)
        self._blocks[-1].ops.append(op)
        self._last_if[-1] = op if name == "if" else None
        return [Val(self, r) for r in op.results]

    def one(self, name: str, width: int, *args: Val, **attrs: Any) -> Val:
        """Append an operation with a single result."""
        return self.emit(name, args, (width,), **attrs)[0]

    def operand(self, name: str) -> Val:
        """An operand of the instruction (64 bits); `insn` is the instruction's own bits."""
        return self.emit("operand", (), (64,), (), operand=name)[0]

    def const(self, value: int, width: int = 64) -> Val:
        return self.one("const", width, value=value & mask(width))

    def val(self, value: Operand, width: int) -> Val:
        """A symbolic value of exactly `width` bits from a Python integer or such a value."""
        if isinstance(value, Val):
            if value.width != width:
                raise TypeError(f"{self.name}: {value.width} bits where {width} are due")
            return value
        return self.const(int(value), width)

    @staticmethod
    def known(value: Val) -> int | None:
        """The value as a Python integer if it is a constant."""
        op = value.value.op
        return int(op.attrs["value"]) if op.name == "const" else None

    def pure(self, name: str, *args: Val) -> Val:
        spec = OPS[name]
        width = args[-1].width
        result = 1 if spec.result == "bool" else width
        constants = [self.known(a) for a in args]
        if spec.pure is not None and None not in constants:
            folded = spec.pure(width, *constants)
            assert isinstance(folded, int)
            return self.const(folded, result)
        return self.one(name, result, *args)

    def resize(self, name: str, value: Val, width: int) -> Val:
        known = self.known(value)
        if known is not None:
            wide = sext_int(known, value.width, width) if name == "sext" else known
            return self.const(wide, width)
        return self.one(name, width, value)

    def select(self, condition: Val, yes: Operand, no: Operand, width: int = 0) -> Val:
        """`yes` if the one-bit condition holds, else `no`."""
        for side in (yes, no):
            if isinstance(side, Val):
                width = side.width
        a, b = self.val(yes, width or 64), self.val(no, width or 64)
        known = self.known(condition)
        if known is not None:
            return a if known else b
        return self.one("select", a.width, condition, a, b)

    def cat(self, *parts: Val) -> Val:
        """Concatenation, most significant part first."""
        total = sum(p.width for p in parts)
        result, at = self.const(0, total), total
        for part in parts:
            at -= part.width
            result = result | (part.zext(total) << at)
        return result

    def call(self, routine: Routine, *args: Operand) -> list[Val]:
        values = tuple(self.val(a, p.width) for a, p in zip(args, routine.params, strict=True))
        return self.emit("call", values, tuple(r.width for r in routine.results), routine=routine)

    def float_op(self, name: str, width: int, *args: Val, **attrs: Any) -> tuple[Val, Val]:
        """A floating-point operation: (value of `width` bits, 5-bit flags)."""
        if "width" in OPS[name].attrs:
            attrs["width"] = width
        value, flags = self.emit(name, args, (width, 5), **attrs)
        return value, flags

    # -- control -----------------------------------------------------------------------------
    def var(self, width: int, init: Operand | None = None, name: str = "") -> Var:
        variable = Variable(len(self._variables), width, name or f"v{len(self._variables)}")
        self._variables.append(variable)
        var = Var(self, variable)
        if init is not None:
            var.set(init)
        return var

    @contextmanager
    def _inside(self, block: Block) -> Iterator[None]:
        self._blocks.append(block)
        self._last_if.append(None)
        try:
            yield
        finally:
            self._blocks.pop()
            self._last_if.pop()

    @contextmanager
    def when(self, condition: Val) -> Iterator[None]:
        """The operations inside happen if the one-bit condition holds."""
        then, other = Block(), Block()
        self.emit("if", (self.val(condition, 1),), (), (then, other))
        with self._inside(then):
            yield

    @contextmanager
    def rarely(self, condition: Val) -> Iterator[None]:
        """Like `when`, for what hardly ever happens: an engine may leave such cases to slower
        code that does the whole instruction. Nothing may be changed before it."""
        then, other = Block(), Block()
        self.emit("if", (self.val(condition, 1),), (), (then, other), rare=True)
        with self._inside(then):
            yield

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """The other side of the `when` just before."""
        op = self._last_if[-1]
        if op is None:
            raise TypeError(f"{self.name}: otherwise() must directly follow when()")
        with self._inside(op.blocks[1]):
            yield

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Repeats until `leave_loop()`."""
        body = Block()
        self.emit("loop", (), (), (body,))
        with self._inside(body):
            yield

    def leave_loop(self) -> None:
        self.emit("break")

    def switch(self, value: Val, cases: Mapping[int, Any], default: Any) -> None:
        """Run `cases[value]()` or `default()`; each is a function that emits operations."""
        blocks = []
        for body in [*cases.values(), default]:
            block = Block()
            with self._inside(block):
                body()
            blocks.append(block)
        self.emit("switch", (value,), (), tuple(blocks), cases=tuple(cases))

    # -- state, memory, leaving --------------------------------------------------------------
    def get(self, slot: str) -> Val:
        return self.one("get", 64, slot=slot)

    def set(self, slot: str, value: Operand) -> None:
        self.emit("set", (self.val(value, 64),), slot=slot)

    def reg(self, file: str, index: Operand) -> Val:
        return self.one("reg.get", 64, self.val(index, 64), file=file)

    def set_reg(self, file: str, index: Operand, value: Operand) -> None:
        self.emit("reg.set", (self.val(index, 64), self.val(value, 64)), file=file)

    @property
    def pc(self) -> Val:
        """The address of the current instruction."""
        return self.one("pc", 64)

    @property
    def next_pc(self) -> Val:
        """The address of the instruction that follows in memory."""
        return self.pc + self.one("insn.length", 64)

    def load(self, gva: Val, size: int) -> Val:
        return self.one("load", 8 * size, gva, size=size)

    def store(self, gva: Val, value: Val) -> None:
        self.emit("store", (gva, value), size=value.width // 8)

    def rmw(self, kind: str, gva: Val, value: Val) -> Val:
        """Atomically replace memory by kind(memory, value); the old value is returned."""
        return self.one("rmw", value.width, gva, value, size=value.width // 8, kind=kind)

    def cas(self, gva: Val, expected: Val, new: Val) -> Val:
        """Atomically: if memory equals `expected`, store `new`; the old value is returned."""
        return self.one("cas", new.width, gva, expected, new, size=new.width // 8)

    def touch(self, gva: Val, access: str) -> None:
        """Translate and check an address for `access` (read, write, cache) without accessing it."""
        self.emit("touch", (gva,), access=access)

    def phys_load(self, gpa: Val, size: int) -> tuple[Val, Val]:
        value, ok = self.emit("phys.load", (gpa,), (8 * size, 1), size=size)
        return value, ok

    def phys_cas(self, gpa: Val, expected: Val, new: Val) -> tuple[Val, Val]:
        """Compare and swap in RAM: (old value, ok)."""
        old, ok = self.emit("phys.cas", (gpa, expected, new), (new.width, 1), size=new.width // 8)
        return old, ok

    def jump(self, target: Operand) -> None:
        """The next instruction is the one at `target`; the current one completes."""
        self.emit("jump", (self.val(target, 64),))

    def trap(self, cause: Operand, tval: Operand = 0) -> None:
        """Abandon the instruction by the architecture's trap entry."""
        self.emit("trap", (self.val(cause, 64), self.val(tval, 64)))

    def leave(self) -> None:
        """Abandon the instruction; the state (with the slot `pc`) is as it should be."""
        self.emit("leave")

    def exit(self, reason: int) -> None:
        """Complete the instruction, then hand over to the machine with this exit reason."""
        self.emit("exit", reason=reason)

    def do(self, name: str, *args: Val, **attrs: Any) -> None:
        """An operation of the engine's own state without a result, such as `tlb.flush`."""
        self.emit(name, args, **attrs)
