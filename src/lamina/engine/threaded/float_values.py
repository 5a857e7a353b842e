"""LLVM values in the host's floating-point types, beside the integers that the IR knows.

The IR holds floats as bit patterns. `FloatValues` remembers which of the integers that were
written are also at hand as `float` or `double`, or can be loaded as such, so that a float goes from
register to operation to register without a detour through the host's general registers.
"""

from lamina.base.bits import mask
from lamina.engine.llvm.lower import FunctionWriter
from lamina.engine.threaded.hostfloat import TYPES
from lamina.ir.graph import Op, Routine, Value
from lamina.isa.arch import StateLayout

_UPPER = mask(64) ^ mask(32)
_BOXED = "float 0xFFFFFFFFE0000000"  # 32 ones: the upper half of a boxed float


class FloatValues(FunctionWriter):
    """Values by what they are loaded from, and in both types."""

    def __init__(self, routine: Routine, layout: StateLayout) -> None:
        super().__init__(routine, layout)
        self.sources: dict[str, str] = {}  # where integers were loaded from: a register's place
        self.floats: dict[str, str] = {}  # the same bits in the host's type, by integer

    def op_reg_get(self, op: Op) -> None:
        pointer = self.register_pointer(op.attrs["file"], self.use(op.args[0]))
        name = self.temp(f"load i64, ptr {pointer}")
        self.bind(op.results[0], name)
        self.sources[name] = pointer

    def op_trunc(self, op: Op) -> None:
        super().op_trunc(op)
        pointer = self.sources.get(self.use(op.args[0]))
        if pointer:
            self.sources[self.use(op.results[0])] = pointer

    def as_float(self, value: Value) -> str:
        """The value in the host's type of its width."""
        kind, name = TYPES[value.width], self.use(value)
        if name in self.floats:
            return self.floats[name]
        if name in self.sources:  # straight from the register, which needs no general one then
            return self.temp(f"load {kind}, ptr {self.sources[name]}")
        return self.temp(f"bitcast i{value.width} {name} to {kind}")

    def bind_float(self, result: Value, name: str) -> None:
        """Bind a result that is at hand in the host's type."""
        bits = self.temp(f"bitcast {TYPES[result.width]} {name} to i{result.width}")
        self.bind(result, bits)
        self.floats[bits] = name

    def typed(self, value: Value) -> str:
        name = self.use(value)
        if name in self.floats:
            return f"{TYPES[value.width]} {self.floats[name]}"
        if value.op.name == "or" and value.op.args[0].op.name == "zext":
            narrow = self.use(value.op.args[0].op.args[0])
            constant = value.op.args[1].op.attrs.get("value")
            if narrow in self.floats and constant == _UPPER:
                vector = f"<2 x float> <float poison, {_BOXED}>, float {self.floats[narrow]}"
                return f"<2 x float> {self.temp(f'insertelement {vector}, i32 0')}"
        return super().typed(value)
