"""The core-local interruptor (SiFive CLINT, which the RISC-V ACLINT specification splits into MSWI
and MTIMER): software interrupts between harts, and the machine-mode timer of each hart.

    0x0000 + 4 * hart   msip       bit 0 is the hart's MSIP
    0x4000 + 8 * hart   mtimecmp   MTIP while mtime >= mtimecmp
    0xbff8              mtime      the timebase counter

mtime itself belongs to the Clock (time CSRs and Sstc read it too), so it is not in this device's
saved state. mtimecmp starts at its maximum: no timer interrupt before software asks for one.
"""

from typing import Any

from lamina.base.bits import U32, U64, field, mask
from lamina.base.clock import Clock
from lamina.bus.irq import IrqLine
from lamina.devices.device import Device, TreeNode
from lamina.devices.state import StateReader

MTIMECMP = 0x4000
MTIME = 0xBFF8


class Aclint(Device):
    """MSIP and MTIP of all harts."""

    name = "clint"
    size = 0x1_0000
    access_sizes = frozenset({4, 8})

    def __init__(self, software: list[IrqLine], timer: list[IrqLine], clock: Clock) -> None:
        """One software (MSIP) and one timer (MTIP) line for each hart."""
        if len(software) != len(timer):
            raise ValueError("one software and one timer line for each hart")
        self._software = software
        self._timer = timer
        self._clock = clock
        self._harts = len(software)
        self._mtimecmp = [U64] * self._harts

    def read(self, offset: int, size: int) -> int:
        if offset % size:
            return 0
        word = self._read_word(offset)
        if size == 8:
            # Both halves of one 64-bit register from one look at the clock.
            double = self._read_double(offset)
            return double if double is not None else word | self._read_word(offset + 4) << 32
        return word

    def _read_double(self, offset: int) -> int | None:
        if offset == MTIME:
            return self._clock.ticks() & U64
        hart = (offset - MTIMECMP) // 8
        return self._mtimecmp[hart] if offset >= MTIMECMP and hart < self._harts else None

    def _read_word(self, offset: int) -> int:
        if offset < MTIMECMP:
            hart = offset // 4
            return int(self._software[hart].level) if hart < self._harts else 0
        double = self._read_double(offset & ~mask(3))
        if double is None:
            return 0
        return field(double, 63, 32) if offset & 4 else field(double, 31, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset % size:
            return
        if offset < MTIMECMP:
            self._write_msip(offset, value & U32)
            if size == 8:
                self._write_msip(offset + 4, value >> 32)
            return
        old = self._read_double(offset & ~mask(3))
        if old is None:
            return
        if size == 4 and offset & 4:
            value = value << 32 | field(old, 31, 0)
        elif size == 4:
            value |= field(old, 63, 32) << 32
        self._write_double(offset & ~mask(3), value)

    def _write_msip(self, offset: int, value: int) -> None:
        if offset // 4 < self._harts:
            self._software[offset // 4].set(bool(value & 1))

    def _write_double(self, offset: int, value: int) -> None:
        if offset == MTIME:
            self._clock.set_ticks(value)
            for hart in range(self._harts):
                self._update(hart)
        else:
            hart = (offset - MTIMECMP) // 8
            self._mtimecmp[hart] = value
            self._update(hart)

    def _update(self, hart: int) -> None:
        """Drive MTIP as of now, and arm the hart's timer if it is still to come."""
        deadline = self._mtimecmp[hart]
        due = self._clock.ticks() >= deadline
        if due or deadline == U64:
            self._clock.disarm((self.name, hart))
        else:
            self._clock.arm((self.name, hart), deadline, lambda: self._update(hart))
        self._timer[hart].set(due)

    def reset(self) -> None:
        self._mtimecmp = [U64] * self._harts
        for hart in range(self._harts):
            self._software[hart].set(False)
            self._update(hart)

    def save(self) -> dict[str, Any]:
        return {
            "msip": [int(line.level) for line in self._software],
            "mtimecmp": list(self._mtimecmp),
        }

    def load(self, state: dict[str, Any]) -> None:
        reader = StateReader(self.name, state, "msip", "mtimecmp")
        msip = reader.integers("msip", self._harts, 1)
        self._mtimecmp = reader.integers("mtimecmp", self._harts)
        for hart in range(self._harts):
            self._software[hart].set(bool(msip[hart]))
            self._update(hart)

    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        node = tree.node(f"clint@{base:x}")
        node.text("compatible", "sifive,clint0", "riscv,clint0")
        node.reg(base, self.size)
        return node
