"""Who may reach which CSR, and what the Zicsr instructions do."""

import pytest
from priv_hart import MACHINE, SUPERVISOR, USER, SmallHart, Trapped

from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.csr_access import csr_names

CSR = csr_names()
ALL_ONES = (1 << 64) - 1
FP_ON = 1 << 13


def illegal(hart: SmallHart, syntax: str, **operands: int) -> bool:
    """True if the instruction raises an illegal-instruction exception with its bits as tval."""
    try:
        hart.insn(syntax, **operands)
    except Trapped as trapped:
        return (trapped.cause, trapped.tval) == (2, hart.operands["insn"])
    return False


def test_no_two_forms_encode_the_same_word() -> None:
    assert list(RISCV64.table.overlaps()) == []


def test_every_csr_is_declared_under_one_number() -> None:
    assert len(set(CSR.values())) == len(CSR)


@pytest.mark.parametrize("name", sorted(CSR))
@pytest.mark.parametrize("priv", [USER, SUPERVISOR, MACHINE])
def test_a_csr_needs_the_privilege_in_its_number(name: str, priv: int) -> None:
    hart = SmallHart(
        priv=priv, mstatus=FP_ON, mcounteren=ALL_ONES, scounteren=ALL_ONES, menvcfg=1 << 63
    )
    allowed = priv >= CSR[name] >> 8 & 3
    assert illegal(hart, "csrr", rd=5, csr=CSR[name]) is not allowed
    writable = CSR[name] >> 10 != 3
    assert illegal(hart, "csrw", rs1=0, csr=CSR[name]) is not (allowed and writable)


def test_csrs_that_do_not_exist_are_illegal_in_machine_mode() -> None:
    hart = SmallHart()
    for number in set(range(1 << 12)) - set(CSR.values()):
        assert illegal(hart, "csrr", rd=5, csr=number)
    for number in (0x3A1, 0x3A3, 0x3C0, 0x7B0, 0x747, 0x30C, 0x5A8, 0xC80, 0xDA0):
        assert illegal(hart, "csrw", rs1=1, csr=number)


def test_csrrw_swaps_even_when_both_registers_are_one() -> None:
    hart = SmallHart(mscratch=7, x3=9)
    hart.insn("csrrw", rd=3, csr=CSR["mscratch"], rs1=3)
    assert (hart["x3"], hart["mscratch"]) == (7, 9)


def test_csrrs_and_csrrc_change_only_the_bits_given() -> None:
    hart = SmallHart(mscratch=0b1100, x3=0b0110)
    hart.insn("csrrs rd, csr, rs1", rd=4, csr=CSR["mscratch"], rs1=3)
    assert (hart["x4"], hart["mscratch"]) == (0b1100, 0b1110)
    hart.insn("csrrc rd, csr, rs1", rd=4, csr=CSR["mscratch"], rs1=3)
    assert (hart["x4"], hart["mscratch"]) == (0b1110, 0b1000)


def test_immediate_forms_use_five_unsigned_bits() -> None:
    hart = SmallHart(mscratch=ALL_ONES)
    hart.insn("csrrci rd, csr, uimm", rd=4, csr=CSR["mscratch"], uimm=31)
    assert (hart["x4"], hart["mscratch"]) == (ALL_ONES, ALL_ONES - 31)
    hart.insn("csrrsi rd, csr, uimm", rd=4, csr=CSR["mscratch"], uimm=1)
    assert hart["mscratch"] == ALL_ONES - 30
    hart.insn("csrrwi", rd=4, csr=CSR["mscratch"], uimm=16)
    assert (hart["x4"], hart["mscratch"]) == (ALL_ONES - 30, 16)
    hart.insn("csrwi", csr=CSR["mscratch"], uimm=3)
    assert hart["mscratch"] == 3


