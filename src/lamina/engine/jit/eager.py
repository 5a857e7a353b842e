"""The optimising engine for tests: everything is compiled at its first run, nothing by chance.

Every jump target is looked at the first time that it is reached, and the vCPU waits until its
region is there. Slow, and deterministic.
"""

from lamina.base.exits import Exit
from lamina.engine.jit.engine import JitEngine
from lamina.engine.threaded.engine import EXACT_MARGIN
from lamina.engine.threaded.layout import SAMPLE


class EagerJitEngine(JitEngine):
    """Compiles at the first sample, and samples at every jump."""

    name = "jit-eager"
    eager = True

    def run(self, budget: int) -> Exit:
        end = self.vcpu.icount + budget
        while end - self.vcpu.icount > EXACT_MARGIN:
            # A budget of one ends at the next jump, however long the straight code before it is.
            code = self._runtime.run_fast(self.vcpu.address, 1)
            if code not in (Exit.LIMIT, SAMPLE):
                if not self._served(code):
                    return Exit(code)
                continue
            self.sample()
            self._compiler.wait()
            self.link_ready()
        return super().run(end - self.vcpu.icount)
