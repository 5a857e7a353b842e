"""Fences for other harts by SBI calls: what hart 0 changed must be seen by hart 1 once the call is
back, whatever part of an address space the call names.

Hart 1 runs on page tables of its own and loads from a window; hart 0 changes where it leads.
"""

from collections.abc import Callable

import pytest

from lamina.machine import Machine, Outcome
from lamina.testing import guests

Build = Callable[..., Machine]
WINDOW = 0x1_0000_0000
ROOT, MIDDLE, LOW = 0x8100_0000, 0x8100_1000, 0x8100_2000
FRAMES, FLAGS, PAGES = 0x8080_0000, 0x8070_0000, 40
RFENCE = "li a7, 0x52464e43; ecall; bnez a0, bad\n"
START = f"""
    bnez a0, second
    li a0, 1; la a1, second; li a2, 0; li a6, 0; li a7, 0x48534d; ecall; bnez a0, bad
    li s0, {FLAGS}; li s1, {LOW}; li s2, {FRAMES}; li s3, {WINDOW}; li s4, 1
1:  ld t0, 8(s0); beqz t0, 1b
"""
PROTECTED = "bad: " + guests.finish(99)

CALLS = {
    "a page": (1, WINDOW, 0x1000, 0),
    "a byte of it": (1, WINDOW + 5, 1, 0),
    "everything, as 0 and 0": (1, 0, 0, 0),
    "everything, as all ones": (1, 0, -1, 0),
    "a range around it": (1, WINDOW - 0x9000, 0x1_0000, 0),
    "many pages": (1, WINDOW - 0x2_0000, 0x10_0000, 0),
    "its address space": (2, 0, -1, 7),
    "a page of its address space": (2, WINDOW, 0x1000, 7),
    "many pages of its address space": (2, WINDOW - 0x10_0000, 0x80_0000, 7),
    "an ASID with more bits": (2, WINDOW, 0x1000, 0xABCD_0007),
}


def make_tables(m: Machine) -> int:
    """Tables whose window has PAGES pages, each with its number; satp with ASID 7."""
    satp = guests.map_identity(m, ROOT) | 7 << 44
    for at, entry in ((ROOT + 8 * 4, guests.table(MIDDLE)), (MIDDLE, guests.table(LOW))):
        m.memory.write(at, entry.to_bytes(8, "little"))
    for n in range(512):
        entry = guests.leaf(FRAMES + 0x1000 * n) if n < PAGES else 0
        m.memory.write(LOW + 8 * n, entry.to_bytes(8, "little"))
        m.memory.write(FRAMES + 0x1000 * n, n.to_bytes(8, "little"))
    return satp


SATP = 8 << 60 | 7 << 44 | ROOT >> 12


@pytest.mark.parametrize("name", CALLS)
def test_a_new_page_is_seen_after_the_call(build: Build, name: str) -> None:
    """Thirty times: the window's first page leads to frame n; then the flag says n. Hart 1 reads
    the flag, then the window, which may be newer, never older."""
    function, start, size, asid = CALLS[name]
    source = f"""{START}
2:  slli t0, s4, 12; add t0, t0, s2; srli t0, t0, 12; slli t0, t0, 10; ori t0, t0, 0xcf
    sd t0, 0(s1); fence rw, rw
    li a0, 2; li a1, 0; li a2, {start}; li a3, {size}; li a4, {asid}; li a6, {function}; {RFENCE}
    sd s4, 0(s0)
3:  ld t0, 16(s0); bne t0, s4, 3b
    addi s4, s4, 1; li t0, 31; bne s4, t0, 2b
    {guests.finish()}
{PROTECTED}
second: li t0, {SATP}; csrw satp, t0; li s0, {FLAGS}; li s3, {WINDOW}; li t0, 1; sd t0, 8(s0)
4:  ld t0, 0(s0); fence r, r; ld t1, 0(s3); bltu t1, t0, bad; sd t0, 16(s0); j 4b
"""
    m = build(source, firmware="none", cpus=2)
    assert make_tables(m) == SATP
    assert m.run(timeout=60) == Outcome("poweroff")


