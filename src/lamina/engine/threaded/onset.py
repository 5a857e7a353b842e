"""When looking for hot code begins to pay.

A machine boots first, and what runs then runs once: samples and regions cost Debian's boot a
quarter of a second of CPU time, and gain it nothing. So a vCPU is not sampled before its machine
has retired as many instructions as a boot, or before it stays in one page for long: a program that
computes from its first moment. A machine that goes on from a saved state has booted. Called by the
sampler's thread; one object for an engine.
"""

from collections import deque

from lamina.base.bits import PAGE_SHIFT

BOOT_INSTRUCTIONS = 1_500_000_000  # of all vCPUs: Debian's kernel, with its self-tests, has 1.25e9
LOOK_SECONDS = 0.02
LOOKS, HOT = 16, 10  # the last looks at where the vCPU is, and how many in one page make it hot


class Onset:
    """What was seen of a vCPU so far. `past`: it is time."""

    def __init__(self) -> None:
        self.past = False
        self._pages: deque[int] = deque(maxlen=LOOKS)
        self._seconds = 0.0  # since the last look

    def look(self, seconds: float, pc: int, retired: int) -> None:
        """`seconds` after the last call it is at a guest-virtual address; its machine has retired
        so many instructions."""
        self._seconds += seconds
        if self._seconds < LOOK_SECONDS:
            return
        self._seconds = 0.0
        page = pc >> PAGE_SHIFT
        self._pages.append(page)
        self.past |= retired >= BOOT_INSTRUCTIONS or self._pages.count(page) >= HOT
