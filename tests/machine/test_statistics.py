"""What a machine counts while a guest runs."""

import pytest

from lamina.base.errors import ConfigError
from lamina.cli.profile import names_of
from lamina.debug.profile import Profile
from lamina.engine.threaded.sampler import STEADY, Sample
from lamina.machine.boards import virt
from lamina.testing.guests import PASS

from .conftest import Build

TRAPS, FENCES, CODE_FENCES = 7, 5, 3

GUEST = f"""
        la t0, handler
        csrw mtvec, t0
        li s0, {TRAPS}
again:  ecall
        addi s0, s0, -1
        bnez s0, again
        li s0, {FENCES}
flush:  sfence.vma
        addi s0, s0, -1
        bnez s0, flush
        li s0, {CODE_FENCES}
fetch:  fence.i
        addi s0, s0, -1
        bnez s0, fetch
        li t0, FINISHER
        lw t1, 0(t0)
        li t1, {PASS}
        sw t1, 0(t0)
stop:   j stop
handler:
        csrr t0, mepc
        addi t0, t0, 4
        csrw mepc, t0
        mret
"""

LOOP = """
        li s0, {turns}
loop:   addi s0, s0, -1
        mul s1, s1, s0
        add s2, s2, s1
        bnez s0, loop
        li t0, FINISHER
        li t1, {code}
        sw t1, 0(t0)
stop:   j stop
"""


def test_events_are_counted(build: Build, engine: str) -> None:
    machine = build(GUEST)
    before = machine.statistics()
    assert machine.run(timeout=60).reason == "poweroff"
    seen = machine.statistics()
    assert seen.instructions == machine.icount
    assert seen.cpu_seconds > before.cpu_seconds == 0
    if engine == "reference":
        return
    assert seen.exceptions - before.exceptions == TRAPS
    assert seen.full_flushes - before.full_flushes >= FENCES
    assert seen.code_flushes - before.code_flushes == CODE_FENCES
    assert (seen.device_reads, seen.device_writes) == (1, 1)
    assert seen.device_seconds > 0
    assert seen.code_pages > 0
    assert seen.fetch_misses >= seen.code_pages
    assert seen.exits["REQUEST"] >= 1


def test_samples_tell_where_the_guest_is(build: Build, engine: str) -> None:
    machine = build(LOOP.format(turns=60_000_000, code=PASS))
    driven = machine.runners[0].engine
    samples: list[Sample] = []
    if engine == "reference":
        with pytest.raises(ConfigError, match="takes no samples"):
            driven.observe(samples.append)
        return
    driven.observe(samples.append)
    start = virt.DRAM
    assert machine.run(timeout=60).reason == "poweroff"
    assert len(samples) > 5
    in_loop = [s for s in samples if start <= s.pc < start + 64]
    assert len(in_loop) > len(samples) // 2
    code = machine.space.read(start, 4096)
    assert in_loop[-1].page == code
    seen = machine.statistics()
    if engine == "jit":
        # Of samples that somebody counts, the engine itself looks at one in STEADY.
        assert seen.samples >= len(samples) // STEADY - 1
        assert seen.compiled_samples >= sum(s.region is not None for s in samples) // STEADY - 1
        assert seen.sample_seconds > 0
    else:
        assert seen.samples == 0


def test_profile_finds_the_loop_that_takes_the_time(build: Build, engine: str) -> None:
    if engine == "reference":
        return
    machine = build(LOOP.format(turns=60_000_000, code=PASS))
    profile = Profile(machine)
    profile.watch()
    profile.start()
    assert machine.run(timeout=60).reason == "poweroff"
    profile.stop()
    hottest = profile.functions(names_of(machine))[0]
    assert hottest.name == f"page {virt.DRAM:#x}"
    assert hottest.privilege == "machine"
    assert hottest.samples > profile.samples // 2
    assert hottest.where.split(": ")[1].startswith(("addi s0", "mul", "add ", "bne", "c."))