def test_more_fences_than_a_sleeping_hart_has_room_for(build: Build) -> None:
    """Forty pages change while hart 1 sleeps, each with a fence of its own. It wakes, and loads
    them all."""
    source = f"""{START}
    li s4, 0
2:  li t0, {PAGES - 1}; sub t0, t0, s4; slli t0, t0, 12; add t0, t0, s2; srli t0, t0, 12
    slli t0, t0, 10; ori t0, t0, 0xcf; slli t1, s4, 3; add t1, t1, s1; sd t0, 0(t1); fence rw, rw
    slli a2, s4, 12; add a2, a2, s3
    li a0, 2; li a1, 0; li a3, 0x1000; li a6, 1; {RFENCE}
    addi s4, s4, 1; li t0, {PAGES}; bne s4, t0, 2b
    li a0, 2; li a1, 0; li a6, 0; li a7, 0x735049; ecall
3:  ld t0, 16(s0); beqz t0, 3b
    {guests.finish()}
{PROTECTED}
second: li t0, {SATP}; csrw satp, t0; li s0, {FLAGS}; li t0, 2; csrw sie, t0
    li s3, {WINDOW}; li s4, 0; li s5, 0x1000
4:  ld t0, 0(s3); bne t0, s4, bad; add s3, s3, s5; addi s4, s4, 1; li t1, {PAGES}; bne s4, t1, 4b
    li t0, 1; sd t0, 8(s0)
5:  wfi; csrr t0, sip; andi t0, t0, 2; beqz t0, 5b
    li s3, {WINDOW}
6:  addi s4, s4, -1; ld t0, 0(s3); bne t0, s4, bad; add s3, s3, s5; bnez s4, 6b
    li t0, 1; sd t0, 16(s0); 7: wfi; j 7b
"""
    m = build(source, firmware="none", cpus=2)
    make_tables(m)
    assert m.run(timeout=60) == Outcome("poweroff")


MASKS = [
    (4, 0, -3),
    (1, 2, -3),
    (2, 63, -3),
    (1 << 63, 1, -3),
    (-1, 0, -3),
    (0, 5, 0),
    (0, 0, 0),
    (3, 0, 0),
    (1, 1, 0),
    (0, -1, 0),
    (-1, -1, 0),
]


@pytest.mark.parametrize("mask, base, answer", MASKS)
@pytest.mark.parametrize("function", [0, 1, 2])
def test_masks_of_harts(build: Build, function: int, mask: int, base: int, answer: int) -> None:
    """Two harts: a mask with another one is an invalid parameter."""
    source = f"""
    li a0, {mask}; li a1, {base}; li a2, 0; li a3, 0x1000; li a4, 0; li a6, {function}
    li a7, 0x52464e43; ecall; neg a0, a0
    {guests.finish_with("a0")}
"""
    m = build(source, firmware="none", cpus=2)
    expected = Outcome("fail", -answer) if answer else Outcome("fail", 0)
    outcome = m.run(timeout=60)
    assert outcome == expected and m.regs["x11"] == 0


@pytest.mark.parametrize("size", [1, 0x1000, (1 << 64) - 1, (1 << 64) - 0x1000])
@pytest.mark.parametrize("start", [0, 1, (1 << 64) - 1, (1 << 64) - 0x1000, 1 << 63])
def test_ranges_of_any_kind_come_back(build: Build, start: int, size: int) -> None:
    call = f"li a0, 0; li a1, -1; li a2, {start}; li a3, {size}; li a4, -1"
    source = "".join(f"{call}; li a6, {function}; {RFENCE}" for function in (1, 2))
    m = build(source + guests.finish() + PROTECTED, firmware="none", cpus=2)
    assert m.run(timeout=60) == Outcome("poweroff")
