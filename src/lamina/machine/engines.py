"""The engines by name. Only the one that a machine is made with is imported."""

from collections.abc import Callable
from importlib import import_module

from lamina.bus.space import AddressSpace
from lamina.engine.contract import Engine, EngineMaker
from lamina.isa.arch import Arch


def _when_used(module: str, name: str) -> EngineMaker:
    """An engine that is imported when a machine is made with it."""

    def make(
        arch: Arch, index: int, space: AddressSpace, on_notify: Callable[[str, int], None]
    ) -> Engine:
        engine: Engine = getattr(import_module(module), name)(arch, index, space, on_notify)
        return engine

    return make


# Those called eager are for tests.
ENGINES: dict[str, EngineMaker] = {
    "jit": _when_used("lamina.engine.jit.engine", "JitEngine"),
    "jit-eager": _when_used("lamina.engine.jit.eager", "EagerJitEngine"),
    "threaded": _when_used("lamina.engine.threaded.engine", "ThreadedEngine"),
    "baseline-eager": _when_used("lamina.engine.threaded.eager", "EagerBaselineEngine"),
    "reference": _when_used("lamina.engine.reference.engine", "ReferenceEngine"),
}
