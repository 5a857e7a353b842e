"""One compiled function, for people: its optimised LLVM assembly and its machine code as text.

Called by `engine.threaded.single` for `lamina show`. Nothing here is kept or run.
"""

import re
from typing import NamedTuple

from llvmlite import binding as llvm

from lamina.engine.llvm.compiler import (
    CODE_GENERATION,
    optimise,
    optimise_region,
    pays_quick_selection,
    schedule_instructions,
    select_instructions,
    target_machine,
)

_HOUSEKEEPING = re.compile(r"\s*\.(?!L)\w+")  # assembler directives: all that is no local label


class Listing(NamedTuple):
    """What LLVM made of a function."""

    llvm: str
    host: str
    target: str  # the host's triple and CPU


def list_function(text: str, name: str, *, region: bool = False) -> Listing:
    """Compile a module's LLVM assembly as the runtime, or a region, is compiled, and list one
    function of it."""
    machine = target_machine(CODE_GENERATION)
    module = optimise_region(text) if region else optimise(text, machine)
    optimised = str(module.get_function(name)).strip()
    select_instructions(quickly=region and pays_quick_selection(text))
    schedule_instructions(wanted=region)
    host = _instructions(machine.emit_assembly(module))
    return Listing(optimised, host, f"{machine.triple}, {llvm.get_host_cpu_name()}")


def _instructions(assembly: str) -> str:
    """Assembler output without directives, comments and the labels that only they need."""
    lines = [line.partition("#")[0].rstrip().expandtabs(8) for line in assembly.splitlines()]
    lines = [line for line in lines if line and not _HOUSEKEEPING.fullmatch(line.split(None, 1)[0])]
    used = set(re.findall(r"\.L\w+", "\n".join(line for line in lines if line.startswith(" "))))
    kept = [line for line in lines if not line.startswith(".L") or line.rstrip(":").strip() in used]
    return "\n".join(kept)
