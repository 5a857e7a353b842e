"""The whole runtime of the threaded engine as one LLVM module."""

from lamina.engine.threaded import hostfloat
from lamina.engine.threaded.decoder import DecoderTables, places
from lamina.engine.threaded.fetch_ir import fetch
from lamina.engine.threaded.flush_ir import flushes
from lamina.engine.threaded.functions import RoutineWriter
from lamina.engine.threaded.handlers import HandlerWriter
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.memory_ir import memory
from lamina.engine.threaded.region_ir import region
from lamina.engine.threaded.remote_ir import remote
from lamina.engine.threaded.runtime_ir import HEAD, boundary
from lamina.engine.threaded.state_ir import state
from lamina.engine.threaded.tlb_ir import tlb
from lamina.ir.graph import Routine
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import Arch


def runtime_text(arch: Arch) -> str:
    """LLVM assembly of dispatch, routines, decoder and every handler of an architecture."""
    layout = ThreadedLayout(arch)
    decoder = DecoderTables(arch)
    floats = hostfloat.text(layout.at, 8 * arch.layout.index.get(arch.flags_slot, 0))
    parts = [
        HEAD,
        floats,
        boundary(arch, layout),
        fetch(arch, layout),
        memory(arch, layout),
        region(arch, layout),
        tlb(arch, layout),
        flushes(arch, layout),
        remote(arch, layout),
        state(arch, layout),
        decoder.text(),
    ]
    declares: set[str] = set()
    routines: dict[int, Routine] = {}
    for name, routine in arch.routines.items():
        if routine.name != name:
            raise ValueError(f"the routine {name} of {arch.name} calls itself {routine.name}")
        _collect(expand_floats(routine), routines)
    for handler in decoder.handlers:
        routine = expand_floats(handler.insn.routine)
        for callee in routine.callees():
            _collect(callee, routines)
        for slow in (False, True):
            h = HandlerWriter(
                handler.name,
                routine,
                arch,
                layout,
                places(handler.insn),
                handler.length,
                handler.local,
                slow,
            )
            if slow and not h.has_slow:
                continue
            parts.append(h.text())
            declares |= h.declares
    _check_names(routines)
    for routine in routines.values():
        r = RoutineWriter(routine, arch, layout)
        parts.append(r.text())
        declares |= r.declares
    return "\n".join([*sorted(declares), *parts]) + "\n"


def _collect(routine: Routine, found: dict[int, Routine]) -> None:
    if id(routine) not in found:
        found[id(routine)] = routine
        for callee in routine.callees():
            _collect(callee, found)


def _check_names(routines: dict[int, Routine]) -> None:
    names: set[str] = set()
    for routine in routines.values():
        if routine.name in names:
            raise ValueError(f"two routines are called {routine.name}")
        names.add(routine.name)
