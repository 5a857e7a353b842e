"""Address spaces: what a write of satp and each form of sfence.vma must make the guest see.

Each guest runs in supervisor mode on Sv39 tables that the test wrote: the first gigabytes map to
themselves, and pages at WINDOW are the test's. A guest collects what it loads in s0, a digit each.
"""

from collections.abc import Callable

import pytest

from lamina.machine import Machine, Outcome
from lamina.testing import guests

Build = Callable[..., Machine]
WINDOW = 0x1_0000_0000
ROOTS = [0x8100_0000 + 0x4000 * n for n in range(24)]  # root, middle, low table of each space
FRAMES = [0x8080_0000 + 0x1000 * n for n in range(64)]
DIGIT = "slli s0, s0, 4; or s0, s0, t0\n"
LOAD = "ld t0, 0(s1)\n" + DIGIT
START = (
    f"wait: beqz a0, wait; {guests.enter('s', 'go')}go: csrw satp, a0; li s0, 0; li s1, {WINDOW}\n"
)


def low_table(space: int) -> int:
    return ROOTS[space] + 0x2000


def write_entry(m: Machine, at: int, entry: int) -> None:
    m.memory.write(at, entry.to_bytes(8, "little"))


def make_space(m: Machine, space: int, frame: int) -> int:
    """Tables whose WINDOW leads to a frame; the value of satp without an ASID."""
    root = ROOTS[space]
    satp = guests.map_identity(m, root)
    write_entry(m, root + 8 * 4, guests.table(root + 0x1000))
    write_entry(m, root + 0x1000, guests.table(low_table(space)))
    write_entry(m, low_table(space), guests.leaf(frame))
    return satp


def run(m: Machine, **registers: int) -> int:
    """Frame n holds the number n, up to 15; the digits that the guest collected."""
    for n, frame in enumerate(FRAMES[:16]):
        m.memory.write(frame, n.to_bytes(8, "little"))
    m.run(max_instructions=8)
    for name, value in registers.items():
        m.cpus[0].set(name, value)
    assert m.run(timeout=60) == Outcome("poweroff")
    return m.cpus[0].get("x8")


def asid(value: int, number: int) -> int:
    return value | number << 44


S2, S3, A0, A1, A2 = "x18", "x19", "x10", "x11", "x12"


@pytest.mark.parametrize("first, second", [(1, 2), (0, 1), (0xFFFF, 0x7FFF), (0, 0), (5, 5)])
def test_another_root_is_another_address_space(build: Build, first: int, second: int) -> None:
    """Even with the ASID of the one before, or with none."""
    switch = "csrw satp, a1\n" + LOAD + "csrw satp, a0\n" + LOAD
    with build(START + LOAD + switch * 3 + guests.finish()) as m:
        a, b = make_space(m, 0, FRAMES[1]), make_space(m, 1, FRAMES[2])
        assert run(m, x10=asid(a, first), x11=asid(b, second)) == 0x1212121


def test_bare_mode_is_no_address_space(build: Build) -> None:
    source = START + LOAD + f"li s2, {FRAMES[3]}; li s3, 2\n"
    source += f"1: csrw satp, zero; ld t0, 0(s2)\n{DIGIT}csrw satp, a0\n{LOAD}"
    source += "addi s3, s3, -1; bnez s3, 1b\n" + guests.finish()
    with build(source) as m:
        a = make_space(m, 0, FRAMES[1])
        # In the space, the address of frame 3 is mapped elsewhere.
        write_entry(m, ROOTS[0] + 8 * 2, guests.table(ROOTS[1] + 0x1000))
        for n in range(512):
            at = 0x8000_0000 + (n << 21)
            write_entry(m, ROOTS[1] + 0x1000 + 8 * n, guests.leaf(at))
        assert run(m, x10=asid(a, 7)) == 0x13131


