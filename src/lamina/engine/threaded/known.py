"""What is known about the state on the way that is being written.

An instruction's usual case tells something about the state: that the FPU is on, that rounding is
to nearest, that a register holds a boxed float. `Facts` holds such values by expression, so that
the next instruction on the way need not test them again. Whoever writes several instructions into
one function calls `forget` where ways meet and where the state may have been changed otherwise.
"""

from collections.abc import Callable

from lamina.base.bits import mask
from lamina.engine.llvm.lower import literal
from lamina.ir.graph import Op, Value
from lamina.ir.ops import OPS

Expression = tuple[object, ...] | int
Use = Callable[[Value], str]  # the LLVM operand of a value
_FOLDED = {"and", "or", "lshr", "eq", "ne", "ult", "ule"}


class Facts:
    """Expressions of known value."""

    def __init__(self) -> None:
        self._known: dict[Expression, int] = {}
        self._always: dict[Expression, int] = {}

    def keep(self) -> None:
        """What is known now is known wherever this writer writes."""
        self._always = dict(self._known)

    def forget(self) -> None:
        """Nothing is known any more, but what is always known."""
        self._known = dict(self._always)

    def value(self, value: Value, use: Use) -> int | None:
        """The number that a value is known to be."""
        found = self._expression(value, use)
        return found if isinstance(found, int) else None

    def learn(self, value: Value, number: int, use: Use) -> None:
        """The value is this number from here on."""
        expression = self._expression(value, use)
        if isinstance(expression, tuple):
            self._known[expression] = number

    def wrote(self, op: Op, use: Use, surely: bool) -> None:
        """A register has a new value, or may have one."""
        file, (index, value) = op.attrs["file"], op.args
        register = ("reg", file, self._expression(index, use))
        if literal(use(index)) is None:
            self._drop(file)
        else:
            self._drop(register)
        width = _boxed(value)
        if width and surely:
            self._known["lshr", register, width] = mask(64 - width)

    def _drop(self, part: object) -> None:
        """What was known about a register, or any of a file."""
        for expression in [e for e in self._known if _mentions(e, part)]:
            del self._known[expression]

    def _expression(self, value: Value, use: Use) -> Expression | None:
        op = value.op
        if op.name == "const":
            return int(op.attrs["value"])
        found: Expression | None = None
        if op.name == "operand":
            known = literal(use(value))
            found = ("operand", op.attrs["operand"]) if known is None else known
        elif op.name == "get":
            found = ("get", op.attrs["slot"])
        elif op.name == "reg.get":
            found = ("reg", op.attrs["file"], self._expression(op.args[0], use))
        elif op.name == "select":
            chosen = self._expression(op.args[0], use)
            if isinstance(chosen, int):
                found = self._expression(op.args[1 if chosen else 2], use)
        elif op.name in _FOLDED:
            found = self._pure(value, use)
        return found if found is None or isinstance(found, int) else self._known.get(found, found)

    def _pure(self, value: Value, use: Use) -> Expression | None:
        parts = [self._expression(a, use) for a in value.op.args]
        numbers = [p for p in parts if isinstance(p, int)]
        fold = OPS[value.op.name].pure
        if len(numbers) == len(parts) and fold is not None:
            answer = fold(value.op.args[0].width, *numbers)
            return answer if isinstance(answer, int) else None
        return None if None in parts else (value.op.name, *parts)


def _mentions(expression: object, part: object) -> bool:
    if expression == part:
        return True
    return isinstance(expression, tuple) and any(_mentions(e, part) for e in expression)


def _boxed(value: Value) -> int:
    """The width of a float that a register's new value holds boxed; 0 if it is not known to."""
    op = value.op
    if op.name != "or" or op.args[0].op.name != "zext":
        return 0
    width = op.args[0].op.args[0].width
    return width if op.args[1].op.attrs.get("value") == mask(64) ^ mask(width) else 0
