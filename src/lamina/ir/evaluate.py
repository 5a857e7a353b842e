"""The definition of the IR: routines evaluated in plain Python.

`Evaluator(routine)` turns a routine into closures once; calling it runs the routine against a
`Host`, which supplies state, memory and control. Obviously right matters here, not speed: the
other engines are held to this one.
"""

from collections.abc import Callable
from typing import Any, Protocol

from lamina.base.bits import sext
from lamina.ir.graph import Block, Op, Routine
from lamina.ir.ops import OPS


class Leave(Exception):
    """The current instruction is abandoned; the state is exact. Never leaves the engine."""


class Host(Protocol):
    """What the evaluator needs from the engine around it. Values are non-negative integers."""

    def get(self, slot: str) -> int: ...
    def set(self, slot: str, value: int) -> None: ...
    def reg_get(self, file: str, index: int) -> int: ...
    def reg_set(self, file: str, index: int, value: int) -> None: ...
    def operand(self, operand: str) -> int: ...
    def pc(self) -> int: ...
    def insn_length(self) -> int: ...
    def icount(self) -> int: ...
    def time(self) -> int: ...
    def load(self, gva: int, size: int) -> int: ...
    def store(self, gva: int, value: int, size: int) -> None: ...
    def rmw(self, gva: int, value: int, size: int, kind: str) -> int: ...
    def cas(self, gva: int, expected: int, new: int, size: int) -> int: ...
    def touch(self, gva: int, access: str) -> None: ...
    def fence(self) -> None: ...
    def relax(self) -> None: ...
    def phys_load(self, gpa: int, size: int) -> tuple[int, int]: ...
    def phys_cas(self, gpa: int, expected: int, new: int, size: int) -> tuple[int, int]: ...
    def jump(self, target: int) -> None: ...
    def trap(self, cause: int, tval: int) -> None: ...
    def leave(self) -> None: ...
    def exit(self, reason: int) -> None: ...
    def tlb_flush(self) -> None: ...
    def tlb_flush_page(self, gva: int) -> None: ...
    def tlb_flush_space(self, space: int) -> None: ...
    def tlb_flush_space_page(self, space: int, gva: int) -> None: ...
    def tlb_space(self) -> None: ...
    def tlb_context(self) -> None: ...
    def icache_flush(self) -> None: ...
    def fence_remote(self, *arguments: int) -> int: ...
    def post_remote(self, mask: int, base: int, bits: int) -> int: ...
    def pending(self) -> None: ...
    def notify(self, value: int, event: str) -> None: ...


class Frame:
    """One activation of a routine: its values and its variables."""

    __slots__ = ("host", "values", "variables")

    def __init__(self, host: Host, values: int, variables: int) -> None:
        self.host = host
        self.values: list[int] = [0] * values
        self.variables: list[int] = [0] * variables


Step = Callable[[Frame], bool | None]  # True: break out of the innermost loop


class Evaluator:
    """A routine made ready to run in Python."""

    def __init__(self, routine: Routine) -> None:
        self.routine = routine
        self._params = [p.number for p in routine.params]
        self._results = [r.number for r in routine.results]
        self._body = _compile_block(routine.body)
        self._sizes = (routine.value_count, len(routine.variables))

    def __call__(self, host: Host, *args: int) -> tuple[int, ...]:
        """Run; `Leave` (raised by the host) means that the instruction was abandoned."""
        frame = Frame(host, *self._sizes)
        values = frame.values
        for number, arg in zip(self._params, args, strict=True):
            values[number] = arg
        self._body(frame)
        return tuple(values[r] for r in self._results)


def _compile_block(block: Block) -> Step:
    steps = [_compile(op) for op in block.ops]

    def run(frame: Frame) -> bool | None:
        for step in steps:
            if step(frame):
                return True
        return None

    return run


def _compile(op: Op) -> Step:
    maker = _MAKERS.get(op.name)
    if maker is not None:
        return maker(op)
    spec = OPS[op.name]
    if spec.pure is not None:
        return _float(op) if spec.result == "float" else _pure(op)
    return _host_call(op)


def _pure(op: Op) -> Step:
    function: Any = OPS[op.name].pure
    args = [a.number for a in op.args]
    width, result = op.args[-1].width, op.results[0].number
    if len(args) == 2:
        a, b = args

        def step2(frame: Frame) -> None:
            v = frame.values
            v[result] = function(width, v[a], v[b])

        return step2

    def step(frame: Frame) -> None:
        v = frame.values
        v[result] = function(width, *[v[a] for a in args])

    return step