def test_a_hart_that_resumes_without_its_address_space(build: Build) -> None:
    """SBI's non-retentive suspend puts satp to 0. Back with its satp, the hart sees its pages."""
    value = asid(guests.satp(ROOTS[0]), 5)
    turn_on, load = f"li t1, {value}; csrw satp, t1\n", f"li s1, {FRAMES[3]}; ld t0, 0(s1)\n"
    source = f"{turn_on}{load}li t1, 9; bne t0, t1, bad; csrwi sie, 2; csrsi sip, 2\n"
    source += "li a0, 0x80000000; la a1, resume; li a2, 0; li a6, 3; li a7, 0x48534d; ecall\n"
    source += f"bad: {guests.finish(1)}resume: {load}li t1, 3; bne t0, t1, bad\n"
    source += f"{turn_on}{load}li t1, 9; bne t0, t1, bad\n{guests.finish()}"
    with build(source, firmware="none") as m:
        guests.map_identity(m, ROOTS[0])
        write_entry(m, ROOTS[0] + 8 * 2, guests.table(ROOTS[1]))
        for n in range(512):
            at = 0x8180_0000 if n == 4 else 0x8000_0000 + (n << 21)
            write_entry(m, ROOTS[1] + 8 * n, guests.leaf(at))
        m.memory.write(FRAMES[3], (3).to_bytes(8, "little"))
        m.memory.write(FRAMES[3] + 0x100_0000, (9).to_bytes(8, "little"))
        assert m.run(timeout=60) == Outcome("poweroff")


def test_more_address_spaces_than_are_kept(build: Build) -> None:
    """Twenty, round and round: each time every one sees its own page, and its own stores."""
    count = 20
    source = START + "li s4, 0; li s7, 3\nagain: li s2, 0; la s3, table\n"
    source += "1: ld t1, 0(s3); csrw satp, t1; ld t0, 0(s1); add t2, s2, s4; bne t0, t2, bad\n"
    source += f"addi t0, t0, 100; sd t0, 0(s1); addi s2, s2, 1; addi s3, s3, 8; li t3, {count}\n"
    source += "bne s2, t3, 1b; addi s4, s4, 100; addi s7, s7, -1; bnez s7, again\n"
    source += guests.finish() + "bad:" + guests.finish(1)
    source += ".balign 4096\ntable: " + ".dword 0\n" * count
    with build(source) as m:
        values = [asid(make_space(m, n, FRAMES[n]), n + 1) for n in range(count)]
        place = guests.assemble("wait:" + source.removeprefix("wait:")).symbols["table"]
        for n, value in enumerate(values):
            write_entry(m, place + 8 * n, value)
            m.memory.write(FRAMES[n], n.to_bytes(8, "little"))
        m.run(max_instructions=4)
        m.cpus[0].set("x10", values[0])
        assert m.run(timeout=60) == Outcome("poweroff")
        assert m.memory.read_u64(FRAMES[count - 1]) == count - 1 + 300


FENCES = [
    "sfence.vma zero, zero",
    "sfence.vma s1, zero",
    "sfence.vma zero, s2",
    "sfence.vma s1, s2",
    "sinval.vma zero, zero; sfence.inval.ir",
    "sinval.vma s1, zero; sfence.inval.ir",
    "sinval.vma zero, s2; sfence.inval.ir",
    "sinval.vma s1, s2; sfence.inval.ir",
]


@pytest.mark.parametrize("fence", FENCES)
@pytest.mark.parametrize("number", [0, 1, 0xABCD])
def test_every_fence_shows_a_new_entry(build: Build, fence: str, number: int) -> None:
    """Loads, stores and fetches from the page see its new frame, in the space that is fenced. The
    bits above the ASID in rs2 count for nothing."""
    source = START + "addi s4, s1, 8; li s5, 0x00008067; sw s5, 0(s4); fence.i\n"
    source += LOAD + "jalr ra, 0(s4); sd a2, 0(a3); " + fence + "\n" + LOAD
    source += "li t0, 0; li t1, 13; sd t1, 0(s1); jalr ra, 0(s4)\n" + DIGIT + guests.finish()
    with build(source) as m:
        a = make_space(m, 0, FRAMES[1])
        # The new frame's code: li t0, 9; ret.
        m.memory.write(FRAMES[2] + 8, (0x0090_0293).to_bytes(4, "little"))
        m.memory.write(FRAMES[2] + 12, (0x0000_8067).to_bytes(4, "little"))
        registers = {"x12": guests.leaf(FRAMES[2]), "x13": low_table(0)}
        result = run(m, x10=asid(a, number), x18=number | 0xF_0000, **registers)
        assert result == 0x129
        assert m.memory.read_u64(FRAMES[2]) == 13 and m.memory.read_u64(FRAMES[1]) == 1


