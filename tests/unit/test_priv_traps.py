"""Trap entry, delegation, interrupts and their priorities, trap return, wfi, fences."""

import pytest
from priv_hart import MACHINE, OPEN_PMP, RAM, SUPERVISOR, USER, SmallHart, Trapped

from lamina.base.exits import Exit

SIE, MIE, SPIE, MPIE, SPP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8
MPP = {USER: 0, SUPERVISOR: 1 << 11, MACHINE: 3 << 11}
MPRV, TVM, TW, TSR = 1 << 17, 1 << 20, 1 << 21, 1 << 22
INTERRUPT = 1 << 63
STCE = 1 << 63
SSI, MSI, STI, MTI, SEI, MEI = 1, 3, 5, 7, 9, 11
VECTORS = {"mtvec": 0x8000_1000, "stvec": 0x8000_2000}


def trapped(hart: SmallHart, syntax: str, **operands: int) -> tuple[int, int] | None:
    """(cause, tval) that the instruction raises, None if it completes."""
    try:
        hart.insn(syntax, **operands)
    except Trapped as t:
        return t.cause, t.tval
    return None


def is_illegal(hart: SmallHart, syntax: str, **operands: int) -> bool:
    return trapped(hart, syntax, **operands) == (2, hart.operands["insn"])


# -- exceptions ------------------------------------------------------------------------------
@pytest.mark.parametrize("priv", [USER, SUPERVISOR, MACHINE])
def test_an_exception_goes_to_machine_mode(priv: int) -> None:
    hart = SmallHart(priv=priv, pc=0x8000_0010, mstatus=MIE | SIE, **VECTORS)
    hart.take_trap(13, 0xDEAD)
    assert (hart["priv"], hart["pc"]) == (MACHINE, VECTORS["mtvec"])
    assert (hart["mepc"], hart["mcause"], hart["mtval"]) == (0x8000_0010, 13, 0xDEAD)
    assert hart["mstatus"] == SIE | MPIE | MPP[priv]
    assert hart["scause"] == hart["sepc"] == 0
    assert "context" in hart.events


@pytest.mark.parametrize("priv, spp", [(USER, 0), (SUPERVISOR, SPP)])
def test_a_delegated_exception_goes_to_supervisor_mode(priv: int, spp: int) -> None:
    hart = SmallHart(priv=priv, pc=0x8000_0010, mstatus=MIE | SIE | SPP, medeleg=1 << 13, **VECTORS)
    hart.take_trap(13, 0xDEAD)
    assert (hart["priv"], hart["pc"]) == (SUPERVISOR, VECTORS["stvec"])
    assert (hart["sepc"], hart["scause"], hart["stval"]) == (0x8000_0010, 13, 0xDEAD)
    assert hart["mstatus"] == MIE | SPIE | spp
    assert hart["mcause"] == hart["mepc"] == 0


def test_delegation_is_by_cause_and_never_from_machine_mode() -> None:
    hart = SmallHart(priv=SUPERVISOR, medeleg=1 << 12, **VECTORS)
    hart.take_trap(13)
    assert hart["priv"] == MACHINE
    hart = SmallHart(priv=MACHINE, medeleg=1 << 13, **VECTORS)
    hart.take_trap(13)
    assert (hart["priv"], hart["pc"]) == (MACHINE, VECTORS["mtvec"])


def test_the_enable_bits_are_stacked_when_they_are_clear_too() -> None:
    hart = SmallHart(priv=SUPERVISOR, mstatus=MPIE | SPIE, **VECTORS)
    hart.take_trap(2)
    assert hart["mstatus"] == SPIE | MPP[SUPERVISOR]


def test_exceptions_ignore_the_vectored_mode() -> None:
    hart = SmallHart(mtvec=0x8000_1001)
    hart.take_trap(5)
    assert hart["pc"] == 0x8000_1000


@pytest.mark.parametrize("cause, stuck", [(1, True), (2, True), (12, True), (13, False)])
def test_a_handler_that_cannot_be_fetched_is_reported(cause: int, stuck: bool) -> None:
    hart = SmallHart(pc=0x40, mtvec=0x40)
    hart.take_trap(cause)
    assert hart.exited == (Exit.STUCK if stuck else None)
    assert hart["pc"] == 0x40


