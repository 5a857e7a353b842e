"""Waits for interrupts: whatever ends one is never missed, on any engine, however close it comes to
the moment at which the hart goes to sleep. A wake-up that is lost leaves these guests asleep for
ever, so each ends by a time limit then.

Harts of paravirtual guests; hart 0 starts the others at `work` with their number in a0.
"""

from pathlib import Path
from typing import Any

import pytest

from lamina.machine import Outcome
from lamina.machine.steal import read_run_delay
from lamina.testing import guests

from .conftest import Build

BAD = f"bad: {guests.finish(99)}"
SEND = "li a1, 0; li a6, 0; li a7, 0x735049; ecall; bnez a0, bad\n"  # a0: mask
RANDOM = "mul s10, s10, s11; addi s10, s10, 1013; srli t0, s10, 40\n"  # t0; s10: seed, s11: odd
COUNTS = ".balign 8\ncounts: .dword 0, 0, 0, 0, 0, 0, 0, 0\n"


def start(harts: int) -> str:
    """Hart 0 starts all others and is one of them."""
    calls = [
        f"li a0, {hart}; la a1, work; li a2, 0; li a6, 0; li a7, 0x48534d; ecall; bnez a0, bad"
        for hart in range(1, harts)
    ]
    return "\n".join([*calls, "li a0, 0\n"])