@pytest.mark.parametrize("fence", [f for f in FENCES if "s2" in f])
def test_a_space_that_is_not_in_force_is_fenced(build: Build, fence: str) -> None:
    source = START + LOAD + "csrw satp, a1\n" + LOAD
    source += "sd a2, 0(a3); " + fence + "\ncsrw satp, a0\n" + LOAD + guests.finish()
    with build(source) as m:
        a, b = make_space(m, 0, FRAMES[1]), make_space(m, 1, FRAMES[2])
        registers = {"x12": guests.leaf(FRAMES[3]), "x13": low_table(0), "x18": 6}
        assert run(m, x10=asid(a, 6), x11=asid(b, 7), **registers) == 0x123


@pytest.mark.parametrize("fence", ["sfence.vma zero, zero", "sfence.vma s1, zero"])
def test_a_global_page_changes_in_all_spaces(build: Build, fence: str) -> None:
    source = START + LOAD + "csrw satp, a1\n" + LOAD
    source += "sd a2, 0(a3); " + fence + "\n" + LOAD + "csrw satp, a0\n" + LOAD + guests.finish()
    with build(source) as m:
        a, b = make_space(m, 0, FRAMES[1]), make_space(m, 1, FRAMES[1])
        write_entry(m, ROOTS[1] + 0x1000, guests.table(low_table(0)))
        write_entry(m, low_table(0), guests.leaf(FRAMES[1], "vrwxadg"))
        registers = {"x12": guests.leaf(FRAMES[3], "vrwxadg"), "x13": low_table(0)}
        assert run(m, x10=asid(a, 6), x11=asid(b, 7), **registers) == 0x1133


@pytest.mark.parametrize("fence", ["sfence.vma zero, zero", "sfence.vma s1, zero"])
def test_a_global_page_of_code_changes_in_all_spaces(build: Build, fence: str) -> None:
    """Three spaces run it before and after; in the last one it is new each time."""
    call = "jalr ra, 0(s1)\n" + DIGIT
    source = START + call + "csrw satp, a1\n" + call + "sd a2, 0(a3); " + fence + "\n" + call
    source += "csrw satp, a0\n" + call + "csrw satp, a4\n" + call + guests.finish()
    with build(source) as m:
        spaces = [make_space(m, n, FRAMES[20]) for n in range(3)]
        for n in (1, 2):
            write_entry(m, ROOTS[n] + 0x1000, guests.table(low_table(0)))
        write_entry(m, low_table(0), guests.leaf(FRAMES[20], "vrwxadg"))
        for frame, number in ((FRAMES[20], 1), (FRAMES[21], 2)):
            code = guests.assemble(f"li t0, {number}; ret").code
            m.memory.write(frame, code)
        registers = {"x12": guests.leaf(FRAMES[21], "vrwxadg"), "x13": low_table(0)}
        values = {f"x{x}": asid(spaces[n], n + 6) for n, x in enumerate((10, 11, 14))}
        assert run(m, **values, **registers) == 0x11222


def test_a_page_of_code_that_is_not_global_is_each_spaces_own(build: Build) -> None:
    call = "jalr ra, 0(s1)\n" + DIGIT
    source = START + (call + "csrw satp, a1\n" + call + "csrw satp, a0\n") * 2 + guests.finish()
    with build(source) as m:
        a, b = make_space(m, 0, FRAMES[20]), make_space(m, 1, FRAMES[21])
        for frame, number in ((FRAMES[20], 1), (FRAMES[21], 2)):
            m.memory.write(frame, guests.assemble(f"li t0, {number}; ret").code)
        assert run(m, x10=asid(a, 6), x11=asid(b, 7)) == 0x1212


