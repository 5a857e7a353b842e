"""`--stats`: the numbers of a run as a table on standard error. `engine/statistics.py` has them.

Called by `launch.py` when a run has ended. Owns nothing.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

from lamina.base.units import approximate_size
from lamina.cli.columns import aligned
from lamina.engine.statistics import EngineStatistics, RegionStatistics


class Row(NamedTuple):
    """One line of the table; `title` is empty where the one above goes on."""

    title: str
    name: str
    value: str
    note: str = ""


def rows(seen: EngineStatistics) -> list[Row]:
    """The table's lines: what there is nothing to say of is left out."""
    lines = [*_work(seen), *_tiers(seen), *_regions(seen.regions), *_code(seen), *_events(seen)]
    titles: set[str] = set()
    shown = []
    for line in lines:
        shown.append(line._replace(title="" if line.title in titles else line.title))
        titles.add(line.title)
    return shown


def print_statistics(seen: EngineStatistics) -> None:
    """The table, on standard error."""
    print("\n".join(aligned(rows(seen), right={2})), file=sys.stderr)


def _work(seen: EngineStatistics) -> Iterator[Row]:
    yield Row("guest", "instructions retired", f"{seen.instructions:,}")
    if seen.cpu_seconds > 0:
        yield Row("guest", "CPU time of vCPUs", _seconds(seen.cpu_seconds))
        speed = seen.instructions_per_second / 1e6
        yield Row("guest", "speed", f"{speed:,.0f} MIPS", "a CPU-second of the vCPUs")


def _tiers(seen: EngineStatistics) -> Iterator[Row]:
    if not seen.samples:
        return
    for name, samples in (
        ("compiled regions", seen.compiled_samples),
        ("baseline code", seen.baseline_samples),
        ("threaded", seen.threaded_samples),
    ):
        yield Row("time by tier", name, _share(samples, seen.samples), f"{samples:,} samples")
    note = _part(seen.sample_seconds, seen.cpu_seconds)
    yield Row("time by tier", "looking at samples", _seconds(seen.sample_seconds), note)


def _regions(regions: RegionStatistics) -> Iterator[Row]:
    if regions == RegionStatistics():
        return
    note = f"{regions.instructions:,} instructions, {_seconds(regions.compile_seconds)}"
    yield Row("regions", "compiled now", f"{regions.compiled:,}", note)
    yield Row("regions", "from the cache on disk", f"{regions.from_disk:,}")
    yield Row("regions", "refused", f"{regions.refused:,}")
    if regions.given_up:
        yield Row("regions", "all given up", f"{regions.given_up:,} times")
    yield Row("regions", "host code", approximate_size(regions.code_bytes))


def _code(seen: EngineStatistics) -> Iterator[Row]:
    if not seen.code_pages:
        return
    yield Row("code pages", "made", f"{seen.code_pages:,}")
    yield Row("code pages", "changed, decoded anew", f"{seen.changed_pages:,}")
    note = f"{seen.baseline_instructions:,} instructions"
    yield Row("code pages", "baseline blocks made", f"{seen.baseline_blocks:,}", note)
    yield Row("TLB", "misses, data", f"{seen.data_misses:,}")
    yield Row("TLB", "misses, code", f"{seen.fetch_misses:,}")
    yield Row("TLB", "code all spaces have", f"{seen.shared_fetches:,}")
    yield Row("TLB", "flushes, all", f"{seen.full_flushes:,}")
    yield Row("TLB", "flushes, address space", f"{seen.space_flushes:,}")
    yield Row("TLB", "flushes, page", f"{seen.page_flushes:,}")
    yield Row("TLB", "flushes, code", f"{seen.code_flushes:,}")
    yield Row("TLB", "changes of address space", f"{seen.space_changes:,}")


def _events(seen: EngineStatistics) -> Iterator[Row]:
    if not seen.boundaries:
        return
    yield Row("traps", "exceptions", f"{seen.exceptions:,}")
    yield Row("traps", "interrupts", f"{seen.interrupts:,}")
    yield Row("traps", "boundaries looked at", f"{seen.boundaries:,}")
    yield Row("traps", "waits for interrupts", f"{seen.waits:,}")
    yield Row("traps", "interrupts for vCPUs", f"{seen.posts:,}")
    for reason, count in sorted(seen.exits.items(), key=lambda item: -item[1]):
        yield Row("exits", reason.lower().replace("_", " "), f"{count:,}")
    yield Row("devices", "register reads", f"{seen.device_reads:,}")
    yield Row("devices", "register writes", f"{seen.device_writes:,}")
    note = _part(seen.device_seconds, seen.cpu_seconds)
    yield Row("devices", "time in them", _seconds(seen.device_seconds), note)


def _seconds(value: float) -> str:
    return f"{value:.3f} s"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"


def _part(part: float, whole: float) -> str:
    return f"{_share(part, whole)} of the vCPUs' time" if whole > 0 else ""
