"""The threaded engine for tests: baseline code is made wherever it can be, nothing by chance.

The vCPU looks where it is at every jump, and compiles what has run there: code that runs for the
second time is baseline code, up to what has no stencil. Deterministic; not slow, but far from fast.
"""

from lamina.engine.threaded.engine import ThreadedEngine


class EagerBaselineEngine(ThreadedEngine):
    """Looks at every jump, whatever period is asked for."""

    name = "baseline-eager"

    def set_baseline(self, period: int | None) -> None:
        super().set_baseline(1)

    def run_for(self, budget: int) -> int:
        """Run to the first boundary behind so many instructions; the runtime's exit code."""
        return int(self._runtime.run_fast(self.vcpu.address, budget))

    def compile_here(self) -> None:
        """The vCPU does it by itself."""