def test_a_global_page_of_another_scheme(build: Build) -> None:
    """Sv39, then Sv48 by a table that leads elsewhere: nothing is shared between schemes."""
    call = "jalr ra, 0(s1)\n" + DIGIT
    source = START + call + "csrw satp, a1\n" + call + "csrw satp, a0\n" + call + guests.finish()
    with build(source) as m:
        a, b = make_space(m, 0, FRAMES[20]), make_space(m, 1, FRAMES[21])
        write_entry(m, ROOTS[2], guests.table(ROOTS[1]))  # Sv48: a level above
        for n, (frame, number) in enumerate(((FRAMES[20], 1), (FRAMES[21], 2))):
            write_entry(m, low_table(n), guests.leaf(frame, "vrwxadg"))
            m.memory.write(frame, guests.assemble(f"li t0, {number}; ret").code)
        four = guests.satp(ROOTS[2], 9)
        assert b == guests.satp(ROOTS[1])
        assert run(m, x10=asid(a, 6), x11=asid(four, 7)) == 0x121


CROSSINGS = ["addi t0, zero, 5", "ld t0, 64(s1)", "jalr ra, 0(ra)", "illegal"]


@pytest.mark.parametrize("instruction", CROSSINGS)
def test_an_instruction_over_the_end_of_a_page(build: Build, instruction: str) -> None:
    """Its second half changes by a store and fence.i, by a new page behind it, and by none."""
    change = "sh a4, 0(a5); fence.i; jalr ra, 0(s4)\n" + DIGIT
    remap = "sd a2, 8(a3); sfence.vma zero, zero; jalr ra, 0(s4)\n" + DIGIT
    source = f"csrw medeleg, zero\n{guests.vector('trap')}" + START
    source += "li s5, 0xffe; add s4, s1, s5; li s5, 0x1000; add a5, s1, s5; li t0, 3\n"
    source += "jalr ra, 0(s4)\n" + DIGIT + change + remap
    source += "sd zero, 8(a3); sfence.vma zero, zero; jalr ra, 0(s4)\n" + DIGIT + guests.finish()
    source += ".balign 4\ntrap: csrr t0, mcause; csrw mepc, ra; mret\n"
    illegal = instruction == "illegal"
    code = b"\xff\xff\xff\xff" if illegal else guests.assemble(instruction).code
    with build(source) as m:
        a = make_space(m, 0, FRAMES[16])
        back = (0x8082).to_bytes(2, "little")  # c.jr ra
        write_entry(m, low_table(0) + 8, guests.leaf(FRAMES[17]))
        m.memory.write(FRAMES[16] + 0xFFE, code[:2])
        m.memory.write(FRAMES[17], code[2:] + back)
        addi = guests.assemble("addi t0, zero, 6").code
        m.memory.write(FRAMES[18], code[2:] + back)
        registers = {"x12": guests.leaf(FRAMES[18]), "x13": low_table(0)}
        m.memory.write(FRAMES[16] + 64, (7).to_bytes(8, "little"))
        m.memory.write(FRAMES[16] + 80, (8).to_bytes(8, "little"))
        changed = {
            "addi t0, zero, 5": (addi[2:], 0x565),
            "ld t0, 64(s1)": (guests.assemble("ld t0, 80(s1)").code[2:], 0x787),
            "jalr ra, 0(ra)": (code[2:], 0x333),
            "illegal": (code[2:], 0x222),
        }[instruction]
        value = int.from_bytes(changed[0], "little")
        assert run(m, x10=asid(a, 1), x14=value, **registers) == changed[1] << 4 | 0xC