def test_a_first_fault_at_the_handler_from_elsewhere_is_no_dead_end() -> None:
    hart = SmallHart(pc=0x80, mtvec=0x40)
    hart.take_trap(1)
    assert hart.exited is None
    hart = SmallHart(pc=0x40, mtvec=0x40, priv=USER)
    hart.take_trap(1)
    assert hart.exited is None


@pytest.mark.parametrize("priv, cause", [(USER, 8), (SUPERVISOR, 9), (MACHINE, 11)])
def test_ecall_tells_where_it_came_from(priv: int, cause: int) -> None:
    assert trapped(SmallHart(priv=priv), "ecall") == (cause, 0)


def test_a_paravirtual_supervisor_calls_the_hypervisor() -> None:
    hart = SmallHart(paravirtual=True, pc=RAM)
    assert hart["priv"] == SUPERVISOR
    assert trapped(hart, "ecall") is None
    assert (hart.exited, hart["pc"]) == (Exit.HYPERCALL, RAM + 4)
    hart["priv"] = USER
    assert trapped(hart, "ecall") == (8, 0)


def test_ebreak_reports_its_own_address() -> None:
    assert trapped(SmallHart(pc=0x8000_0444), "ebreak") == (3, 0x8000_0444)


# -- interrupts ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "priv, status, taken",
    [
        (MACHINE, 0, False),
        (MACHINE, MIE, True),
        (SUPERVISOR, 0, True),
        (SUPERVISOR, MIE, True),
        (USER, 0, True),
    ],
)
def test_machine_interrupts_by_privilege_and_mie(priv: int, status: int, taken: bool) -> None:
    hart = SmallHart(priv=priv, mstatus=status, irq=1 << MTI, mie=1 << MTI, **VECTORS)
    assert hart.take_interrupt() is taken
    assert hart["mcause"] == (INTERRUPT | MTI if taken else 0)


@pytest.mark.parametrize(
    "priv, status, taken",
    [
        (MACHINE, MIE | SIE, False),
        (SUPERVISOR, 0, False),
        (SUPERVISOR, MIE, False),
        (SUPERVISOR, SIE, True),
        (USER, 0, True),
    ],
)
def test_delegated_interrupts_by_privilege_and_sie(priv: int, status: int, taken: bool) -> None:
    line = 1 << SEI
    hart = SmallHart(priv=priv, mstatus=status, irq=line, mie=line, mideleg=line, **VECTORS)
    assert hart.take_interrupt() is taken
    assert hart["scause"] == (INTERRUPT | SEI if taken else 0)
    assert hart["mcause"] == 0


def test_an_interrupt_needs_its_enable_bit() -> None:
    hart = SmallHart(priv=USER, irq=1 << MTI, mie=1 << MEI, **VECTORS)
    assert not hart.take_interrupt()


def test_without_anything_pending_nothing_happens() -> None:
    hart = SmallHart(priv=USER, mie=0xAAA, mstatus=MIE | SIE, **VECTORS)
    assert not hart.take_interrupt()
    assert hart.events == []


def test_interrupt_entry_saves_the_next_instructions_address() -> None:
    hart = SmallHart(pc=0x8000_0020, mstatus=MIE, irq=1 << MEI, mie=1 << MEI, mtval=9, **VECTORS)
    assert hart.take_interrupt()
    assert (hart["mepc"], hart["mtval"], hart["pc"]) == (0x8000_0020, 0, VECTORS["mtvec"])
    assert hart["mstatus"] == MPIE | MPP[MACHINE]
    assert not hart.take_interrupt()


