"""Names of what a trace shows: device registers, SBI calls, trap causes.

Only `trace.py` reads these tables. Offsets are those of the devices' own files; a register that is
not named is shown by its offset.
"""

from lamina.devices import aclint, plic

UART_READ = ("RBR", "IER", "IIR", "LCR", "MCR", "LSR", "MSR", "SCR")
UART_WRITE = ("THR", "IER", "FCR", "LCR", "MCR", "LSR", "MSR", "SCR")
REGISTERS = {
    "finisher": {0x0: "FINISH"},
    "rtc": {
        **{0x00: "TIME_LOW", 0x04: "TIME_HIGH", 0x08: "ALARM_LOW", 0x0C: "ALARM_HIGH"},
        **{0x10: "IRQ_ENABLED", 0x14: "CLEAR_ALARM", 0x18: "ALARM_STATUS"},
        **{0x1C: "CLEAR_INTERRUPT"},
    },
    "virtio": {
        **{0x000: "MAGIC", 0x004: "VERSION", 0x008: "DEVICE_ID", 0x00C: "VENDOR_ID"},
        **{0x010: "DEVICE_FEATURES", 0x014: "DEVICE_FEATURES_SEL", 0x020: "DRIVER_FEATURES"},
        **{0x024: "DRIVER_FEATURES_SEL", 0x030: "QUEUE_SEL", 0x034: "QUEUE_NUM_MAX"},
        **{0x038: "QUEUE_NUM", 0x044: "QUEUE_READY", 0x050: "QUEUE_NOTIFY"},
        **{0x060: "INTERRUPT_STATUS", 0x064: "INTERRUPT_ACK", 0x070: "STATUS"},
        **{0x080: "QUEUE_DESC_LOW", 0x084: "QUEUE_DESC_HIGH", 0x090: "QUEUE_DRIVER_LOW"},
        **{0x094: "QUEUE_DRIVER_HIGH", 0x0A0: "QUEUE_DEVICE_LOW", 0x0A4: "QUEUE_DEVICE_HIGH"},
        **{0x0C0: "QUEUE_RESET", 0x0FC: "CONFIG_GENERATION"},
    },
}
VIRTIO_CONFIG = 0x100

EXCEPTIONS = (
    *("fetch misaligned", "fetch access fault", "illegal instruction", "breakpoint"),
    *("load misaligned", "load access fault", "store misaligned", "store access fault"),
    *("ecall from U", "ecall from S", "exception 10", "ecall from M"),
    *("fetch page fault", "load page fault", "exception 14", "store page fault"),
)
INTERRUPTS = {
    1: "supervisor software interrupt",
    3: "machine software interrupt",
    5: "supervisor timer interrupt",
    7: "machine timer interrupt",
    9: "supervisor external interrupt",
    11: "machine external interrupt",
    13: "counter overflow interrupt",
}
PINS = {1: "SSI", 3: "MSI", 5: "STI", 7: "MTI", 9: "SEI", 11: "MEI"}
MODES = {0: "U", 1: "S", 3: "M"}
INTERRUPT_BIT = 63

SBI: dict[int, tuple[str, tuple[tuple[str, int], ...]]] = {
    # extension ID: name, (function, arguments it takes) by number
    0x10: (
        "BASE",
        (
            *(("get_spec_version", 0), ("get_impl_id", 0), ("get_impl_version", 0)),
            *(("probe_extension", 1), ("get_mvendorid", 0), ("get_marchid", 0)),
            ("get_mimpid", 0),
        ),
    ),
    0x5449_4D45: ("TIME", (("set_timer", 1),)),
    0x73_5049: ("IPI", (("send_ipi", 2),)),
    0x5246_4E43: (
        "RFENCE",
        (("remote_fence_i", 2), ("remote_sfence_vma", 4), ("remote_sfence_vma_asid", 5)),
    ),
    0x48_534D: (
        "HSM",
        (("hart_start", 3), ("hart_stop", 0), ("hart_get_status", 1), ("hart_suspend", 3)),
    ),
    0x5352_5354: ("SRST", (("system_reset", 2),)),
    0x4442_434E: (
        "DBCN",
        (("console_write", 3), ("console_read", 3), ("console_write_byte", 1)),
    ),
    0x5355_5350: ("SUSP", (("system_suspend", 3),)),
    0x53_5441: ("STA", (("steal_time_set_shmem", 3),)),
}
SBI_LEGACY = (
    *(("set_timer", 1), ("console_putchar", 1), ("console_getchar", 0), ("clear_ipi", 0)),
    *(("send_ipi", 1), ("remote_fence_i", 1), ("remote_sfence_vma", 3)),
    *(("remote_sfence_vma_asid", 4), ("shutdown", 0)),
)


def register_name(device: str, offset: int, write: bool) -> str:
    """What a device calls the register at an offset: "THR", "claim[1]", or "+0x40"."""
    if device.startswith("uart") and offset < len(UART_READ):
        return (UART_WRITE if write else UART_READ)[offset]
    if device == "clint":
        return _clint(offset)
    if device == "plic":
        return _plic(offset)
    kind = device.rstrip("0123456789")
    if kind == "virtio" and offset >= VIRTIO_CONFIG:
        return f"CONFIG+{offset - VIRTIO_CONFIG:#x}"
    return REGISTERS.get(kind, {}).get(offset, f"+{offset:#x}")


def _clint(offset: int) -> str:
    if offset < aclint.MTIMECMP:
        return f"msip[{offset // 4}]"
    if aclint.MTIME & ~7 <= offset < aclint.MTIME + 8:
        return "mtime" if offset == aclint.MTIME else "mtime.high"
    hart, part = divmod(offset - aclint.MTIMECMP, 8)
    return f"mtimecmp[{hart}]" if part == 0 else f"mtimecmp[{hart}].high"


def _plic(offset: int) -> str:
    if offset < plic.PENDING:
        return f"priority[{offset // 4}]"
    if offset < plic.ENABLE:
        return f"pending[{(offset - plic.PENDING) // 4}]"
    if offset < plic.CONTEXT:
        context, at = divmod(offset - plic.ENABLE, plic.ENABLE_STRIDE)
        return f"enable[{context}][{at // 4}]"
    context, at = divmod(offset - plic.CONTEXT, plic.CONTEXT_STRIDE)
    name = {plic.THRESHOLD: "threshold", plic.CLAIM: "claim"}.get(at)
    return f"{name}[{context}]" if name else f"+{offset:#x}"


def sbi_name(extension: int, function: int) -> tuple[str, int]:
    """An SBI call's name, and how many arguments it takes (6 if it is not known)."""
    if extension < len(SBI_LEGACY):
        name, count = SBI_LEGACY[extension]
        return f"legacy {name}", count
    if extension not in SBI:
        return f"extension {extension:#x} function {function:#x}", 6
    name, functions = SBI[extension]
    if function >= len(functions):
        return f"{name} function {function:#x}", 6
    return f"{name} {functions[function][0]}", functions[function][1]


def cause_name(cause: int) -> str:
    """A value of mcause or scause in words."""
    number = cause & ~(1 << INTERRUPT_BIT)
    if cause >> INTERRUPT_BIT:
        return INTERRUPTS.get(number, f"interrupt {number}")
    return EXCEPTIONS[number] if number < len(EXCEPTIONS) else f"exception {number}"
