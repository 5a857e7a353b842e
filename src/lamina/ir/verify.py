"""The verifier: a routine that passes is well formed, so that engines need not check again."""

from lamina.ir.graph import Block, Op, Routine, Value
from lamina.ir.ops import OPS

MAX_WIDTH = 128


class VerifyError(Exception):
    """A routine breaks a rule of the IR: a bug in an instruction's description or in a pass."""


def verify(routine: Routine) -> Routine:
    """Check names, arities, widths, attributes, definition before use; returns the routine."""
    defined = {p.number for p in routine.params}
    _block(routine, routine.body, defined, in_loop=False)
    for value in routine.results:
        _use(routine, value, defined, "result")
    return routine


def _fail(routine: Routine, text: str) -> None:
    raise VerifyError(f"{routine.name}: {text}")


def _use(routine: Routine, value: Value, defined: set[int], where: str) -> None:
    if value.number not in defined:
        _fail(routine, f"{where} uses {value!r} which is not defined there")


def _block(routine: Routine, block: Block, outer: set[int], in_loop: bool) -> None:
    defined = outer if block is routine.body else set(outer)
    for op in block.ops:
        _op(routine, op, defined, in_loop)
        for inner in op.blocks:
            _block(routine, inner, defined, in_loop or op.name == "loop")
        for result in op.results:
            if result.number in defined:
                _fail(routine, f"{op.name} defines {result!r} again")
            if not 1 <= result.width <= MAX_WIDTH:
                _fail(routine, f"{op.name} has a result of {result.width} bits")
            defined.add(result.number)


def _op(routine: Routine, op: Op, defined: set[int], in_loop: bool) -> None:
    spec = OPS.get(op.name)
    if spec is None:
        _fail(routine, f"unknown operation {op.name}")
        return
    if spec.arity >= 0 and len(op.args) != spec.arity:
        _fail(routine, f"{op.name} takes {spec.arity} arguments, not {len(op.args)}")
    if spec.blocks >= 0 and len(op.blocks) != spec.blocks:
        _fail(routine, f"{op.name} has {len(op.blocks)} blocks, not {spec.blocks}")
    for attr in spec.attrs:
        if attr not in op.attrs:
            _fail(routine, f"{op.name} lacks the attribute {attr}")
    for arg in op.args:
        _use(routine, arg, defined, op.name)
    if op.name == "break" and not in_loop:
        _fail(routine, "break outside of a loop")
    _widths(routine, op, spec.result)


def _widths(routine: Routine, op: Op, kind: str) -> None:
    widths = [a.width for a in op.args]
    if kind in ("same", "bool"):
        due = 1 if kind == "bool" else widths[0]
        if len(set(widths)) != 1 or op.results[0].width != due:
            _fail(routine, f"{op.name} over widths {widths} gives {op.results[0].width}")
    elif op.name == "select":
        if widths[0] != 1 or widths[1] != widths[2] or op.results[0].width != widths[1]:
            _fail(routine, f"select over widths {widths}")
    elif op.name in ("zext", "sext"):
        if op.results[0].width <= widths[0]:
            _fail(routine, f"{op.name} from {widths[0]} to {op.results[0].width}")
    elif op.name == "trunc":
        if op.results[0].width >= widths[0]:
            _fail(routine, f"trunc from {widths[0]} to {op.results[0].width}")
    elif op.name in ("store", "rmw", "cas"):
        if any(w != 8 * op.attrs["size"] for w in widths[1:]):
            _fail(routine, f"{op.name} of {op.attrs['size']} bytes over widths {widths[1:]}")
    elif op.name == "if" and widths != [1]:
        _fail(routine, "the condition of an if has one bit")
    elif op.name == "call":
        params = [p.width for p in op.attrs["routine"].params]
        if params != widths:
            _fail(routine, f"call of {op.attrs['routine'].name} with {widths}, due {params}")
