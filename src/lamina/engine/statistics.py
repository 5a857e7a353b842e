"""What engines count while guests run, as plain numbers to be added up.

An engine answers `statistics()` for its vCPU, the machine adds them up (`Machine.statistics`).
What is counted in compiled code is counted on slow paths only (`engine.threaded.layout`); shares
of time come from the samples that the optimising engine takes anyhow. All numbers are since the
engine was made, and only approximate while it runs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, kw_only=True)
class RegionStatistics:
    """The compiled regions of the process, which all vCPUs and machines in it share."""

    compiled: int = 0  # by this process's compiler
    from_disk: int = 0
    refused: int = 0  # what could not be compiled, or found no room
    given_up: int = 0  # how often all regions were, because code memory was full
    instructions: int = 0  # in those compiled now
    code_bytes: int = 0  # of host code, those from disk too
    compile_seconds: float = 0.0  # of CPU time, that took


@dataclass(frozen=True, kw_only=True)
class EngineStatistics:
    """One vCPU's numbers, or the sum of several."""

    instructions: int = 0  # retired
    cpu_seconds: float = 0.0  # of the vCPU's thread; the machine fills it in

    compiled_samples: int = 0  # found where a compiled region begins
    baseline_samples: int = 0  # found where baseline code is entered
    threaded_samples: int = 0  # found elsewhere
    sample_seconds: float = 0.0  # of the thread, in looking at samples: forming, linking regions

    code_pages: int = 0  # made
    baseline_instructions: int = 0  # in these blocks
    baseline_blocks: int = 0  # compiled by the baseline compiler
    changed_pages: int = 0  # found different from memory, and decoded anew
    data_misses: int = 0  # data translations entered into the TLB
    fetch_misses: int = 0  # those of code
    shared_fetches: int = 0  # those of code taken over from what all address spaces have
    full_flushes: int = 0  # of the TLB
    code_flushes: int = 0  # fences of instructions
    space_flushes: int = 0  # of an address space
    page_flushes: int = 0
    space_changes: int = 0  # of the address space in force

    exceptions: int = 0
    interrupts: int = 0
    boundaries: int = 0  # where guest code was interrupted to look at something
    waits: int = 0  # for interrupts, in compiled code
    posts: int = 0  # interrupts for vCPUs sent by compiled code
    exits: dict[str, int] = field(default_factory=dict)  # out of compiled code, by reason

    device_reads: int = 0
    device_writes: int = 0
    device_seconds: float = 0.0  # of the thread, in devices' Python code

    regions: RegionStatistics = field(default_factory=RegionStatistics)

    @property
    def samples(self) -> int:
        """How often it was looked where the vCPU is."""
        return self.compiled_samples + self.baseline_samples + self.threaded_samples

    @property
    def instructions_per_second(self) -> float:
        """Retired in a second of the vCPUs' threads; 0 if they have not run."""
        return self.instructions / self.cpu_seconds if self.cpu_seconds > 0 else 0.0


def total(parts: Iterable[EngineStatistics]) -> EngineStatistics:
    """The sum over the vCPUs of a machine. Regions are the process's, and counted once."""
    known = list(parts)
    numbers = [f.name for f in fields(EngineStatistics) if f.name not in ("exits", "regions")]
    return EngineStatistics(
        **{name: sum(getattr(part, name) for part in known) for name in numbers},
        exits=dict(sum((Counter(part.exits) for part in known), start=Counter())),
        regions=known[0].regions if known else RegionStatistics(),
    )
