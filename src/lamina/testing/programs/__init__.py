"""Bare-machine test programs (M-mode, entered at 0x8000_0000), as ELF files beside this one.

`hello` prints "hello, world\\n" on the UART and ends with status 0; `exit7` ends with status 7;
`alu_loop` runs the 7-instruction memory loop as often as a0 or its symbol `iterations` says.
Sources: guests/programs/, made by guests/build.py.
"""

from pathlib import Path
from typing import Literal


def path(name: Literal["hello", "exit7", "alu_loop"]) -> Path:
    """The ELF file of a test program."""
    return Path(__file__).resolve().parent / f"{name}.elf"