@pytest.mark.parametrize("number", [SSI, MSI, STI, MTI, SEI, MEI])
def test_vectored_interrupts_have_an_entry_each(number: int) -> None:
    hart = SmallHart(
        mstatus=MIE, irq=1 << number, mip_soft=1 << number & 0x20, mie=1 << number, mtvec=0x1001
    )
    assert hart.take_interrupt()
    assert hart["pc"] == 0x1000 + 4 * number
    hart = SmallHart(priv=USER, mip_soft=1 << SSI, mie=1 << SSI, mideleg=1 << SSI, stvec=0x2001)
    assert hart.take_interrupt()
    assert hart["pc"] == 0x2000 + 4 * SSI


def test_machine_priority_is_external_software_timer() -> None:
    pending, order = 0xAAA, []
    while pending:
        hart = SmallHart(mstatus=MIE, irq=pending, mip_soft=pending & 0x222, mie=0xAAA)
        hart.take_interrupt()
        number = hart["mcause"] & ~INTERRUPT
        order.append(number)
        pending &= ~(1 << number)
    assert order == [MEI, MSI, MTI, SEI, SSI, STI]


def test_an_undelegated_interrupt_comes_before_delegated_ones() -> None:
    hart = SmallHart(priv=USER, irq=1 << MTI | 1 << SEI, mie=0xAAA, mideleg=1 << SEI, **VECTORS)
    assert hart.take_interrupt()
    assert hart["mcause"] == INTERRUPT | MTI


def test_the_supervisor_timer_fires_by_stimecmp() -> None:
    hart = SmallHart(
        priv=SUPERVISOR, mstatus=SIE, menvcfg=STCE, stimecmp=50, mideleg=0x222, mie=0x20, **VECTORS
    )
    hart.ticks = 49
    hart["irq"] = 1 << STI
    assert not hart.take_interrupt()
    hart.ticks = 50
    assert hart.take_interrupt()
    assert hart["scause"] == INTERRUPT | STI


# -- trap return -----------------------------------------------------------------------------
@pytest.mark.parametrize("priv", [USER, SUPERVISOR, MACHINE])
@pytest.mark.parametrize("enabled", [False, True])
def test_mret_unstacks_privilege_and_enable(priv: int, enabled: bool) -> None:
    status = MPP[priv] | (MPIE if enabled else MIE) | MPRV
    hart = SmallHart(mstatus=status, mepc=0x8000_0100, mie=2, mip_soft=2)
    hart.insn("mret")
    assert (hart["priv"], hart["pc"]) == (priv, 0x8000_0100)
    kept = MPRV if priv == MACHINE else 0
    assert hart["mstatus"] == MPIE | (MIE if enabled else 0) | kept
    assert {"context", "pending"} <= set(hart.events)


@pytest.mark.parametrize("frm", [SUPERVISOR, MACHINE])
@pytest.mark.parametrize("to", [USER, SUPERVISOR])
def test_sret_unstacks_privilege_and_enable(frm: int, to: int) -> None:
    status = SPIE | MPRV | (SPP if to == SUPERVISOR else 0)
    hart = SmallHart(priv=frm, mstatus=status, sepc=0x8000_0100)
    hart.insn("sret")
    assert (hart["priv"], hart["pc"]) == (to, 0x8000_0100)
    assert hart["mstatus"] == SPIE | SIE


def test_returns_need_their_privilege() -> None:
    for priv in (USER, SUPERVISOR):
        assert is_illegal(SmallHart(priv=priv), "mret")
    assert is_illegal(SmallHart(priv=USER), "sret")
    assert is_illegal(SmallHart(priv=SUPERVISOR, mstatus=TSR), "sret")
    assert trapped(SmallHart(priv=MACHINE, mstatus=TSR), "sret") is None


def test_a_trap_and_its_return_restore_the_status() -> None:
    hart = SmallHart(priv=SUPERVISOR, pc=0x8000_0040, mstatus=SIE, medeleg=0xB3FF, **VECTORS)
    hart.take_trap(8)
    hart.insn("sret")
    assert (hart["priv"], hart["pc"]) == (SUPERVISOR, 0x8000_0040)
    assert hart["mstatus"] & (SIE | SPP) == SIE