def _float(op: Op) -> Step:
    function: Any = OPS[op.name].pure
    args = [a.number for a in op.args]
    width = op.args[0].width
    value, flags = (r.number for r in op.results)

    def step(frame: Frame) -> None:
        v = frame.values
        v[value], v[flags] = function(width, *[v[a] for a in args], **op.attrs)

    return step


def _host_call(op: Op) -> Step:
    name = op.name.replace(".", "_")
    args = [a.number for a in op.args]
    attrs = dict(op.attrs)
    results = [r.number for r in op.results]

    def step(frame: Frame) -> None:
        v = frame.values
        answer = getattr(frame.host, name)(*[v[a] for a in args], **attrs)
        if len(results) == 1:
            v[results[0]] = answer
        else:
            for number, part in zip(results, answer or (), strict=True):
                v[number] = part

    return step


def _get(op: Op) -> Step:
    number, slot = op.results[0].number, op.attrs["slot"]

    def step(frame: Frame) -> None:
        frame.values[number] = frame.host.get(slot)

    return step


def _set(op: Op) -> Step:
    arg, slot = op.args[0].number, op.attrs["slot"]

    def step(frame: Frame) -> None:
        frame.host.set(slot, frame.values[arg])

    return step


def _reg_get(op: Op) -> Step:
    number, index, file = op.results[0].number, op.args[0].number, op.attrs["file"]

    def step(frame: Frame) -> None:
        frame.values[number] = frame.host.reg_get(file, frame.values[index])

    return step


def _reg_set(op: Op) -> Step:
    index, arg, file = op.args[0].number, op.args[1].number, op.attrs["file"]

    def step(frame: Frame) -> None:
        frame.host.reg_set(file, frame.values[index], frame.values[arg])

    return step


def _const(op: Op) -> Step:
    number, value = op.results[0].number, op.attrs["value"]

    def step(frame: Frame) -> None:
        frame.values[number] = value

    return step


def _zext(op: Op) -> Step:
    number, arg = op.results[0].number, op.args[0].number

    def step(frame: Frame) -> None:
        frame.values[number] = frame.values[arg]

    return step


def _sext(op: Op) -> Step:
    number, arg = op.results[0].number, op.args[0].number
    source, target = op.args[0].width, op.results[0].width

    def step(frame: Frame) -> None:
        frame.values[number] = sext(frame.values[arg], source, target)

    return step


def _trunc(op: Op) -> Step:
    number, arg = op.results[0].number, op.args[0].number
    keep = (1 << op.results[0].width) - 1

    def step(frame: Frame) -> None:
        frame.values[number] = frame.values[arg] & keep

    return step


def _var_get(op: Op) -> Step:
    number, variable = op.results[0].number, op.attrs["var"].number

    def step(frame: Frame) -> None:
        frame.values[number] = frame.variables[variable]

    return step


def _var_set(op: Op) -> Step:
    arg, variable = op.args[0].number, op.attrs["var"].number

    def step(frame: Frame) -> None:
        frame.variables[variable] = frame.values[arg]

    return step


def _if(op: Op) -> Step:
    condition = op.args[0].number
    then, other = (_compile_block(b) for b in op.blocks)

    def step(frame: Frame) -> bool | None:
        return then(frame) if frame.values[condition] else other(frame)

    return step


def _switch(op: Op) -> Step:
    selector = op.args[0].number
    blocks = [_compile_block(b) for b in op.blocks]
    cases: dict[int, Step] = dict(zip(op.attrs["cases"], blocks, strict=False))
    default = blocks[-1]

    def step(frame: Frame) -> bool | None:
        chosen = cases.get(frame.values[selector], default)
        return chosen(frame)

    return step


def _loop(op: Op) -> Step:
    body = _compile_block(op.blocks[0])

    def step(frame: Frame) -> None:
        while not body(frame):
            pass

    return step


def _break(op: Op) -> Step:
    return lambda frame: True


def _call(op: Op) -> Step:
    args = [a.number for a in op.args]
    results = [r.number for r in op.results]
    target: list[Evaluator] = []

    def step(frame: Frame) -> None:
        if not target:
            target.append(Evaluator(op.attrs["routine"]))
        v = frame.values
        answer = target[0](frame.host, *[v[a] for a in args])
        for number, part in zip(results, answer, strict=True):
            v[number] = part

    return step


_MAKERS: dict[str, Callable[[Op], Step]] = {
    "get": _get,
    "set": _set,
    "reg.get": _reg_get,
    "reg.set": _reg_set,
    "const": _const,
    "zext": _zext,
    "sext": _sext,
    "trunc": _trunc,
    "var.get": _var_get,
    "var.set": _var_set,
    "if": _if,
    "switch": _switch,
    "loop": _loop,
    "break": _break,
    "call": _call,
}
