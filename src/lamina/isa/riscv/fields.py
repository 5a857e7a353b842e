"""Bits of the privileged architecture's registers, by the names of the manual.

RISC-V Privileged Architecture 1.13: 3.1.6 (mstatus), 3.1.9 (mip, mie), 3.1.15 (mcause), 3.1.18
(menvcfg), 12.4.1 (page table entries). Whoever touches a CSR's backing slot uses these names.
"""

from enum import IntEnum

# Privilege levels, the values of slot `priv`.
USER, SUPERVISOR, MACHINE = 0, 1, 3


class Cause(IntEnum):
    """Exception codes of mcause and scause."""

    FETCH_MISALIGNED = 0
    FETCH_ACCESS = 1
    ILLEGAL = 2
    BREAKPOINT = 3
    LOAD_MISALIGNED = 4
    LOAD_ACCESS = 5
    STORE_MISALIGNED = 6
    STORE_ACCESS = 7
    ECALL_U = 8
    ECALL_S = 9
    ECALL_M = 11
    FETCH_PAGE = 12
    LOAD_PAGE = 13
    STORE_PAGE = 15


INTERRUPT = 1 << 63  # the bit of mcause and scause that tells interrupts from exceptions

# Interrupt numbers: bits of mip, mie and mideleg.
SSI, MSI, STI, MTI, SEI, MEI = 1, 3, 5, 7, 9, 11
SSIP, MSIP, STIP, MTIP, SEIP, MEIP = (1 << n for n in (SSI, MSI, STI, MTI, SEI, MEI))
PRIORITY = (MEI, MSI, MTI, SEI, SSI, STI)  # the most urgent first
S_INTERRUPTS = SSIP | STIP | SEIP
ALL_INTERRUPTS = S_INTERRUPTS | MSIP | MTIP | MEIP

# mstatus
SIE, MIE, SPIE, MPIE, SPP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8
MPP_SHIFT, FS_SHIFT = 11, 13
MPP, FS = 3 << MPP_SHIFT, 3 << FS_SHIFT
MPRV, SUM, MXR, TVM, TW, TSR = (1 << n for n in range(17, 23))
UXL_64, SXL_64 = 2 << 32, 2 << 34
UXL = 3 << 32
SD = 1 << 63
SSTATUS_WRITABLE = SIE | SPIE | SPP | FS | SUM | MXR
SSTATUS_READABLE = SSTATUS_WRITABLE | UXL | SD
MSTATUS_WRITABLE = SSTATUS_WRITABLE | MIE | MPIE | MPP | MPRV | TVM | TW | TSR

# menvcfg and senvcfg
FIOM, CBCFE, CBZE = 1 << 0, 1 << 6, 1 << 7
CBIE_SHIFT = 4
CBIE = 3 << CBIE_SHIFT
ADUE, PBMTE, STCE = 1 << 61, 1 << 62, 1 << 63
SENVCFG_WRITABLE = FIOM | CBIE | CBCFE | CBZE
MENVCFG_WRITABLE = SENVCFG_WRITABLE | ADUE | PBMTE | STCE

# mcounteren, scounteren, mcountinhibit: bit n stands for the counter CSR 0xC00 + n.
CY, TM, IR = 1 << 0, 1 << 1, 1 << 2

# medeleg: everything below machine mode can raise, but no environment call from M.
DELEGABLE = sum(1 << c for c in Cause if c != Cause.ECALL_M)

# misa: RV64 (MXL = 2) with I, M, A, F, D, C, S and U.
MISA = 2 << 62 | sum(1 << (ord(letter) - ord("A")) for letter in "IMAFDCSU")

# satp
SATP_MODE_SHIFT = 60
ASID_SHIFT, ASID_BITS = 44, 16
BARE, SV39, SV48, SV57 = 0, 8, 9, 10
PPN_BITS = 44
GPA_BITS = 56

# Page table entries
PTE_V, PTE_R, PTE_W, PTE_X, PTE_U, PTE_G, PTE_A, PTE_D = (1 << n for n in range(8))
PTE_PPN_SHIFT = 10
PTE_RESERVED = 0x7F << 54
PTE_PBMT_SHIFT = 61
PTE_PBMT = 3 << PTE_PBMT_SHIFT
PTE_N = 1 << 63

# A byte of pmpcfg
PMP_R, PMP_W, PMP_X, PMP_L = 1 << 0, 1 << 1, 1 << 2, 1 << 7
PMP_A_SHIFT = 3
PMP_A = 3 << PMP_A_SHIFT
PMP_OFF, PMP_TOR, PMP_NA4, PMP_NAPOT = range(4)
PMP_ENTRIES = 16
PMP_ADDRESS_BITS = 54