# -- wfi and fences --------------------------------------------------------------------------
def test_wfi_waits_unless_an_enabled_interrupt_is_pending() -> None:
    hart = SmallHart(pc=RAM)
    hart.insn("wfi")
    assert (hart.exited, hart["pc"]) == (Exit.IDLE, RAM + 4)
    hart = SmallHart(irq=1 << MTI)
    hart.insn("wfi")
    assert hart.exited == Exit.IDLE
    hart = SmallHart(irq=1 << MTI, mie=1 << MTI)  # mstatus.MIE is clear
    hart.insn("wfi")
    assert hart.exited is None


def test_wfi_is_forbidden_by_tw_and_to_users() -> None:
    assert trapped(SmallHart(priv=SUPERVISOR), "wfi") is None
    assert is_illegal(SmallHart(priv=SUPERVISOR, mstatus=TW), "wfi")
    assert trapped(SmallHart(priv=MACHINE, mstatus=TW), "wfi") is None
    assert is_illegal(SmallHart(priv=USER), "wfi")


def test_fences_flush_a_page_or_everything_in_one_space_or_all() -> None:
    for name in ("sfence.vma", "sinval.vma"):
        hart = SmallHart(priv=SUPERVISOR, x7=0x1234_5678, x8=0xABC_1234)
        hart.insn(f"{name} rs1, rs2", rs1=7, rs2=8)
        hart.insn(f"{name} rs1, zero", rs1=7)
        hart.insn(f"{name} zero, rs2", rs2=8)
        hart.insn(f"{name} zero, zero")
        page, space = 0x1234_5678, 0x1234  # the bits above an ASID are ignored
        one = ("flush_space_page", space, page)
        assert hart.events == [one, ("flush_page", page), ("flush_space", space), "flush"]


FENCES = [
    ("sfence.vma rs1, rs2", {"rs1": 1, "rs2": 2}, True),
    ("sfence.vma rs1, zero", {"rs1": 1}, True),
    ("sfence.vma zero, rs2", {"rs2": 2}, True),
    ("sfence.vma zero, zero", {}, True),
    ("sinval.vma rs1, rs2", {"rs1": 1, "rs2": 2}, True),
    ("sinval.vma rs1, zero", {"rs1": 1}, True),
    ("sinval.vma zero, rs2", {"rs2": 2}, True),
    ("sinval.vma zero, zero", {}, True),
    ("sfence.w.inval", {}, False),
    ("sfence.inval.ir", {}, False),
]


@pytest.mark.parametrize("syntax, operands, by_tvm", FENCES)
def test_fences_are_not_for_users_and_tvm_traps_them(
    syntax: str, operands: dict[str, int], by_tvm: bool
) -> None:
    assert is_illegal(SmallHart(priv=USER), syntax, **operands)
    assert is_illegal(SmallHart(priv=SUPERVISOR, mstatus=TVM), syntax, **operands) is by_tvm
    assert trapped(SmallHart(priv=SUPERVISOR), syntax, **operands) is None
    assert trapped(SmallHart(mstatus=TVM), syntax, **operands) is None


# -- whole steps -----------------------------------------------------------------------------
def test_a_step_fetches_traps_and_returns() -> None:
    """A user ecall to a machine handler that skips it and returns."""
    hart = SmallHart(priv=USER, pc=RAM, mtvec=RAM + 0x100, **OPEN_PMP)
    hart.poke(RAM, 0x0000_0073, 4)  # ecall
    hart.poke(RAM + 0x100, 0x3410_5073, 4)  # csrwi mepc, 0
    hart.poke(RAM + 0x104, 0x3020_0073, 4)  # mret
    for _ in range(3):
        hart.step()
    assert (hart["mcause"], hart["priv"], hart["pc"]) == (8, USER, 0)
    hart.step()  # nothing answers at address 0
    assert (hart["mcause"], hart["mepc"], hart["mtval"]) == (1, 0, 0)


def test_an_undecodable_word_is_illegal_with_its_bits() -> None:
    hart = SmallHart(pc=RAM, mtvec=RAM + 0x100)
    hart.poke(RAM, 0xFFFF_FFFF, 4)
    hart.step()
    assert (hart["mcause"], hart["mtval"], hart["mepc"]) == (2, 0xFFFF_FFFF, RAM)
