"""Random programs on our engines: a side for `engine.lockstep` from an image."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from lamina.bus.space import AddressSpace
from lamina.engine.code.store import CodeStore
from lamina.engine.jit import service as jit
from lamina.engine.jit.heat import Heat
from lamina.engine.jit.library import RegionLibrary
from lamina.engine.lockstep import Engine, Side
from lamina.isa.arch import Arch
from lamina.isa.disasm import Disassembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect
from lamina.testing import random_layout as at
from lamina.testing.random_programs import RAM_SIZE, Image

MakeEngine = Callable[[Arch, int, AddressSpace], Engine]
BUDGET = 400_000  # far more than a program needs


def side(engine: MakeEngine, image: Image) -> Side:
    """An engine at the start of a program, with deterministic time."""
    space = AddressSpace()
    space.add_ram(at.BASE, RAM_SIZE, "ram")
    image.load(space)
    made = engine(RISCV64, 0, space)
    made.vcpu.reset(pc=at.BASE)
    made.set_time(offset=0, divisor=100, deterministic=True)
    made.state_changed()
    return Side(made, space)


@contextmanager
def nothing_compiled(alone: bool = False) -> Iterator[None]:
    """Optimising engines that run here know nothing of what was compiled before: so what they
    do depends on the program only, and all that they form has to compile. `alone`: they compile as
    for a machine of one vCPU."""
    with tempfile.TemporaryDirectory() as folder:
        store = CodeStore(Path(folder), 1 << 24)
        resolve = jit.runtime(RISCV64).resolve
        library = RegionLibrary(jit.code_version(RISCV64), resolve, store)
        service = jit.CompilerService(RISCV64, library, Heat(Path(folder) / "heat"), alone)
        with mock.patch.object(jit, "compiler_service", lambda arch, alone: service):
            yield
        store.close()
        found = service.statistics()
        assert found.given_up or not found.refused, "a region does not compile"


def disassemble(pc: int, bits: int) -> str:
    text = Disassembler(RISCV64.table, dialect()).text
    return text(bits, RISCV64.insn_length(bits), pc)


def memory(engine: MakeEngine, image: Image) -> dict[int, bytes]:
    """What a program leaves behind, as `lamina.testing.foreign` gives it."""
    s = side(engine, image)
    try:
        s.engine.run(BUDGET)
        assert s.engine.vcpu.pc == image.symbols["stop"] + 4, "the program did not end"
        return {gpa: s.space.read(gpa, size) for gpa, size in at.COMPARED}
    finally:
        s.close()
