"""Small guests, assembled from text: for tests of machines, and for whoever writes a first guest.

`machine(source)` is a Machine that runs the source from the start of RAM: in machine mode on the
bare board, or, with `firmware="none"`, in supervisor mode with Lamina as the SBI. The names in
`SYMBOLS` are known to every source. The functions below give pieces of source text to put
together; they use the registers t5 and t6 and say what else. Owns nothing.
"""

import random
from collections.abc import Iterator
from typing import Any

from lamina.base.units import MIB
from lamina.isa.asm import Assembler, Program
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect
from lamina.machine import Machine, MachineConfig
from lamina.machine.boards import virt

SYMBOLS = {
    "RAM": virt.DRAM,
    "UART": virt.UART,
    "FINISHER": virt.FINISHER,
    "RTC": virt.RTC,
    "CLINT": virt.CLINT,
    "MTIMECMP": virt.CLINT + 0x4000,
    "MTIME": virt.CLINT + 0xBFF8,
    "PLIC": virt.PLIC,
    "VIRTIO": virt.VIRTIO,
    "MROM": virt.MROM,
    "SSIP": 1 << 1,
    "MSIP": 1 << 3,
    "STIP": 1 << 5,
    "MTIP": 1 << 7,
    "SEIP": 1 << 9,
    "MEIP": 1 << 11,
}
PASS, FAIL, RESET = 0x5555, 0x3333, 0x7777
MODES = {"u": 0, "s": 1, "m": 3}
PAGE_BITS = {"v": 1, "r": 2, "w": 4, "x": 8, "u": 16, "g": 32, "a": 64, "d": 128}
MEMORY = 32 * MIB  # the least that the board takes

_ASSEMBLER = Assembler(RISCV64.table, dialect())


def assemble(source: str, base: int = virt.DRAM, symbols: dict[str, int] | None = None) -> Program:
    """Assemble for the address `base`; AssemblyError names the line that is wrong."""
    return _ASSEMBLER.program(source, base, {**SYMBOLS, **(symbols or {})})


def machine(source: str | bytes, **settings: Any) -> Machine:
    """A machine that runs `source` (text, or assembled code) from the start of RAM.

    `settings` are MachineConfig's; by default firmware is "bare" (machine mode, all harts start at
    the first instruction with a0 = hart number) and the memory 32 MiB."""
    code = source if isinstance(source, bytes) else assemble(source).code
    # Behind the code a word that is no text, so that no loader takes a guest for a text file.
    settings = {"firmware": "bare", "memory": MEMORY, "kernel": code + b"\xff" * 4, **settings}
    return Machine(MachineConfig(**settings))


# -- pieces of source ----------------------------------------------------------------------------
def finish(code: int = 0) -> str:
    """End the machine with an exit status."""
    value = PASS if code == 0 else FAIL | code << 16
    return f"li t5, FINISHER; li t6, {value}; sw t6, 0(t5); 1: wfi; j 1b\n"


def finish_with(register: str) -> str:
    """End the machine with the exit status that is in a register."""
    return (
        f"slli t6, {register}, 16; li t5, {FAIL}; or t6, t6, t5; li t5, FINISHER\n"
        "sw t6, 0(t5); 1: wfi; j 1b\n"
    )


def reboot() -> str:
    """Ask for a reset."""
    return f"li t5, FINISHER; li t6, {RESET}; sw t6, 0(t5); 1: wfi; j 1b\n"


def park_other_harts() -> str:
    """Only hart 0 goes on (bare machines)."""
    return "csrr t5, mhartid; beqz t5, 2f; 1: wfi; j 1b; 2:\n"


def show(text: str) -> str:
    """Print a constant text on the UART."""
    lines = [f"li t6, {byte}; sb t6, 0(t5)" for byte in text.encode()]
    return "li t5, UART\n" + "\n".join(lines) + "\n"


def vector(label: str, csr: str = "mtvec") -> str:
    """Take traps at a label."""
    return f"la t5, {label}; csrw {csr}, t5\n"


def skip_trap(label: str = "trap") -> str:
    """A machine-mode handler that counts in s11 and goes on behind the instruction, which must
    have four bytes."""
    return (
        f".balign 4\n{label}: addi s11, s11, 1\n"
        "csrr t5, mepc; addi t5, t5, 4; csrw mepc, t5; mret\n"
    )


def open_pmp() -> str:
    """Let the lower modes reach all of memory."""
    return "li t5, -1; csrw pmpaddr0, t5; li t5, 0x1f; csrw pmpcfg0, t5\n"


def enter(mode: str, label: str) -> str:
    """From machine mode to a label in mode `u`, `s` or `m`; opens the PMP."""
    return (
        f"{open_pmp()}li t5, 0x1800; csrc mstatus, t5; li t5, {MODES[mode] << 11}\n"
        f"csrs mstatus, t5; la t5, {label}; csrw mepc, t5; mret\n"
    )


def sbi(extension: int, function: int, *arguments: int) -> str:
    """An SBI call with constant arguments; the result is in a0 and a1."""
    sets = [f"li a{i}, {value}" for i, value in enumerate(arguments)]
    return "\n".join([*sets, f"li a6, {function}; li a7, {extension}; ecall\n"])


# -- page tables ---------------------------------------------------------------------------------
def leaf(gpa: int, bits: str = "vrwxad") -> int:
    """A page table entry for a page; `bits` are letters of PAGE_BITS."""
    return gpa >> 12 << 10 | sum(PAGE_BITS[bit] for bit in bits)


def table(gpa: int) -> int:
    """A page table entry that points to the next table."""
    return gpa >> 12 << 10 | PAGE_BITS["v"]


def satp(root: int, mode: int = 8) -> int:
    """The value of satp; mode 8 is Sv39, 9 Sv48, 10 Sv57."""
    return mode << 60 | root >> 12


def map_identity(m: Machine, root: int, bits: str = "vrwxad") -> int:
    """An Sv39 table at `root` that maps the lowest 4 GiB to themselves in pages of 1 GiB."""
    for i in range(4):
        m.memory.write(root + 8 * i, leaf(i << 30, bits).to_bytes(8, "little"))
    return satp(root)


# -- noise ---------------------------------------------------------------------------------------
def random_words(seed: int, count: int, legal: float = 0.7) -> Iterator[int]:
    """Instruction words: a part of them of known encodings with random operands, the rest noise.

    Those that would end the run or wait (wfi and its like) are left as they fall."""
    dice = random.Random(seed)
    forms = [form.encoding for form in RISCV64.table.forms if form.encoding.length == 4]
    for _ in range(count):
        word = dice.getrandbits(32) | 3
        if dice.random() < legal:
            encoding = dice.choice(forms)
            word = word & ~encoding.mask | encoding.match
        yield word


def waits(word: int) -> bool:
    """Whether an instruction word is wfi or wrs.*, on which a guest without interrupts sleeps."""
    return word in (0x1050_0073, 0x00D0_0073, 0x01D0_0073)
