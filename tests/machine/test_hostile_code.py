"""Guests that attack what compiles them: the memory of the host stays bounded, they get on, and the
machine beside them as well. LAMINA_HOSTILE_SECONDS sets for how long each one runs."""

import os
import threading
from pathlib import Path

import pytest

from lamina.machine import Machine, Outcome
from lamina.testing import guests

SECONDS = float(os.environ.get("LAMINA_HOSTILE_SECONDS", "2"))
MEMORY = 64 << 20  # of the guest
BOUND = 600 << 20  # bytes that one guest may cost the host: RAM, code pages, regions

PAGED = """
    la t0, root; srli t0, t0, 12; li t1, 8; slli t1, t1, 60; or t0, t0, t1
    la t2, root; la t3, middle; srli t3, t3, 12; slli t3, t3, 10; ori t3, t3, 1; sd t3, 0(t2)
    li t4, 0x20000000; ori t4, t4, 0xcf; sd t4, 16(t2)
    la t2, middle; la t3, last; srli t3, t3, 12; slli t3, t3, 10; ori t3, t3, 1; li t4, 512
1:  sd t3, 0(t2); addi t2, t2, 8; addi t4, t4, -1; bnez t4, 1b
    la t2, last; la t3, body; srli t3, t3, 12; slli t3, t3, 10; ori t3, t3, 0xcf; li t4, 512
1:  sd t3, 0(t2); addi t2, t2, 8; addi t4, t4, -1; bnez t4, 1b
    li t4, -1; srli t4, t4, 10; csrw pmpaddr0, t4; li t4, 31; csrw pmpcfg0, t4
    csrw satp, t0; sfence.vma; li t0, 0x1800; csrc mstatus, t0; li t0, 0x800; csrs mstatus, t0
    la t0, go; csrw mepc, t0; mret
"""
GUESTS = {
    # Each time another instruction, each time a fence, in a loop that also calls it.
    "rewrites its own code": """
    la t0, x; lw t1, 0(t0); li t2, 0x100000
1:  x: addi t3, zero, 0; add t1, t1, t2; sw t1, 0(t0); fence.i; addi s0, s0, 1; j 1b""",
    # Everything in a page changes, so that its contents are always new.
    "rewrites a page of code": """
    la t0, page; li t5, 0x00150513; li t6, 0x100000
1:  mv t1, t0; li t2, 1023
2:  sw t5, 0(t1); addi t1, t1, 4; addi t2, t2, -1; bnez t2, 2b
    li t3, 0x00008067; sw t3, 0(t1); add t5, t5, t6; fence.i; li t4, 40
3:  jalr ra, 0(t0); addi t4, t4, -1; bnez t4, 3b
    addi s0, s0, 1; j 1b
    .balign 4096
page: .zero 4096""",
    # 262,144 addresses of one page of code, each called in turn.
    "maps code at many addresses": PAGED
    + """
go: li s1, 0
1:  jalr ra, 0(s1); lui t0, 1; add s1, s1, t0; srli t1, s1, 30; addi s0, s0, 1; beqz t1, 1b
    j go
    .balign 4096
body: addi a0, a0, 1; ret
    .balign 4096
root: .zero 4096
middle: .zero 4096
last: .zero 4096""",
    # Every half-word of a page of numbers, instruction or not.
    "jumps to every address": guests.vector("trap")
    + """
    la s1, page; li s2, 0; mv s3, sp
1:  add t0, s1, s2; addi s2, s2, 2; li t1, 4096; addi s0, s0, 1; la s4, 1b
    bltu s2, t1, 2f; li s2, 0
2:  jr t0
    .balign 4
trap: csrw mepc, s4; mret
    .balign 4096
page: """
    + "; ".join(f".word {i * 2654435761 + 0x5A7 & 0xFFFFFFFF}" for i in range(1024)),
    # New functions without end, each called until it is hot.
    "fills the code cache": """
    la s1, pages; li s2, 8000; li s4, 0x00150513
1:  mv t0, s1; mv s3, s2
2:  sw s4, 0(t0); li t1, 0xfff58593; sw t1, 4(t0); li t1, 0xfe059ce3; sw t1, 8(t0)
    li t1, 0x00008067; sw t1, 12(t0); li t1, 0x100000; add s4, s4, t1
    fence.i; li a1, 20000; jalr ra, 0(t0); addi s0, s0, 1
    lui t1, 1; add t0, t0, t1; addi s3, s3, -1; bnez s3, 2b
    j 1b
    .balign 4096
pages: .word 0""",
}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _progress(m: Machine) -> int:
    return m.cpus[0].reg("x", 8)


@pytest.mark.parametrize("name", GUESTS)
def test_it_gets_on_and_memory_is_bounded(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with guests.machine(GUESTS[name], memory=MEMORY, engine="jit") as m:
        before = _resident()
        assert m.run(timeout=SECONDS / 2) == Outcome("timeout")
        middle, at_half = _progress(m), m.icount
        assert m.run(timeout=SECONDS / 2) == Outcome("timeout")
        grown = _resident() - before
        with capsys.disabled():
            if "LAMINA_HOSTILE_SECONDS" in os.environ:
                rounds = _progress(m)
                print(f"\n{name}: {rounds:,} rounds, {m.icount:,} instructions, {grown >> 20} MiB")
        assert middle > 0 and _progress(m) != middle and m.icount > at_half
        assert grown < BOUND


def test_a_machine_beside_it_gets_its_share() -> None:
    """Two processors at most are busy: an honest machine does at least a fifth of what it does by
    itself while the other one has its code compiled anew all the time."""

    def count(seconds: float) -> int:
        with guests.machine("1: addi s0, s0, 1; j 1b", memory=MEMORY, engine="jit") as honest:
            honest.run(timeout=seconds)
            return _progress(honest)

    by_itself = count(SECONDS / 2)
    with guests.machine(GUESTS["rewrites a page of code"], memory=MEMORY, engine="jit") as m:
        other = threading.Thread(target=lambda: m.run(timeout=SECONDS))
        other.start()
        beside = count(SECONDS / 2)
        m.stop()
        other.join()
    assert beside > by_itself / 5
