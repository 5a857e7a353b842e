"""Several harts at once: atomics are exact, interrupts between harts arrive, fences reach all."""

import pytest

from lamina.machine import Outcome
from lamina.testing import guests

from .conftest import Build

ROUNDS = 2000

# Every hart does its rounds, then counts itself in at `done`; hart 0 waits for all and reports.
FRAME = """
    csrr a0, mhartid; la s0, counter; la s1, done; li s2, {rounds}; li s3, 1; la s4, lock
1:  {body}
    addi s2, s2, -1; bnez s2, 1b
    amoadd.d.aqrl zero, s3, (s1)
    bnez a0, park
    li s5, {harts}
2:  ld t0, 0(s1); bne t0, s5, 2b
    {finish}
park: wfi; j park
    .balign 64
counter: .dword 0
    .balign 64
done: .dword 0
    .balign 64
lock: .dword 0
"""
BODIES = {
    "amoadd.d": "amoadd.d zero, s3, (s0)",
    "amoadd.w": "amoadd.w t0, s3, (s0)",
    "lr.d sc.d": "3: lr.d t0, (s0); addi t0, t0, 1; sc.d t1, t0, (s0); bnez t1, 3b",
    "lr.w sc.w": "3: lr.w.aq t0, (s0); addi t0, t0, 1; sc.w.rl t1, t0, (s0); bnez t1, 3b",
    "amocas.d": "3: ld t0, 0(s0); addi t1, t0, 1; mv t2, t0; amocas.d t2, t1, (s0); bne t2, t0, 3b",
    "spin lock": "3: amoswap.w.aq t0, s3, (s4); bnez t0, 3b; ld t1, 0(s0); addi t1, t1, 1\n"
    "sd t1, 0(s0); amoswap.w.rl zero, zero, (s4)",
}


@pytest.mark.parametrize("harts", [2, 4])
@pytest.mark.parametrize("body", BODIES)
def test_counters_of_several_harts_are_exact(
    build: Build, engine: str, body: str, harts: int
) -> None:
    rounds = ROUNDS if engine == "threaded" else 150
    source = FRAME.format(body=BODIES[body], rounds=rounds, harts=harts, finish=guests.finish())
    m = build(source, cpus=harts)
    counter = guests.assemble(source).symbols["counter"]
    assert m.run(timeout=60) == Outcome("poweroff")
    assert m.memory.read_u64(counter) == harts * rounds


@pytest.mark.parametrize("kind", ["and", "or", "xor", "min", "max", "minu", "maxu", "swap"])
def test_amo_kinds_lose_no_bit_of_another_hart(build: Build, kind: str) -> None:
    """Each hart works on its own byte of a shared word by kinds that leave the others alone."""
    if kind in ("min", "max", "minu", "maxu", "swap"):
        body = f"amo{kind}.d t0, s2, (s0); amoadd.d zero, s3, (s4)"
    else:
        value = {"and": "not t2, t1", "or": "mv t2, t1", "xor": "mv t2, t1"}[kind]
        body = f"slli t3, a0, 3; li t1, 1; sll t1, t1, t3; {value}; amo{kind}.d t0, t2, (s0)\n"
        body += "amoadd.d zero, s3, (s4)"
    source = FRAME.format(body=body, rounds=100, harts=2, finish=guests.finish())
    m = build(source, cpus=2)
    symbols = guests.assemble(source).symbols
    assert m.run(timeout=60) == Outcome("poweroff")
    assert m.memory.read_u64(symbols["lock"]) == 200
    want = {"and": 0, "or": 0x101, "xor": 0}.get(kind)
    if want is not None:
        assert m.memory.read_u64(symbols["counter"]) == want


def test_an_ipi_wakes_a_hart_from_wfi_and_is_answered(build: Build) -> None:
    """Hart 0 and hart 1 throw a software interrupt to and fro through the CLINT."""
    source = f"""
    csrr a0, mhartid; li s0, CLINT; slli t0, a0, 2; add s1, s0, t0; xori t1, a0, 1; slli t1, t1, 2
    add s2, s0, t1; li s3, 200; li t0, MSIP; csrw mie, t0; li s4, 1
    bnez a0, 2f
1:  sw s4, 0(s2)
2:  wfi; lw t0, 0(s1); beqz t0, 2b
    sw zero, 0(s1); addi s3, s3, -1
    beqz s3, out
    j 1b
out: bnez a0, 3f
    {guests.finish()}
3:  sw s4, 0(s2)
4:  wfi; j 4b
    """
    assert build(source, cpus=2).run(timeout=60) == Outcome("poweroff")


def test_an_sbi_ipi_interrupts_a_busy_hart(build: Build) -> None:
    source = f"""
    bnez a0, second
    li a0, 1; la a1, second; li a2, 0; li a6, 0; li a7, 0x48534d; ecall
    la s0, ready
1:  ld t0, 0(s0); beqz t0, 1b
    li a0, 1; li a1, 1; li a6, 0; li a7, 0x735049; ecall
2:  ld t0, 8(s0); beqz t0, 2b
    {guests.finish(9)}
second:
    {guests.vector("trap", "stvec")}
    li t0, SSIP; csrw sie, t0; csrsi sstatus, 2; li t1, 1; la s0, ready; sd t1, 0(s0)
3:  j 3b
    .balign 4
trap: csrr t2, scause; li t3, 0x8000000000000001; bne t2, t3, 4f; sd t1, 8(s0)
    csrw sip, zero; 4: sret
    .balign 8
ready: .dword 0, 0
    """
    assert build(source, cpus=2, firmware="none").run(timeout=60) == Outcome("fail", 9)