def test_set_and_clear_without_bits_do_not_write() -> None:
    """Reading a read-only CSR that way is legal; with bits it is a write, even of no change."""
    hart = SmallHart()
    number = CSR["mhartid"]
    for syntax in ("csrr", "csrrc rd, csr, zero", "csrrsi rd, csr, 0", "csrrci rd, csr, 0"):
        assert not illegal(hart, syntax, rd=5, csr=number)
    assert illegal(hart, "csrrs rd, csr, rs1", rd=5, csr=number, rs1=1)
    assert illegal(hart, "csrrc rd, csr, rs1", rd=5, csr=number, rs1=1)
    assert illegal(hart, "csrrsi rd, csr, uimm", rd=5, csr=number, uimm=1)
    assert illegal(hart, "csrrw", rd=5, csr=number, rs1=1)


def test_a_failing_access_changes_no_register() -> None:
    hart = SmallHart(x5=42, mhartid=3)
    assert illegal(hart, "csrrw", rd=5, csr=CSR["mhartid"], rs1=1)
    assert hart["x5"] == 42


def test_fp_csrs_need_fs_and_make_it_dirty() -> None:
    hart = SmallHart(mstatus=0)
    for name in ("fflags", "frm", "fcsr"):
        assert illegal(hart, "csrr", rd=5, csr=CSR[name])
        assert illegal(hart, "csrw", rs1=0, csr=CSR[name])
    hart["mstatus"] = FP_ON
    assert hart.read("fcsr") == 0
    assert hart["mstatus"] == FP_ON
    assert hart.write("fcsr", 0xFFFF) == 0xFF
    assert (hart.read("fflags"), hart.read("frm")) == (31, 7)
    assert hart.read("mstatus") >> 63 == 1
    assert hart.read("sstatus") >> 63 == 1


def test_tvm_keeps_the_supervisor_from_satp() -> None:
    hart = SmallHart(priv=SUPERVISOR, mstatus=1 << 20)
    assert illegal(hart, "csrr", rd=5, csr=CSR["satp"])
    assert illegal(hart, "csrw", rs1=0, csr=CSR["satp"])
    hart["mstatus"] = 0
    assert hart.read("satp") == 0
    hart["mstatus"], hart["priv"] = 1 << 20, MACHINE
    assert hart.read("satp") == 0


@pytest.mark.parametrize("name, bit", [("cycle", 0), ("time", 1), ("instret", 2)])
def test_counters_are_opened_by_mcounteren_then_scounteren(name: str, bit: int) -> None:
    hart = SmallHart(priv=SUPERVISOR)
    read = {"rd": 5, "csr": CSR[name]}
    assert illegal(hart, "csrr", **read)
    hart["mcounteren"] = 1 << bit
    assert not illegal(hart, "csrr", **read)
    hart["priv"] = USER
    assert illegal(hart, "csrr", **read)
    hart["scounteren"] = 1 << bit
    assert not illegal(hart, "csrr", **read)
    hart["mcounteren"] = 0
    assert illegal(hart, "csrr", **read)


def test_each_hpmcounter_has_its_own_enable_bit() -> None:
    for n in range(3, 32):
        hart = SmallHart(priv=SUPERVISOR, mcounteren=1 << n)
        assert hart.read(f"hpmcounter{n}") == 0
        assert illegal(hart, "csrr", rd=5, csr=CSR[f"hpmcounter{n % 29 + 3}"]) is (n % 29 + 3 != n)


def test_stimecmp_needs_stce_and_the_time_enable_below_machine_mode() -> None:
    access = {"rs1": 0, "csr": CSR["stimecmp"]}
    assert not illegal(SmallHart(), "csrw", **access)
    assert illegal(SmallHart(priv=SUPERVISOR, mcounteren=2), "csrw", **access)
    assert illegal(SmallHart(priv=SUPERVISOR, menvcfg=1 << 63), "csrw", **access)
    assert not illegal(SmallHart(priv=SUPERVISOR, menvcfg=1 << 63, mcounteren=2), "csrw", **access)
