"""One instruction's handler by itself, as `lamina show` lists it.

The handler is the text that the whole runtime holds; what it calls there (slow paths of memory,
shared routines, dispatch) is only declared, so that compiling takes milliseconds. The runtime
compiles all of it together and may inline the small routines.
"""

import re
from typing import NamedTuple

from lamina.engine.llvm.listing import list_function
from lamina.engine.threaded.decoder import Handler, places
from lamina.engine.threaded.handlers import HandlerWriter, has_static_jump
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.module import declaration, hand_written
from lamina.engine.threaded.runtime_ir import HEAD
from lamina.ir.graph import Routine
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import Arch
from lamina.isa.insn import Form

_STATE_WORD = re.compile(r"(= getelementptr .*ptr %s, i64 (\d+))$", re.MULTILINE)


class Single(NamedTuple):
    """A handler of an instruction: a jump that stays in its page has one of its own."""

    llvm: str  # %s is the vCPU's state, %r the instruction's record, %b the budget
    host: str
    target: str
    local: bool


def list_handler(arch: Arch, form: Form) -> Single:
    """Compile the handler of an instruction form by itself."""
    routine, layout = expand_floats(form.base.routine), ThreadedLayout(arch)
    local = has_static_jump(form.base.routine) is not None
    handler = Handler(form.base, form.encoding.length, local)
    writer = HandlerWriter(
        handler.name, routine, arch, layout, places(form.base), handler.length, local
    )
    text = writer.text()
    called = set(re.findall(r"@([\w.]+)", text))
    declared = [d for name, d in hand_written(arch, layout).items() if name in called]
    declared += {c.name: declaration(c) for c in _callees(arch, routine)}.values()
    if writer.has_slow:
        declared.append(f'declare dso_local preserve_nonecc i64 @"s.{handler.name}"(ptr, ptr, i64)')
    module = "\n".join([HEAD, *sorted(writer.declares), *declared, text])
    listing = list_function(module, f"h.{handler.name}")
    return Single(_annotate(listing.llvm, arch, layout), listing.host, listing.target, local)


def _annotate(text: str, arch: Arch, layout: ThreadedLayout) -> str:
    """LLVM assembly with the names of state words and files beside their offsets."""
    names = {offset: name for name, offset in layout.at.items()}
    names |= {8 * word: slot for slot, word in arch.layout.index.items()}
    names |= {8 * word: f"file {file}" for file, word in arch.layout.file_base.items()}

    def note(match: re.Match[str]) -> str:
        name = names.get(int(match[2]))
        return match[1] if name is None else f"{match[1]}  ; {name}"

    return _STATE_WORD.sub(note, text)


def _callees(arch: Arch, routine: Routine) -> list[Routine]:
    """The shared routines that a handler may call."""
    return [*routine.callees(), arch.routines["trap"]]
