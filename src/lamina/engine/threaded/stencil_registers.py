"""The host's registers in baseline code: what a stencil is given and what it passes on.

Stencils hand each other their arguments in registers (`preserve_none`). Some of these hold general
registers of the guest, those that are HELD: what is read again soonest. What is written is stored
to the state when its register is given up, before control may leave and, if that is rare, in the
thunk; not at all if it is written again before.

A stencil is compiled with its operands in FIRST and OTHER and its result in RESULT, and passes on
what it does not change; the copy that runs has there the registers that the baseline compiler has
chosen (`baseline_registers_ir`), so one stencil does for all of them. Whatever else a stencil uses
holds nothing from one instruction to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.engine.threaded.decoder import PLACES, places
from lamina.engine.threaded.stencil_forms import PLAIN, Special, general_file, written_places
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn

# The registers of arguments, in the order of the calling convention: r12, r13, r14, r15, rdi, rsi,
# rdx, rcx, r8, r9, r11.
_TYPES = {"s": "ptr", "x": "ptr", "b": "i64", "f0": "i64", "t": "ptr", "k": "i64"}
_TYPES |= dict.fromkeys(("f1", "f2", "first", "other", "result"), "i64")
SIGNATURE = ", ".join(_TYPES.values())
PARAMETERS = ", ".join(f"{kind} %{name}" for name, kind in _TYPES.items())

FIRST, OTHER, RESULT = 8, 9, 11  # by their numbers: r8, r9, r11
HELD = (3, 8, 9, 10, 11, 15)  # all that hold registers: rbx, and r8 on
MOST_OPERANDS = 2
_NEED_REGISTERS = frozenset(("sdiv", "srem"))  # operations that use more than arguments leave


@dataclass(frozen=True, slots=True)
class Roles:
    """The places in a record of the general registers that a stencil has in registers: up to two
    that it reads, and the one that it writes. `all`: there are no others."""

    sources: tuple[str, ...] = ()
    result: str | None = None
    all: bool = True


def roles_of(arch: Arch, insn: Insn, special: Special = PLAIN) -> Roles:
    """Which registers of an instruction are in registers in its stencil."""
    general, where = general_file(arch), places(insn)
    top, names = insn.routine.body.ops, {op.name for op in insn.routine.body.walk()}
    read = {
        where[op.args[0].op.attrs["operand"]]: None
        for op in insn.routine.body.walk()
        if op.name == "reg.get" and op.attrs["file"] == general and op.args[0].op.name == "operand"
    }
    sources = tuple(p for p in read if p != special.zero)
    if len(sources) > MOST_OPERANDS or not {*sources} < {*PLACES[:4]} or names & _NEED_REGISTERS:
        return Roles(all=False)
    written = written_places(insn, general)
    always = any(op.name == "reg.set" and op.attrs["file"] == general for op in top)
    goes_on = "jump" not in names and special.discard is None
    has = len(written) == 1 and written[0] in PLACES[:4] and always and goes_on
    return Roles(sources, written[0] if has else None, has or not written)


def call(
    callee: str,
    second: str = "ptr %x",
    budget: str = "%b",
    known: str = "%k",
    table: str = "%t",
    held: Sequence[str] = ("%first", "%other", "%result"),
) -> str:
    """A tail call of the next piece of code, as LLVM assembly."""
    free = "i64 poison"
    arguments = f"ptr %s, {second}, i64 {budget}, {free}, ptr {table}, i64 {known}, {free}, {free}"
    kept = ", ".join(f"i64 {value}" for value in held)
    return f"musttail call preserve_nonecc i64 {callee}({arguments}, {kept})"


def call_outside(callee: str, second: str, budget: str) -> str:
    """A tail call of what has a handler's arguments only."""
    nothing = ("poison", "poison", "poison")
    return call(callee, second, budget, "poison", "poison", nothing)
