"""What each CSR keeps of a value written to it, and what engines are told."""

import pytest
from priv_hart import SUPERVISOR, SmallHart

ALL_ONES = (1 << 64) - 1
SXL_UXL = 0xA << 32

# name, value written, value read afterwards (from reset)
WARL = [
    ("mstatus", ALL_ONES, SXL_UXL | 1 << 63 | 0x7E79AA),
    ("mstatus", 0, SXL_UXL),
    ("mstatus", 2 << 11, SXL_UXL),  # the reserved privilege
    ("mstatus", 1 << 11, SXL_UXL | 1 << 11),
    ("sstatus", ALL_ONES, 2 << 32 | 1 << 63 | 0xC6122),
    ("misa", 0, 2 << 62 | 0x14112D),
    ("medeleg", ALL_ONES, 0xB3FF),
    ("mideleg", ALL_ONES, 0x222),
    ("mie", ALL_ONES, 0xAAA),
    ("mip", ALL_ONES, 0x222),
    ("mtvec", ALL_ONES, ALL_ONES - 2),
    ("stvec", ALL_ONES, ALL_ONES - 2),
    ("mepc", ALL_ONES, ALL_ONES - 1),
    ("sepc", ALL_ONES, ALL_ONES - 1),
    ("mscratch", ALL_ONES, ALL_ONES),
    ("sscratch", ALL_ONES, ALL_ONES),
    ("mtval", ALL_ONES, ALL_ONES),
    ("stval", ALL_ONES, ALL_ONES),
    ("mcause", 1 << 63 | 11, 1 << 63 | 11),
    ("scause", 1 << 63 | 9, 1 << 63 | 9),
    ("mcounteren", ALL_ONES, 0xFFFF_FFFF),
    ("scounteren", ALL_ONES, 0xFFFF_FFFF),
    ("mcountinhibit", ALL_ONES, 5),
    ("menvcfg", ALL_ONES, 7 << 61 | 0xF1),
    ("menvcfg", 2 << 4, 0),  # the reserved CBIE
    ("menvcfg", 1 << 4, 1 << 4),
    ("senvcfg", ALL_ONES, 0xF1),
    ("senvcfg", 2 << 4 | 1, 1),
    ("mhpmcounter3", ALL_ONES, 0),
    ("mhpmevent31", ALL_ONES, 0),
    ("tselect", ALL_ONES, 0),
    ("tdata1", ALL_ONES, 0),
    ("satp", 8 << 60 | 0xFFFF << 44 | 1, 8 << 60 | 0xFFFF << 44 | 1),
    ("satp", 9 << 60 | 1, 9 << 60 | 1),
    ("satp", 10 << 60 | 1, 10 << 60 | 1),
    ("satp", 11 << 60 | 1, 0),
    ("satp", 1 << 60 | 1, 0),
    ("satp", ALL_ONES, 0),
    ("pmpaddr0", ALL_ONES, (1 << 54) - 1),
    ("pmpaddr15", ALL_ONES, (1 << 54) - 1),
    ("pmpcfg0", 0x7F, 0x1F),
    ("pmpcfg0", 0x02, 0x00),  # writable but not readable is reserved
    ("pmpcfg0", 0x06 << 56 | 0x03, 0x04 << 56 | 0x03),
    ("pmpcfg2", 0x1B1A_1918, 0x1B18_1918),
]


@pytest.mark.parametrize("name, written, kept", WARL)
def test_warl_fields(name: str, written: int, kept: int) -> None:
    assert SmallHart().write(name, written) == kept


def test_identification_registers_read_as_documented() -> None:
    hart = SmallHart(mhartid=5)
    assert hart.read("mhartid") == 5
    for name in ("mvendorid", "marchid", "mimpid", "mconfigptr"):
        assert hart.read(name) == 0


def test_an_illegal_satp_mode_leaves_every_field_alone() -> None:
    hart = SmallHart(satp=8 << 60 | 0x1234)
    hart.events.clear()
    assert hart.write("satp", 15 << 60 | 0x5678) == 8 << 60 | 0x1234
    assert not hart.events


def test_satp_changes_the_address_space() -> None:
    hart = SmallHart()
    hart.write("satp", 8 << 60 | 1)
    assert hart.events == ["space"]


def test_sstatus_shows_and_writes_only_the_supervisors_fields() -> None:
    hart = SmallHart()
    hart.write("mstatus", ALL_ONES)
    assert hart.read("sstatus") == 2 << 32 | 1 << 63 | 0xC6122
    hart.write("sstatus", 0)
    assert hart.read("mstatus") == SXL_UXL | 0x7E79AA & ~0xC6122


@pytest.mark.parametrize(
    "state, looks",
    [
        ({}, False),
        ({"mip_soft": 1 << 1}, False),  # not enabled
        ({"mie": 1 << 1, "mip_soft": 1 << 1}, True),
        ({"mie": 1 << 9, "irq": 1 << 9}, True),
        ({"mie": 1 << 9, "irq": 1 << 7}, False),
        ({"mie": 1 << 5}, True),  # the timer may be due,
        ({"mie": 1 << 5, "timer": 1}, False),  # but for what the machine said
    ],
)
def test_enabling_interrupts_has_the_engine_look_if_there_may_be_one(
    state: dict[str, int], looks: bool
) -> None:
    hart = SmallHart(**state)
    hart.insn("csrwi", csr=0x100, uimm=2)
    assert hart.events == ["pending"] * looks


