"""The boot ROM of the virt board: what each hart executes first, in machine mode, after power-on.

Laid out as QEMU's, for the firmware's sake: a0 = hart number, a1 = device tree, a2 = the `dynamic
information` with which OpenSBI's fw_dynamic learns what to start next (struct fw_dynamic_info,
version 2: six 64-bit words). Encodings by hand from the unprivileged specification, chapter 34.
"""

import struct

RESET_PC = 0x1000

FW_DYNAMIC_MAGIC = 0x4942_534F  # "OSBI"
FW_DYNAMIC_VERSION = 2
NEXT_MODE_SUPERVISOR = 1

DATA = 24  # offset of the words below: the code is six instructions
INFO = DATA + 16

T0, A0, A1, A2 = 5, 10, 11, 12
CSR_MHARTID = 0xF14


def _auipc(rd: int, upper: int) -> int:
    return upper << 12 | rd << 7 | 0x17


def _addi(rd: int, rs1: int, immediate: int) -> int:
    return immediate << 20 | rs1 << 15 | rd << 7 | 0x13


def _ld(rd: int, rs1: int, immediate: int) -> int:
    return immediate << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x03


def _csrr(rd: int, csr: int) -> int:
    return csr << 20 | 2 << 12 | rd << 7 | 0x73


def _jr(rs1: int) -> int:
    return rs1 << 15 | 0x67


CODE = (
    _auipc(T0, 0),  #        t0 = address of this ROM
    _addi(A2, T0, INFO),  #  a2 = &fw_dynamic_info
    _csrr(A0, CSR_MHARTID),
    _ld(A1, T0, DATA + 8),  # a1 = device tree
    _ld(T0, T0, DATA),  #    t0 = where to start
    _jr(T0),
)


def reset_vector(start: int, fdt: int, next_addr: int = 0, boot_hart: int = 0) -> bytes:
    """The ROM's contents for GPA 0x1000.

    `start` is the firmware (or a bare machine-mode program), `fdt` the device tree, `next_addr` the
    kernel that OpenSBI shall enter in supervisor mode (0: none; it then waits), `boot_hart` the
    only hart that goes through the cold boot.
    """
    code = b"".join(word.to_bytes(4, "little") for word in CODE)
    info = (FW_DYNAMIC_MAGIC, FW_DYNAMIC_VERSION, next_addr, NEXT_MODE_SUPERVISOR, 0, boot_hart)
    return code + struct.pack("<2Q", start, fdt) + struct.pack("<6Q", *info)
