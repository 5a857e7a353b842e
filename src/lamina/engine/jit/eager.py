"""The optimising engine for tests: everything is compiled at its first run, nothing by chance.

Every jump target is looked at the first time that it is reached, and the vCPU waits until its
region is there: of what ran before, and of the next code that follows. From a place that is
compiled it runs for a while, so that regions come round their loops and meet each other. Slow, and
deterministic.
"""

from itertools import cycle

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.base.exits import Exit
from lamina.engine.jit.engine import JitEngine
from lamina.engine.jit.hotspots import Spot
from lamina.engine.jit.region import PageView
from lamina.engine.threaded.engine import EXACT_MARGIN
from lamina.engine.threaded.layout import SAMPLE
from lamina.engine.threaded.sampler import SAMPLER

# Instructions from a compiled place before the next look, in turn.
WHILES = (25, 1, 400, 25, 60, 1, 3000, 1)
AHEAD = 64  # bytes behind the pc that count as if they had been run


class EagerJitEngine(JitEngine):
    """Compiles at the first sample, and samples at every jump from code that is not compiled."""

    name = "jit-eager"
    eager = True

    def run(self, budget: int) -> Exit:
        end = self.vcpu.icount + budget
        whiles = cycle(WHILES)
        while end - self.vcpu.icount > EXACT_MARGIN:
            # A budget of one ends at the next jump, however long the straight code before it is.
            most = end - self.vcpu.icount - EXACT_MARGIN
            code = self.run_for(
                min(next(whiles), most) if self._leads_into_region(self.vcpu.pc) else 1
            )
            if code not in (Exit.LIMIT, SAMPLE):
                if not self._served(code):
                    return Exit(code)
                continue
            self.compile_here()
        return super().run(end - self.vcpu.icount)

    def run_for(self, budget: int) -> int:
        """Run to the first boundary behind so many instructions; the runtime's exit code."""
        SAMPLER.add(self)
        self.running = True  # so that nobody frees the code that runs
        self._leave_old_regions()
        try:
            return int(self._runtime.run_fast(self.vcpu.address, budget))
        finally:
            self.running = False

    def compile_here(self) -> None:
        """Compile what is at the pc, if it is not compiled yet."""
        self.sample()
        self._compiler.wait()
        self.link_ready()

    def _submit(self, spot: Spot) -> None:
        """Registers are held, and accesses checked and their pages guessed, in all ways."""
        if spot.region is not None:
            length = len(spot.region.members)
            spot.region.stays, spot.region.grouped = length % 2 == 1, length % 4 < 2
            accesses = [o for o, m in spot.region.members.items() if m.touches]
            spot.region.scattered = tuple(accesses[:: length % 3]) if length % 3 else ()
        super()._submit(spot)

    def _view(self, page: int) -> PageView:
        view = super()._view(page)
        pc = self.vcpu.pc
        if page != self._page_of(pc >> PAGE_SHIFT):
            return view
        first = pc % PAGE_SIZE
        return PageView(view.source, lambda o: first <= o < first + AHEAD or view.ran(o))