def rounds(engine: str, count: int) -> int:
    return count if engine != "reference" else max(count // 40, 5)


@pytest.mark.parametrize("harts", [2, 3, 4])
def test_a_token_goes_round(build: Build, engine: str, harts: int) -> None:
    """Each hart sleeps until the one before it interrupts it, and interrupts the next one."""
    count = rounds(engine, 3000)
    source = f"""{start(harts)}
work: mv s0, a0; li t0, 2; csrw sie, t0
    addi t0, s0, 1; li t1, {harts}; bne t0, t1, 1f; li t0, 0
1:  li s1, 1; sll s1, s1, t0; la s2, counts; slli t0, s0, 3; add s2, s2, t0; li s3, {count}
    bnez s0, 2f; mv a0, s1; {SEND}
2:  wfi; csrr t0, sip; andi t0, t0, 2; beqz t0, 2b
    csrci sip, 2; ld t0, 0(s2); addi t0, t0, 1; sd t0, 0(s2)
    bnez s0, 3f; beq t0, s3, out
3:  mv a0, s1; {SEND}
    j 2b
out: {guests.finish()}
{BAD}{COUNTS}"""
    m = build(source, cpus=harts, firmware="none")
    counts = guests.assemble(source).symbols["counts"]
    assert m.run(timeout=120) == Outcome("poweroff")
    assert [m.memory.read_u64(counts + 8 * hart) for hart in range(harts)] == [count] * harts
    seen = m.statistics()
    if engine != "reference":
        assert seen.posts == count * harts and seen.waits > 0
        assert seen.exits["HYPERCALL"] == harts - 1  # the starts


@pytest.mark.parametrize("harts", [2, 4])
def test_interrupts_for_all_at_once(build: Build, engine: str, harts: int) -> None:
    """Each hart writes the number of its round, interrupts all others, and sleeps until all are as
    far. Interrupts melt into one another; the last one must wake."""
    count = rounds(engine, 1500)
    source = f"""{start(harts)}
work: mv s0, a0; li t0, 2; csrw sie, t0; li s3, {count}; la s2, counts; li s4, 0
    slli t0, s0, 3; add s1, s2, t0; li t0, 1; sll t0, t0, s0; xori s5, t0, {(1 << harts) - 1}
1:  addi s4, s4, 1; sd s4, 0(s1); fence rw, rw; mv a0, s5; {SEND}
2:  csrci sip, 2; fence rw, rw; mv t0, s2; li t1, {harts}
3:  ld t2, 0(t0); blt t2, s4, 4f; addi t0, t0, 8; addi t1, t1, -1; bnez t1, 3b
    bne s4, s3, 1b
    bnez s0, park
    {guests.finish()}
4:  wfi; j 2b
park: wfi; j park
{BAD}{COUNTS}"""
    m = build(source, cpus=harts, firmware="none")
    counts = guests.assemble(source).symbols["counts"]
    assert m.run(timeout=120) == Outcome("poweroff")
    assert [m.memory.read_u64(counts + 8 * hart) for hart in range(harts)] == [count] * harts


@pytest.mark.parametrize("noise", [False, True], ids=["alone", "among interrupts"])
@pytest.mark.parametrize("longest", [0x1F, 0x7FF])
@pytest.mark.parametrize("harts", [1, 3])
def test_short_sleeps_end_by_the_timer(
    build: Build, engine: str, harts: int, longest: int, noise: bool
) -> None:
    """Sleeps of up to so many ticks, each ended by the timer and not before it is due, while the
    others interrupt the sleeper at random or not."""
    count = rounds(engine, 1000)
    others = f"andi t1, t0, 1; beqz t1, 3f; li a0, {(1 << harts) - 1}; {SEND}3:" if noise else ""
    source = f"""{start(harts)}
work: li t0, 34; csrw sie, t0; li s1, {count}; li s11, 0x5851f42d4c957f2d; addi s10, a0, 77
1:  {RANDOM} li t1, {longest}; and t1, t0, t1; rdtime t2; add s2, t2, t1; csrw stimecmp, s2
    {others}
2:  csrci sip, 2; wfi; csrr t0, sip; andi t0, t0, 32; beqz t0, 2b
    rdtime t0; bltu t0, s2, bad
    addi s1, s1, -1; bnez s1, 1b
    la t0, counts; li t1, 1; amoadd.d zero, t1, (t0)
    li t1, -1; csrw stimecmp, t1; csrw sie, zero
4:  ld t1, 0(t0); li t2, {harts}; bne t1, t2, 4b
    {guests.finish()}
{BAD}{COUNTS}"""
    assert build(source, cpus=harts, firmware="none").run(timeout=120) == Outcome("poweroff")


@pytest.mark.parametrize("harts", [1, 2])
@pytest.mark.parametrize("way", ["csrw stimecmp, s2", "SBI"])
def test_a_busy_hart_is_interrupted_by_its_timer(
    build: Build, engine: str, harts: int, way: str
) -> None:
    """It computes for ever; each interrupt, never early, sets the next deadline, a close one; each
    fourth time a far one first."""
    count = rounds(engine, 400)
    call = "mv a0, s2; li a6, 0; li a7, 0x54494d45; ecall; bnez a0, bad; bnez a1, bad"
    arm = call if way == "SBI" else way
    source = f"""{start(harts)}
work: {guests.vector("trap", "stvec")}
    li s1, {count}; li s11, 0x5851f42d4c957f2d; addi s10, a0, 99; li t0, 32; csrw sie, t0
    rdtime s2; {arm}
    csrsi sstatus, 2
1:  addi s3, s3, 1; j 1b
    .balign 4
trap: csrr t0, scause; li t1, 0x8000000000000005; bne t0, t1, bad
    rdtime t0; bltu t0, s2, bad
    addi s1, s1, -1; beqz s1, done
    {RANDOM} andi t1, t0, 3; bnez t1, 2f
    rdtime s2; li t1, 100000000; add s2, s2, t1; {arm}
2:  {RANDOM} andi t0, t0, 0x3ff; rdtime s2; add s2, s2, t0; {arm}
    sret
done: la t0, counts; li t1, 1; amoadd.d zero, t1, (t0)
3:  ld t1, 0(t0); li t2, {harts}; bne t1, t2, 3b
    {guests.finish()}
{BAD}{COUNTS}"""
    assert build(source, cpus=harts, firmware="none").run(timeout=120) == Outcome("poweroff")


def test_a_timer_that_is_due_but_not_enabled_ends_no_wait(build: Build, engine: str) -> None:
    """Hart 0 waits for a software interrupt with stimecmp long past; hart 1 sends it later."""
    source = f"""{start(2)}
work: bnez a0, second
    csrw stimecmp, zero; csrwi sie, 2; la s0, counts; li s1, 1; sd s1, 0(s0)
4:  wfi; csrr t0, sip; andi t0, t0, 2; beqz t0, 4b
    {guests.finish()}
second: la s0, counts
1:  ld t0, 0(s0); beqz t0, 1b
    li t0, {100_000 if engine != "reference" else 100}
2:  addi t0, t0, -1; bnez t0, 2b
    li a0, 1; {SEND}
3:  wfi; j 3b
{BAD}{COUNTS}"""
    m = build(source, cpus=2, firmware="none")
    assert m.run(timeout=60) == Outcome("poweroff")
    if engine != "reference":  # there, the machine wakes it once when it is due
        assert m.statistics().waits <= 2  # hart 1's is the second


@pytest.mark.parametrize("by", ["interrupt", "timer"])
@pytest.mark.parametrize("kind", [0, 0x8000_0000], ids=["retentive", "non-retentive"])
def test_a_suspended_hart_is_woken(build: Build, kind: int, by: str) -> None:
    """Hart 1 suspends itself fifty times; it sleeps in the machine, not in the engine."""
    source = f"""{start(2)}
work: li s1, 50; la s0, counts; bnez a0, second
    beqz zero, {"1f" if by == "interrupt" else "3f"}
1:  ld t0, 0(s0); beqz t0, 1b
    sd zero, 0(s0); li a0, 2; {SEND}
    addi s1, s1, -1; bnez s1, 1b
3:  ld t0, 8(s0); beqz t0, 3b
    {guests.finish()}
second: li t0, 34; csrw sie, t0; csrw satp, zero; j 5f
4:  la s0, counts; ld s1, 16(s0); csrci sip, 2; li t0, -1; csrw stimecmp, t0
    addi s1, s1, -1; beqz s1, 7f
5:  sd s1, 16(s0); {"" if by == "interrupt" else "rdtime t0; addi t0, t0, 500; csrw stimecmp, t0"}
    li t0, 1; sd t0, 0(s0)
    li a0, {kind}; la a1, 4b; li a2, 0; li a6, 3; li a7, 0x48534d; ecall
    bnez a0, bad; j 4b
7:  li t0, 1; sd t0, 8(s0)
8:  wfi; j 8b
{BAD}{COUNTS}"""
    assert build(source, cpus=2, firmware="none").run(timeout=60) == Outcome("poweroff")


def test_a_new_time_wakes_whom_it_makes_due(build: Build) -> None:
    """Hart 1 sleeps until a time an hour away; hart 0 sets the clock behind it."""
    source = f"""
    csrr a0, mhartid; li s0, 40000000000; la s2, counts; li s3, 1; bnez a0, second
1:  ld t0, 0(s2); beqz t0, 1b
    li t0, 50000
2:  addi t0, t0, -1; bnez t0, 2b
    li t0, MTIME; sd s0, 0(t0)
3:  ld t0, 8(s2); beqz t0, 3b
    {guests.finish()}
second: li t0, 1; slli t0, t0, 63; csrs menvcfg, t0; csrw stimecmp, s0; li t0, 32; csrw mie, t0
    sd s3, 0(s2)
4:  wfi; csrr t0, mip; andi t0, t0, 32; beqz t0, 4b
    sd s3, 8(s2)
5:  wfi; j 5b
{COUNTS}"""
    assert build(source, cpus=2).run(timeout=60) == Outcome("poweroff")


def test_runs_that_end_while_the_guest_sleeps(build: Build, engine: str) -> None:
    """The run is stopped every two milliseconds, mostly in a sleep; the sleeps go on in the next
    one, and guest time stands still between."""
    count = rounds(engine, 200)
    source = f"""
    li t0, 32; csrw sie, t0; li s1, {count}
1:  rdtime t2; li t1, 5000; add s2, t2, t1; csrw stimecmp, s2
2:  wfi; csrr t0, sip; andi t0, t0, 32; beqz t0, 2b
    rdtime t0; bltu t0, s2, bad
    addi s1, s1, -1; bnez s1, 1b
    {guests.finish()}
{BAD}"""
    m = build(source, cpus=1, firmware="none")
    outcome = Outcome("timeout")
    for _ in range(20_000):
        outcome = m.run(timeout=0.002)
        if outcome != Outcome("timeout"):
            break
    assert outcome == Outcome("poweroff")


@pytest.mark.parametrize("settings", [{}, {"deterministic": True}, {"trace": {"exit"}}])
def test_a_guest_that_sleeps_does_nothing(
    build: Build, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Not even look again and again whether it should still sleep."""
    m = build("1: wfi; j 1b", firmware="none", trace_file=tmp_path / "events", **settings)
    assert m.run(timeout=0.3) == Outcome("timeout")
    assert m.icount < 20


@pytest.mark.parametrize("kind", ["exit", "sbi"])
def test_a_traced_guest_sleeps_and_wakes_likewise(build: Build, tmp_path: Path, kind: str) -> None:
    """A trace has calls and exits come out to the machine: each is told. A vCPU that the host held
    up finds its interrupt there and does not sleep: of 60 sleeps, a busy host leaves a part."""
    source = f"""{start(2)}
work: bnez a0, second; li s1, 20; li t0, 34; csrw sie, t0
1:  rdtime t0; li t1, 10000; add t0, t0, t1; csrw stimecmp, t0
2:  wfi; csrr t0, sip; andi t0, t0, 32; beqz t0, 2b
    li t0, -1; csrw stimecmp, t0; li a0, 2; {SEND}
3:  wfi; csrr t0, sip; andi t0, t0, 2; beqz t0, 3b
    csrci sip, 2; addi s1, s1, -1; bnez s1, 1b
    {guests.finish()}
second: csrwi sie, 2
4:  wfi; csrr t0, sip; andi t0, t0, 2; beqz t0, 4b
    csrci sip, 2; li a0, 1; {SEND}
    j 4b
{BAD}"""
    events = tmp_path / "events"
    m = build(source, cpus=2, firmware="none", trace={kind}, trace_file=events)
    assert m.run(timeout=60) == Outcome("poweroff")
    text = events.read_text()
    assert text.count("IDLE") >= 10 if kind == "exit" else text.count("send_ipi(") == 40


def test_an_interrupt_on_its_way_is_part_of_a_saved_state(build: Build) -> None:
    m = build("1: j 1b", firmware="none")
    m.cpus[0].set("posted", 2)
    state = m.cpus[0].save()
    assert state["mip_soft"] == 2 and m.cpus[0].get("posted") == 0
    m.cpus[0].set("posted", 2)
    m.cpus[0].load(state)
    assert m.cpus[0].get("posted") == 0 and m.cpus[0].get("mip_soft") == 2


def test_a_reset_forgets_interrupts_that_were_posted(build: Build) -> None:
    m = build("1: j 1b", firmware="none")
    m.cpus[0].set("posted", 2)
    m.reset()
    m.run(max_instructions=10, timeout=30)
    assert m.regs["mip_soft"] == 0


@pytest.mark.skipif(read_run_delay() is None, reason="the host tells no thread's run delay")
def test_a_guest_that_never_calls_learns_of_stolen_time(build: Build, engine: str) -> None:
    """It names its memory for that, and then only sets its timer, for 0.1 s: the account is brought
    up to date more than once, and the sequence number left even."""
    source = f"""
    la a0, area; li a1, 0; li a2, 0; li a6, 0; li a7, 0x535441; ecall; bnez a0, bad
    {guests.vector("trap", "stvec")}
    li t0, 32; csrw sie, t0; rdtime s2; csrw stimecmp, s2; csrsi sstatus, 2
    li t0, 1000000; add s3, s2, t0
1:  rdtime t0; bltu t0, s3, 1b
    {guests.finish()}
    .balign 4
trap: li t0, 5000; rdtime s2; add s2, s2, t0; csrw stimecmp, s2; sret
{BAD}
    .balign 64
area: .dword 0, 0, 0, 0, 0, 0, 0, 0
"""
    m = build(source, firmware="none")
    assert m.run(timeout=60) == Outcome("poweroff")
    sequence = m.memory.read_u64(guests.assemble(source).symbols["area"]) & 0xFFFF_FFFF
    assert sequence >= 4 and sequence % 2 == 0