@pytest.mark.parametrize("fence", ["sfence.vma s1, zero", "sfence.vma s1, s2"])
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("high", [False, True])
def test_a_fence_of_one_address_drops_the_whole_large_page(
    build: Build, fence: str, level: int, high: bool
) -> None:
    """Loads 3 pages of a large page, replaces it, fences an address in a fourth page of it."""
    step, base = 0x1000, (1 << 64) - (1 << 30) if high else WINDOW
    three = "".join(
        f"li t1, {base + n * step + 0x80_0000:#x}; ld t0, 0(t1)\n{DIGIT}" for n in range(3)
    )
    source = START + three + f"li s1, {base + 0x80_5000:#x}\nsd a2, 0(a3); {fence}\n" + three
    source += guests.finish()
    with build(source) as m:
        a = make_space(m, 0, FRAMES[1])
        top = ROOTS[0] + 8 * (511 if high else 4)
        write_entry(m, top, guests.table(ROOTS[0] + 0x1000))
        entry, old, new = ROOTS[0] + 0x1000 + 8 * 4, 0x8080_0000, 0x8180_0000
        if level == 2:  # seen through a page of a gigabyte, frames lie at the same offset
            entry, old, new = top, 0x8000_0000, 0x4000_0000
        write_entry(m, entry, guests.leaf(old))
        for n in range(3):
            m.memory.write(0x8180_0000 + n * step, (n + 7).to_bytes(8, "little"))
        leaf = guests.leaf(new)
        if level == 2:  # then through pages of 2 MiB
            leaf = guests.table(ROOTS[1])
            write_entry(m, ROOTS[1] + 8 * 4, guests.leaf(0x8180_0000))
        assert run(m, x10=asid(a, 3), x12=leaf, x13=entry, x18=3) == 0x012789


def test_the_outermost_pages_of_empty_tables_are_not_mapped(build: Build) -> None:
    """Accesses at 0 and around the end of the address space fault, in every mode."""
    source = f"wait: beqz a0, wait; csrw medeleg, zero\n{guests.vector('trap')}{guests.open_pmp()}"
    accesses = "ld t0, 0(zero); sd t0, 0(zero); ld t0, -4(zero); sd t0, -4(zero)\n"
    accesses += "ld t0, -8(zero); sd t0, -8(zero)\n"
    source += accesses + guests.enter("s", "go") + "go: csrw satp, zero\n" + accesses
    source += "csrw satp, a0\n" + accesses + "csrw satp, a1\n" + accesses
    source += "li t0, 0x40000; csrs sstatus, t0\n" + accesses + "csrw satp, zero\n"
    with build(source + guests.finish_with("s11") + guests.skip_trap()) as m:
        for root in ROOTS[:2]:
            write_entry(m, root + 8 * 2, guests.leaf(0x8000_0000))
        m.run(max_instructions=4)
        m.cpus[0].set("x10", asid(guests.satp(ROOTS[0]), 1))
        m.cpus[0].set("x11", asid(guests.satp(ROOTS[1]), 2))
        assert m.run(timeout=60) == Outcome("fail", 5 * 6)


def test_translations_of_other_spaces_are_kept(build: Build, engine: str) -> None:
    """Without a fence the old entry may be used, and the compiled engine does use it: a space's
    translations outlive a change to another one."""
    source = START + LOAD + "csrw satp, a1\n" + LOAD + "sd a2, 0(a3); csrw satp, a0\n" + LOAD
    with build(source + guests.finish()) as m:
        a, b = make_space(m, 0, FRAMES[1]), make_space(m, 1, FRAMES[2])
        registers = {"x12": guests.leaf(FRAMES[3]), "x13": low_table(0)}
        seen = run(m, x10=asid(a, 6), x11=asid(b, 7), **registers)
        assert seen == (0x123 if engine == "reference" else 0x121)


@pytest.mark.parametrize(
    "fence", ["fence.i", "sfence.vma zero, zero", "csrw satp, a1; csrw satp, a0"]
)
def test_a_page_that_is_used_again_for_other_code(build: Build, fence: str) -> None:
    """By fence.i as the architecture has it; without ASIDs also by what a small system does when
    it goes on in another process."""
    source = START + "li s3, 9; li s4, 0x00000293\n1: "
    source += "sw s4, 0(s1); li t0, 0x00008067; sw t0, 4(s1); " + fence + "; jalr ra, 0(s1)\n"
    source += DIGIT + "li t0, 0x00100000; add s4, s4, t0; addi s3, s3, -1; bnez s3, 1b\n"
    with build(source + guests.finish()) as m:
        a, b = make_space(m, 0, FRAMES[20]), make_space(m, 1, FRAMES[20])
        assert run(m, x10=a, x11=b) == 0x012345678
