"""The runtime of the threaded engine as LLVM modules: for each pack one of hot code, one of cold.

The core pack has dispatch, the decoder, memory and the architecture's own routines; every pack has
the handlers of its instructions and the routines that no pack before it has. Cold are the second
handlers of memory accesses, and instructions that do their work in routines.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from lamina.engine.llvm.lower import result_type, symbol
from lamina.engine.threaded import hostfloat
from lamina.engine.threaded.baseline_cells_ir import cells
from lamina.engine.threaded.baseline_code_ir import code
from lamina.engine.threaded.baseline_ir import baseline
from lamina.engine.threaded.baseline_list_ir import listing
from lamina.engine.threaded.baseline_registers_ir import registers
from lamina.engine.threaded.decoder import DecoderTables, Handler, PackTable, Variants, places
from lamina.engine.threaded.fetch_ir import fetch
from lamina.engine.threaded.flush_ir import flushes
from lamina.engine.threaded.functions import RoutineWriter
from lamina.engine.threaded.handlers import HandlerWriter, has_static_jump
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.memory_ir import memory
from lamina.engine.threaded.region_ir import region
from lamina.engine.threaded.remote_ir import remote
from lamina.engine.threaded.runtime_ir import HEAD, boundary
from lamina.engine.threaded.tlb_ir import tlb
from lamina.engine.threaded.wait_ir import waits
from lamina.ir.graph import Routine
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import CORE_PACK, Arch

_DEFINE = re.compile(r"^define (internal |dso_local )?(.*?)@([\w.]+)\((.*?)\)", re.MULTILINE)
_NAME = re.compile(r'@(?:"([^"]+)"|([\w.]+))')
_COLD = {"call", "rmw", "cas"}


class PackModules(NamedTuple):
    """LLVM assembly of a pack; `cold` is worth less of the compiler's time."""

    hot: str
    cold: str


def pack_modules(arch: Arch, pack: str) -> PackModules:
    """The modules of one pack of an architecture."""
    return _Pack(arch, pack).modules()