def test_a_remote_fence_makes_another_hart_see_new_code(build: Build) -> None:
    """Hart 1 calls `code` for ever; hart 0 rewrites it, fences by the SBI, and waits until what
    hart 1 reports is what was written. Fifty times."""
    source = f"""
    bnez a0, second
    li a0, 1; la a1, second; li a2, 0; li a6, 0; li a7, 0x48534d; ecall
    la s0, code; la s1, result; li s2, 0; li s3, 50; lw s4, 0(s0)
1:  addi s2, s2, 1; slli t0, s2, 20; add t0, s4, t0; sw t0, 0(s0); fence rw, rw
    li a0, 2; li a1, 0; li a6, 0; li a7, 0x52464e43; ecall
    bnez a0, bad
2:  ld t0, 0(s1); bne t0, s2, 2b
    bne s2, s3, 1b
    {guests.finish(5)}
bad: {guests.finish(6)}
second: la s1, result
3:  call code; sd a0, 0(s1); j 3b
    .balign 4096
code: addi a0, zero, 0; ret
    .balign 4096
result: .dword 0
    """
    assert build(source, cpus=2, firmware="none").run(timeout=60) == Outcome("fail", 5)


def test_a_store_is_seen_by_a_hart_that_polls(build: Build) -> None:
    source = f"""
    csrr a0, mhartid; la s0, flags; li s1, 50; li s2, 0; bnez a0, second
1:  addi s2, s2, 1; sd s2, 0(s0); fence rw, rw
2:  ld t0, 8(s0); bne t0, s2, 2b
    bne s2, s1, 1b
    {guests.finish(3)}
second: addi s2, s2, 1
3:  ld t0, 0(s0); bne t0, s2, 3b
    sd s2, 8(s0); j second
    .balign 8
flags: .dword 0, 0
    """
    assert build(source, cpus=2).run(timeout=60) == Outcome("fail", 3)


def test_stopped_hart_keeps_its_interrupt_line_when_it_is_started_again(build: Build) -> None:
    """A line that a device holds up while the hart is stopped is still up after its start."""
    source = """
    bnez a0, second
    1: wfi; j 1b
    second: wfi
    """
    m = build(source, cpus=2, firmware="none")
    m.runners[1].set_irq(9, True)
    m.firmware.restart(1, 0x8000_0000, 1, 0)
    assert m.cpus[1].get("irq") == 1 << 9


def test_a_reset_forgets_interrupts_that_were_on_their_way(build: Build) -> None:
    m = build("1: j 1b", firmware="none")
    m.runners[0].raise_soft(2)
    m.reset()
    m.run(max_instructions=10, timeout=30)
    assert m.regs["mip_soft"] == 0


@pytest.mark.parametrize("harts", [1, 2, 16])
def test_every_hart_starts_with_its_number(build: Build, harts: int) -> None:
    source = f"""
    csrr a0, mhartid; la s0, seen; li t0, 1; sll t0, t0, a0; amoor.w zero, t0, (s0)
    bnez a0, park; li t1, {(1 << harts) - 1}
1:  lw t0, 0(s0); bne t0, t1, 1b
    {guests.finish(11)}
park: wfi; j park
    .balign 8
seen: .dword 0
    """
    assert build(source, cpus=harts).run(timeout=60) == Outcome("fail", 11)


START = "li a6, 0; li a7, 0x48534d; ecall"


def test_a_hart_is_stopped_and_started_again_and_again(build: Build) -> None:
    """Hart 1 counts and stops itself; hart 0 waits for that and starts it again."""
    source = f"""
    bnez a0, second
    li s0, 100
1:  li a0, 1; la a1, second; mv a2, s0; {START}
    bnez a0, bad
2:  li a0, 1; li a6, 2; li a7, 0x48534d; ecall
    li t0, 1; bne a1, t0, 2b
    addi s0, s0, -1; bnez s0, 1b
    la t0, count; ld a0, 0(t0)
    {guests.finish_with("a0")}
bad: {guests.finish(999)}
second: la t0, count; ld t1, 0(t0); addi t1, t1, 1; sd t1, 0(t0)
    li a6, 1; li a7, 0x48534d; ecall
    {guests.finish(998)}
    .balign 8
count: .dword 0
    """
    assert build(source, cpus=2, firmware="none").run(timeout=60) == Outcome("fail", 100)


def test_harts_that_fence_and_interrupt_one_another_do_not_lock_up(build: Build) -> None:
    """Three harts, each with remote fences and IPIs to all of them at once."""
    source = f"""
    bnez a0, work
    li a0, 1; la a1, work; li a2, 0; {START}
    li a0, 2; la a1, work; li a2, 0; {START}
    li a0, 0
work: mv s1, a0; li s0, 100; la s2, done; li s3, 1
1:  li a0, 0; li a1, -1; li a2, 0; li a3, -1; li a6, 1; li a7, 0x52464e43; ecall
    bnez a0, bad
    li a0, 0; li a1, -1; li a6, 0; li a7, 0x52464e43; ecall
    li a0, 0; li a1, -1; li a6, 0; li a7, 0x735049; ecall
    bnez a0, bad
    addi s0, s0, -1; bnez s0, 1b
    amoadd.d zero, s3, (s2)
    bnez s1, park
    li t0, 3
2:  ld t1, 0(s2); bne t0, t1, 2b
    {guests.finish(12)}
bad: {guests.finish(999)}
park: wfi; j park
    .balign 8
done: .dword 0
    """
    assert build(source, cpus=3, firmware="none").run(timeout=60) == Outcome("fail", 12)