def test_status_writes_tell_the_engine_what_changed() -> None:
    hart = SmallHart(mie=1 << 1, mip_soft=1 << 1)
    hart.insn("csrwi", csr=0x300, uimm=8)  # MIE
    assert hart.events == ["pending"]
    hart.events.clear()
    hart.insn("csrwi", csr=0x300, uimm=0)
    assert hart.events == []
    hart.insn("csrwi", csr=0x100, uimm=2)  # SIE
    assert hart.events == ["pending"]
    hart.insn("csrwi", csr=0x100, uimm=0)
    hart.events.clear()
    hart["x6"] = 1 << 18  # SUM
    hart.insn("csrw", csr=0x100, rs1=6)
    assert hart.events == ["context"]
    hart.events.clear()
    hart["x6"] |= 1 << 19  # MXR
    hart.insn("csrw", csr=0x100, rs1=6)
    assert hart.events == ["flush"]


def test_sie_and_sip_are_masked_by_mideleg() -> None:
    hart = SmallHart(mideleg=0x202)
    hart.write("mie", 0xAAA)
    hart.write("mip", 0x222)
    assert (hart.read("sie"), hart.read("sip")) == (0x202, 0x202)
    assert hart.write("sie", 0) == 0
    assert hart.read("mie") == 0x8A8 | 0x20
    assert hart.write("sip", 0) == 0x200  # only SSIP is the supervisor's to clear
    hart["mideleg"] = 0x220
    hart.write("mip", 2)
    hart.write("sip", 0)
    assert hart.read("mip") == 2


def test_mip_shows_lines_and_software_bits() -> None:
    hart = SmallHart(irq=0x888)
    assert hart.read("mip") == 0x888
    assert hart.write("mip", 0x002) == 0x88A
    hart["irq"] = 0x200
    assert hart.read("mip") == 0x202
    hart["irq"] = ALL_ONES
    assert hart.read("mip") == 0xA8A  # bit 5 of the lines is only the clock's knock


def test_setting_mip_bits_does_not_latch_the_external_line() -> None:
    hart = SmallHart(irq=0x200, x3=2)
    hart.insn("csrrs rd, csr, rs1", rd=4, csr=0x344, rs1=3)
    assert hart["x4"] == 0x200
    hart["irq"] = 0
    assert hart.read("mip") == 2
    hart["irq"], hart["mip_soft"] = 0x200, 0x200
    hart.insn("csrrsi rd, csr, uimm", rd=4, csr=0x344, uimm=2)
    hart["irq"] = 0
    assert hart.read("mip") == 0x202


def test_stip_is_computed_from_stimecmp_with_sstc() -> None:
    hart = SmallHart(menvcfg=1 << 63, stimecmp=100, mip_soft=0x20)
    hart.ticks = 99
    assert hart.read("mip") == 0
    hart.ticks = 100
    assert hart.read("mip") == 0x20
    assert hart.write("mip", 0) == 0x20
    hart.write("stimecmp", 101)
    assert hart.read("mip") == 0


def test_stip_is_software_s_without_sstc() -> None:
    hart = SmallHart(stimecmp=0)
    assert hart.read("mip") == 0
    assert hart.write("mip", 0x20) == 0x20


def test_the_machine_learns_of_each_new_deadline() -> None:
    hart = SmallHart()
    hart.write("stimecmp", 500)
    assert ("stimecmp", ALL_ONES) in hart.events  # not armed: Sstc is off
    hart.events.clear()
    hart.write("menvcfg", 1 << 63)
    assert hart.events == [("stimecmp", 500), "pending"]
    hart.events.clear()
    hart["priv"], hart["mcounteren"] = SUPERVISOR, 2
    hart.write("stimecmp", 600)
    assert hart.events == [("stimecmp", 600), "pending"]


def test_a_written_counter_is_read_back_by_the_next_instruction() -> None:
    for name in ("minstret", "mcycle"):
        hart = SmallHart()
        hart.retired = 77
        assert hart.write(name, 1000) == 1000
        assert hart.read(name) == 1001
        assert hart.write(name, ALL_ONES) == ALL_ONES
        assert hart.read(name) == 0


def test_a_stopped_counter_keeps_its_value() -> None:
    hart = SmallHart()
    hart.write("minstret", 1000)  # two instructions: the second reads 1000
    hart.write("mcountinhibit", 4)
    stopped = hart.read("minstret")
    hart.insn("csrwi", csr=0x340, uimm=1)
    assert hart.read("minstret") == stopped == 1002
    cycle = hart.read("mcycle")
    assert hart.read("mcycle") == cycle + 1
    assert hart.write("minstret", 5) == 5
    assert hart.read("minstret") == 5
    hart.insn("csrwi", csr=0x320, uimm=0)
    assert hart.read("minstret") == 5
    assert hart.read("instret") == 6


def test_time_is_the_machines_clock() -> None:
    hart = SmallHart()
    hart.ticks = 0x1234_5678_9ABC
    assert hart.read("time") == 0x1234_5678_9ABC