class _Pack:
    """Collects what a pack consists of."""

    def __init__(self, arch: Arch, name: str) -> None:
        self._arch = arch
        self._name = name
        self._layout = ThreadedLayout(arch)
        self._variants = Variants(arch)
        variants = self._variants.of(name)
        shortest = min(length for _, length in variants)
        self._short = {insn for insn, length in variants if length == shortest}
        self._declares: set[str] = set()
        self._known = hand_written(arch, self._layout)

    def modules(self) -> PackModules:
        table = PackTable(self._arch, self._name, self._variants)
        hot: list[str] = [table.text()]
        cold: list[str] = []
        if self._name == CORE_PACK:
            hot += hand_written_texts(self._arch, self._layout)
            hot.append(DecoderTables(self._arch, self._variants).text(self._layout))
        for handler in table.handlers:
            fast, slow = self._handler(handler)
            (cold if self._is_cold(handler) else hot).append(fast)
            cold += [slow] if slow else []
        for routine in self._routines():
            writer = RoutineWriter(routine, self._arch, self._layout)
            (hot if self._name == CORE_PACK else cold).append(writer.text())
            self._declares |= writer.declares
        return PackModules(self._module(hot), self._module(cold))

    def _is_cold(self, handler: Handler) -> bool:
        """What runs often runs as baseline code. Until then, most of what runs are the
        instructions that have a short encoding, and jumps."""
        names = {op.name for op in handler.insn.routine.body.walk()}
        usual = handler.insn in self._short or has_static_jump(handler.insn.routine) is not None
        return self._name != CORE_PACK or not usual or bool(names & _COLD)

    def _handler(self, handler: Handler) -> tuple[str, str]:
        """The texts of a handler, and of the one that does without the TLB ("" if none is)."""
        routine = expand_floats(handler.insn.routine)
        for callee in [*routine.callees(), self._arch.routines["trap"]]:
            self._known["r." + callee.name] = declaration(callee)
        texts = ["", ""]
        for slow in (False, True):
            where = places(handler.insn)
            arch, layout, length = self._arch, self._layout, handler.length
            writer = HandlerWriter(
                handler.name, routine, arch, layout, where, length, handler.local, slow
            )
            if slow and not writer.has_slow:
                continue
            texts[slow] = writer.text()
            self._declares |= writer.declares
            name = f"{'s' if slow else 'h'}.{handler.name}"
            self._known[name] = f'declare dso_local preserve_nonecc i64 @"{name}"(ptr, ptr, i64)'
        return texts[0], texts[1]

    def _routines(self) -> list[Routine]:
        """The routines that are this pack's to define."""
        before: dict[int, Routine] = {}
        for name in self._arch.packs[: self._arch.packs.index(self._name)]:
            self._collect(name, before)
        found: dict[int, Routine] = {}
        self._collect(self._name, found)
        _check_names([*before.values(), *found.values()])
        for routine in [*before.values(), *found.values()]:
            self._known["r." + routine.name] = declaration(routine)
        return [routine for key, routine in found.items() if key not in before]

    def _collect(self, pack: str, found: dict[int, Routine]) -> None:
        """A pack's routines, those of other packs among them."""
        if pack == CORE_PACK:
            for name, routine in self._arch.routines.items():
                if routine.name != name:
                    text = f"the routine {name} of {self._arch.name} calls itself {routine.name}"
                    raise ValueError(text)
                _reach(expand_floats(routine), found)
        for insn, _ in self._variants.of(pack):
            for callee in expand_floats(insn.routine).callees():
                _reach(callee, found)

    def _module(self, parts: list[str]) -> str:
        """One module: the parts, and declarations of what they use and do not define."""
        text = "\n".join(parts)
        defined = {name for _, _, name, _ in _DEFINE.findall(text)}
        defined |= {m[1] for m in re.finditer(r'^define .*?@"([^"]+)"', text, re.MULTILINE)}
        used = {quoted or plain for quoted, plain in _NAME.findall(text)}
        declared = [self._known[n] for n in sorted((used - defined) & self._known.keys())]
        return "\n".join([HEAD, *sorted(self._declares), *declared, text]) + "\n"


PARTS = (
    boundary,
    fetch,
    memory,
    region,
    tlb,
    flushes,
    remote,
    waits,
    baseline,
    listing,
    cells,
    registers,
    code,
)


def hand_written_texts(arch: Arch, layout: ThreadedLayout) -> list[str]:
    """The runtime's functions that are not made from the instruction set."""
    flags = 8 * arch.layout.index.get(arch.flags_slot, 0)
    parts = [part(arch, layout) for part in PARTS]
    return [hostfloat.text(layout.at, flags), *parts]


def hand_written(arch: Arch, layout: ThreadedLayout) -> dict[str, str]:
    """Declarations of those functions, by name."""
    found = {}
    for _, kind, name, parameters in _DEFINE.findall("".join(hand_written_texts(arch, layout))):
        types = ", ".join(p.split(" %")[0] for p in parameters.split(", "))
        found[name] = f"declare dso_local {kind}@{name}({types})"
    return found


def declaration(routine: Routine) -> str:
    """The declaration of a shared routine."""
    parameters = "".join(f", i{p.width}" for p in routine.params)
    return f"declare dso_local {result_type(routine)} {symbol(routine)}(ptr{parameters})"


def _reach(routine: Routine, found: dict[int, Routine]) -> None:
    if id(routine) not in found:
        found[id(routine)] = routine
        for callee in routine.callees():
            _reach(callee, found)


def _check_names(routines: Iterable[Routine]) -> None:
    names: dict[str, int] = {}
    for routine in routines:
        if names.setdefault(routine.name, id(routine)) != id(routine):
            raise ValueError(f"two routines are called {routine.name}")
