"""Guests that misbehave: each gets a defined result, and the host keeps its memory and its time."""

import resource
import threading

import pytest

from lamina.engine.threaded import engine as threaded
from lamina.engine.threaded.layout import CODE_PAGE
from lamina.machine import Outcome
from lamina.testing import guests

from .conftest import Build

RAM_END = 0x8000_0000 + guests.MEMORY
ENDLESS = {
    "jump to itself": "j .",
    "jump to itself with a handler": guests.vector("trap") + "1: j 1b\n" + guests.skip_trap(),
    "calls for ever": "la t0, a; a: jal ra, b; b: jalr t1, 0(t0)",
    "trap loop": guests.vector("trap") + ".balign 4\ntrap: ecall",
    "trap loop of illegal instructions between two places": guests.vector("one", "mtvec")
    + "ecall\n.balign 4\none: la t0, two; csrw mtvec, t0; ecall\n"
    + ".balign 4\ntwo: la t0, one; csrw mtvec, t0; ecall",
    "trap loop with changing pc": guests.vector("trap")
    + "li t1, 0x1000; .word 0\n.balign 4\ntrap: add t0, t0, t1; csrw mepc, t0; mret",
    "trap handler that traps on a load": guests.vector("trap") + ".balign 4\ntrap: ld t0, 0(zero)",
    "timer storm": guests.vector("trap")
    + "li t0, MTIMECMP; sd zero, 0(t0); li t1, MTIP; csrw mie, t1; csrsi mstatus, 8; 1: j 1b\n"
    + ".balign 4\ntrap: sd zero, 0(t0); mret",
    "timer storm by stimecmp": guests.vector("trap")
    + "li t1, -1; csrw menvcfg, t1; li t1, STIP; csrw mie, t1; csrsi mstatus, 8\n"
    + "1: csrw stimecmp, zero; j 1b\n.balign 4\ntrap: csrw stimecmp, zero; mret",
    "software interrupt storm": guests.vector("trap")
    + "li t0, CLINT; li t1, 1; li t2, MSIP; csrw mie, t2; csrsi mstatus, 8; sw t1, 0(t0); 1: j 1b\n"
    + ".balign 4\ntrap: sw zero, 0(t0); sw t1, 0(t0); mret",
    "claim storm": "li t0, PLIC; li t1, 0x200000; add t1, t0, t1; li t2, -1; li t3, 0x2000\n"
    + "add t3, t0, t3; sw t2, 0(t3); li t4, UART; li t5, 2; sb t5, 1(t4); sw t5, 40(t0)\n"
    + "1: lw t6, 4(t1); sw t6, 4(t1); sw t2, 4(t1); sw zero, 4(t1); j 1b",
    "wfi with nothing to wake it": "csrw mie, zero; 1: wfi; j 1b",
    "wfi with an interrupt pending for ever": "li t0, MTIP; csrw mie, t0; li t0, MTIMECMP\n"
    + "sd zero, 0(t0); 1: wfi; j 1b",
    "fence.i storm": "1: fence.i; fence; j 1b",
    "sfence storm": "1: sfence.vma; sfence.vma t0, t1; sinval.vma t0, t1; addi t0, t0, 64; j 1b",
    "satp and sfence storm": "li t0, 8; slli t0, t0, 60; 1: csrw satp, t0; sfence.vma\n"
    + "csrw satp, zero; addi t0, t0, 1; j 1b",
    "self-modifying loop": "la t0, x; lw t1, 0(t0); li t2, 0x100000\n"
    + "1: x: addi t3, zero, 0; add t1, t1, t2; sw t1, 0(t0); fence.i; j 1b",
    "self-modifying loop without a fence": "la t0, x; lw t1, 0(t0); li t2, 0x100000\n"
    + "1: x: addi t3, zero, 0; add t1, t1, t2; sw t1, 0(t0); j 1b",
    "hypercalls from machine mode": guests.vector("trap") + "1: ecall; j 1b\n" + guests.skip_trap(),
    "timers armed for ever": "li t1, -1; csrw menvcfg, t1; 1: addi t1, t1, -3; csrw stimecmp, t1\n"
    + "li t0, MTIMECMP; sd t1, 0(t0); j 1b",
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("cpus", [1, 2])
def test_an_endless_guest_times_out_stops_and_runs_on(build: Build, name: str, cpus: int) -> None:
    m = build(ENDLESS[name], cpus=cpus)
    assert m.run(timeout=0.03) == Outcome("timeout")
    threading.Timer(0.03, m.stop).start()
    assert m.run(timeout=30) == Outcome("stopped")
    m.reset()
    assert m.run(timeout=0.01) == Outcome("timeout")


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_paravirtual_guest_times_out(build: Build, name: str) -> None:
    """The same in supervisor mode: machine-mode registers are illegal there."""
    m = build(
        guests.vector("park", "stvec") + ENDLESS[name] + "\n.balign 4\npark: j park",
        firmware="none",
    )
    assert m.run(timeout=0.03).reason in ("timeout", "crash")


@pytest.mark.parametrize(
    "target",
    [0, 0x8, 0x1000_0000, 0x0C00_0000, 0x7FFF_FFFE, RAM_END, RAM_END - 2, 1 << 40, (1 << 64) - 2],
    ids=hex,
)
def test_jump_into_nowhere_without_a_handler_crashes(build: Build, target: int) -> None:
    m = build(f"csrw mtvec, zero; li t0, {target}; jr t0")
    outcome = m.run(timeout=30)
    assert outcome.reason == "crash"
    assert "trap handler at 0x0 cannot run" in outcome.detail


@pytest.mark.parametrize("target", [0x1000_0000, RAM_END, 1 << 40, 0x0C00_0000], ids=hex)
def test_unmapped_vector_crashes(build: Build, target: int) -> None:
    outcome = build(f"li t0, {target}; csrw mtvec, t0; ecall").run(timeout=30)
    assert outcome.reason == "crash"
    assert f"{target:#x}" in outcome.detail


def test_unmapped_supervisor_vector_crashes(build: Build) -> None:
    outcome = build("li t0, 0x100; csrw stvec, t0; ebreak", firmware="none").run(timeout=30)
    assert outcome.reason == "crash"


def test_executing_data_is_an_illegal_instruction_that_the_guest_handles(build: Build) -> None:
    source = guests.vector("trap") + "j data\n.balign 8\ndata: .dword 0, 0, -1\n"
    source += ".balign 4\ntrap: csrr a0, mcause; csrr a1, mepc\n" + guests.finish_with("a0")
    assert build(source).run(timeout=30) == Outcome("fail", 2)


def test_running_off_the_end_of_memory_is_an_access_fault(build: Build) -> None:
    source = (
        guests.vector("trap")
        + f"li t0, {RAM_END - 8}; li t1, 0x13; slli t2, t1, 32; or t1, t1, t2\n"
    )
    source += "sd t1, 0(t0); fence.i; jr t0\n.balign 4\ntrap: csrr a0, mcause; csrr a1, mtval\n"
    m = build(source + guests.finish_with("a0"))
    assert m.run(timeout=30) == Outcome("fail", 1)
    assert m.regs["x11"] == RAM_END


def test_an_instruction_that_straddles_the_end_of_memory_is_an_access_fault(build: Build) -> None:
    source = (
        guests.vector("trap") + f"li t0, {RAM_END - 2}; li t1, 0x13; sh t1, 0(t0); fence.i; jr t0\n"
    )
    source += ".balign 4\ntrap: csrr a0, mcause; csrr a1, mtval; csrr a2, mepc\n"
    m = build(source + guests.finish_with("a0"))
    assert m.run(timeout=30) == Outcome("fail", 1)
    assert (m.regs["x11"], m.regs["x12"]) == (RAM_END, RAM_END - 2)


# -- caches --------------------------------------------------------------------------------------
def test_code_in_every_page_empties_a_small_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of jumps through 300 pages, five times over, with room for 40 of them."""
    monkeypatch.setattr(threaded, "ARENA_BYTES", 40 * CODE_PAGE // 4096 * 4096)
    head = (
        "li s0, 5; li s2, 0\nagain: j pages\nback: addi s0, s0, -1; bnez s0, again\n"
        + guests.finish(1)
    )
    pages = "".join(f".balign 4096\npage{n}: addi s2, s2, 1; j page{n + 1}\n" for n in range(300))
    source = (
        head
        + pages.replace("page0:", "pages: page0:")
        + ".balign 4096\npage300: la t0, back; jr t0"
    )
    with guests.machine(source) as m:
        assert m.run(timeout=60) == Outcome("fail", 1)
        assert m.regs["x18"] == 1500


def test_tlb_aliases_are_all_told_apart(build: Build, engine: str) -> None:
    """Addresses that share a slot of every small TLB, each on a page of its own."""
    count, stride = (300 if engine == "threaded" else 60), 1 << 20
    m = build(
        "wait: beqz a0, wait; csrw satp, a0; sfence.vma\n"
        + guests.enter("s", "go")
        + f"go: li s3, 3\nagain: li s0, 0; li s1, {count}; li s2, 0x100000000; li t3, {stride}\n"
        + "1: ld t0, 0(s2); bne t0, s0, bad; sd t0, 8(s2); add s2, s2, t3; addi s0, s0, 1\n"
        + "bne s0, s1, 1b; addi s3, s3, -1; bnez s3, again\n"
        + guests.finish(1)
        + "bad:"
        + guests.finish(2)
    )
    root, middle, low = 0x8100_0000, 0x8100_1000, 0x8110_0000
    satp = guests.map_identity(m, root)
    m.memory.write(root + 8 * 4, guests.table(middle).to_bytes(8, "little"))
    data = 0x8040_0000
    for n in range(count):
        gva = n * stride
        table = low + (gva >> 21) * 4096
        m.memory.write(middle + 8 * (gva >> 21), guests.table(table).to_bytes(8, "little"))
        m.memory.write(
            table + 8 * (gva >> 12 & 511), guests.leaf(data + n * 4096).to_bytes(8, "little")
        )
        m.memory.write(data + n * 4096, n.to_bytes(8, "little"))
    m.run(max_instructions=8)
    m.cpus[0].set_reg("x", 10, satp)
    assert m.run(timeout=60) == Outcome("fail", 1)
    assert m.memory.read_u64(data + 4096 * (count - 1) + 8) == count - 1


def test_new_code_behind_a_fence_i_runs(build: Build) -> None:
    """A routine is rewritten 300 times; each version must be the one that runs."""
    source = f"""la s0, code; lw s1, 0(s0); li s2, 0; li s3, 300
    1: addi s2, s2, 1; slli t0, s2, 20; add t0, s1, t0; sw t0, 0(s0); fence.i; call code
    bne a0, s2, bad; bne s2, s3, 1b
    {guests.finish(1)}
    bad: {guests.finish(2)}
    .balign 8
    code: addi a0, zero, 0; ret"""
    assert build(source).run(timeout=60) == Outcome("fail", 1)


def test_new_code_in_the_same_straight_line_behind_a_fence_i_runs(build: Build) -> None:
    source = f"""la s0, code; li t0, 0x00700513; sw t0, 0(s0); fence.i
    code: addi a0, zero, 1
    {guests.finish_with("a0")}"""
    assert build(source).run(timeout=60) == Outcome("fail", 7)


def test_new_code_that_a_device_wrote_runs_after_a_fence_i(build: Build) -> None:
    source = f"""la s0, code; call code; wait: beqz s1, wait; fence.i; call code
    {guests.finish_with("a0")}
    .balign 8
    code: addi a0, zero, 1; ret"""
    m = build(source)
    code = guests.assemble(source).symbols["code"]
    m.run(max_instructions=500, timeout=30)
    assert m.regs["x10"] == 1
    m.space.dma.write(code, guests.assemble("addi a0, zero, 9").code)
    m.cpus[0].set_reg("x", 9, 1)
    assert m.run(timeout=30) == Outcome("fail", 9)


# -- memory --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "where", ["UART", "CLINT", "PLIC", "VIRTIO", "MROM", "0", str(RAM_END), "-8"]
)
@pytest.mark.parametrize(
    ("insn", "cause"),
    [
        ("amoadd.w t1, t1, (t0)", 7),
        ("amoswap.d t1, t1, (t0)", 7),
        ("sc.w t1, t1, (t0)", 7),
        ("amocas.d t2, t1, (t0)", 7),
    ],
)
def test_atomics_outside_of_ram_are_access_faults(
    build: Build, where: str, insn: str, cause: int
) -> None:
    source = (
        guests.vector("trap") + f"li t0, {where}; {insn}; li a0, 99\n" + guests.finish_with("a0")
    )
    m = build(
        source + ".balign 4\ntrap: csrr a0, mcause; csrr a1, mtval\n" + guests.finish_with("a0")
    )
    outcome = m.run(timeout=30)
    if insn.startswith("sc"):  # without a reservation it may as well just fail
        assert outcome.code in (cause, 99)
    else:
        assert outcome == Outcome("fail", cause)


@pytest.mark.parametrize("where", ["UART", "CLINT", "PLIC", "VIRTIO", "0", str(RAM_END)])
def test_load_reserved_outside_of_ram_makes_no_reservation_to_use(build: Build, where: str) -> None:
    """From a device it is a plain read, as in QEMU; the store-conditional then faults."""
    source = guests.vector("trap") + f"li t0, {where}; lr.w t1, (t0); sc.w t1, t1, (t0)\n"
    source += guests.finish(99) + ".balign 4\ntrap: csrr a0, mcause\n" + guests.finish_with("a0")
    assert build(source).run(timeout=30).code == (5 if where[0].isdigit() else 7)


TABLES = {
    "at themselves": lambda root: guests.table(root),
    "at a device": lambda root: guests.table(0x1000_0000),
    "at the PLIC": lambda root: guests.table(0x0C00_0000),
    "at nothing": lambda root: guests.table(0x4000_0000),
    "past the end of memory": lambda root: guests.table(RAM_END),
    "at the top of all addresses": lambda root: ((1 << 44) - 1) << 10 | 1,
    "with reserved bits": lambda root: guests.table(root) | 1 << 60,
    "at a misaligned large page": lambda root: guests.leaf(0x8000_1000),
    "write-only": lambda root: guests.leaf(0x8000_0000, "vwad"),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("mode", [8, 9, 10])
def test_page_tables_that_point(build: Build, name: str, mode: int) -> None:
    """Every entry of the root alike; the guest in supervisor mode gets a fault and no more."""
    source = guests.vector("trap") + "wait: beqz a0, wait\n" + guests.enter("s", "go")
    source += "go: li a1, 99\n" + guests.finish_with("a1") + ".balign 4\ntrap: csrr a1, mcause\n"
    m = build(source + guests.finish_with("a1"))
    root = 0x8100_0000
    m.memory.write(root, TABLES[name](root).to_bytes(8, "little") * 512)
    m.run(max_instructions=20)
    m.cpus[0].set("satp", guests.satp(root, mode))
    m.cpus[0].set_reg("x", 10, 1)
    outcome = m.run(timeout=30)
    assert outcome.reason == "fail"
    assert outcome.code in (1, 12)
    for gva in (0, 0x8000_0000, 0x1000_0000, (1 << 64) - 8):
        assert m.translate(gva) in (None, gva)


def test_page_tables_over_a_device_give_the_device_aligned_accesses_only(build: Build) -> None:
    source = guests.vector("trap") + "wait: beqz a0, wait\n" + guests.enter("s", "go")
    source += (
        """go: li s0, UART; li t0, 88; sb t0, 0(s0)
    li s1, CLINT; lw t1, 1(s1)
    li s1, 0x10000ffc; ld t1, 0(s1); lw t1, 2(s1)
    .word 0
    """
        + guests.finish(3)
        + guests.skip_trap()
    )
    m = build(source)
    satp = guests.map_identity(m, 0x8100_0000)
    m.run(max_instructions=20)
    m.cpus[0].set("satp", satp)
    m.cpus[0].set_reg("x", 10, 1)
    assert m.run(timeout=30) == Outcome("fail", 3)
    assert m.console.text() == "X"
    assert m.regs["x27"] == 4


@pytest.mark.parametrize("offset", range(0, 17))
@pytest.mark.parametrize("size", [2, 4, 8])
def test_misaligned_accesses_read_what_they_wrote(build: Build, offset: int, size: int) -> None:
    """Around the end of a page."""
    letter = {2: "h", 4: "w", 8: "d"}[size]
    source = f"""li t0, {0x8010_0FF4 + offset}; li t1, 0x1122334455667788; s{letter} t1, 0(t0)
    l{letter} t2, 0(t0); slli t1, t1, {64 - 8 * size}; srai t1, t1, {64 - 8 * size}
    bne t1, t2, bad
    {guests.finish(1)}
    bad: {guests.finish(2)}"""
    m = build(source)
    assert m.run(timeout=30) == Outcome("fail", 1)
    want = (0x1122334455667788 & (1 << 8 * size) - 1).to_bytes(size, "little")
    assert m.memory.read(0x8010_0FF4 + offset, size) == want


@pytest.mark.parametrize("insn", ["amoadd.w t1, t1, (t0)", "lr.d t1, (t0)", "sc.d t1, t1, (t0)"])
@pytest.mark.parametrize("offset", [1, 2, 3, 0xFFE, 0xFFF])
def test_misaligned_atomics_trap(build: Build, insn: str, offset: int) -> None:
    source = guests.vector("trap") + f"li t0, {0x8010_0000 + offset}; {insn}\n" + guests.finish(99)
    m = build(source + ".balign 4\ntrap: csrr a0, mcause\n" + guests.finish_with("a0"))
    assert m.run(timeout=30).code in (4, 5, 6, 7)


# -- floods --------------------------------------------------------------------------------------
def test_console_flood_costs_no_memory_and_reaches_its_reader(build: Build, engine: str) -> None:
    """By the SBI's buffers: 50 MB from the threaded engine."""
    calls = 800 if engine == "threaded" else 40
    source = f"""li s0, {calls}
    1: li a0, 65536; li a1, RAM; li a2, 0; li a6, 0; li a7, 0x4442434e; ecall
    addi s0, s0, -1; bnez s0, 1b
    {guests.finish()}"""
    m = build(source, firmware="none")
    seen = 0

    def count(data: bytes) -> None:
        nonlocal seen
        seen += len(data)

    m.console.attach(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert m.run(timeout=60) == Outcome("poweroff")
    assert seen == calls * 65536
    assert len(m.console.text()) <= 1 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_a_reader_of_the_console_that_fails_is_told_to_the_owner(build: Build) -> None:
    def fail(data: bytes) -> None:
        raise OSError("gone")

    m = build(guests.show("abc") + guests.finish(5))
    m.console.attach(fail)
    with pytest.raises(OSError, match="gone"):
        m.run(timeout=30)
    assert m.console.text()[:1] == "a"
