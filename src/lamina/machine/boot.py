"""Putting a boot into a machine: reads the files, places them, writes RAM, starts the harts."""

import os
from pathlib import Path

from lamina.base.errors import ConfigError
from lamina.machine.boards.board import Board
from lamina.machine.boards.reset_vector import RESET_PC, reset_vector
from lamina.machine.boards.virt import DRAM
from lamina.machine.config import MachineConfig
from lamina.machine.loaders import LoadedImage, load_kernel, read_file
from lamina.machine.placement import Placement, place

DTB_ROOM = 64 * 1024
CONSTANT_SEED = bytes(range(32))


def is_paravirtual(config: MachineConfig) -> bool:
    """Whether the hypervisor answers the guest's SBI calls, instead of firmware in the guest."""
    return config.firmware == "none" and config.bios_image is None


class Boot:
    """What a configuration boots: parsed, placed and written at every reset. In between nothing of
    the files is kept, which would be as much memory again as the guest has for its boot."""

    def __init__(self, config: MachineConfig, board: Board) -> None:
        self._config = config
        self._board = board
        self.paravirtual = is_paravirtual(config)
        self.empty = config.kernel is None and config.bios_image is None
        self.placement = Placement()
        if not self.empty:
            self.placement = self._place()

    def _place(self) -> Placement:
        config = self._config
        firmware = None
        if config.bios_image is not None:
            firmware = load_kernel(config.bios_image, "BIOS image")
        elif isinstance(config.firmware, Path):
            firmware = load_kernel(config.firmware, "firmware")
        elif config.firmware not in ("none", "bare"):
            raise ConfigError(f"firmware {config.firmware!r}: none, bare, or the path of a file")
        kernel: LoadedImage | None = None
        if config.kernel is not None:
            kernel = load_kernel(config.kernel)
        initrd = config.initrd
        if isinstance(initrd, Path):
            initrd = read_file(initrd, "initrd")
        ram = (DRAM, self._board.ram.size)
        return place(ram, firmware, kernel, initrd, DTB_ROOM)

    def read(self) -> None:
        """Have at hand what `write` will write; ImageError, with nothing changed, if it cannot be
        read any more."""
        if not self.empty and not self.placement.segments:
            self.placement = self._place()

    def device_tree(self) -> bytes:
        """The flattened tree that the guest gets."""
        seed = CONSTANT_SEED if self._config.deterministic else os.urandom(32)
        return self._board.device_tree(
            bootargs=self._config.append,
            initrd=self.placement.initrd,
            rng_seed=seed,
            paravirtual=self.paravirtual,
        )

    def write(self) -> None:
        """Fill RAM (which must be zero) and the boot ROM, after `read`."""
        placement, space = self.placement, self._board.space
        if self.empty:
            return
        placement.write(space)
        placement.segments.clear()
        space.write(placement.dtb, self.device_tree())
        rom = reset_vector(placement.start, placement.dtb, placement.kernel_entry)
        space.write(self._board.mrom.base, rom)

    def start_of(self, hart: int) -> dict[str, int]:
        """Arguments of the architecture's reset, for a hart at power-on."""
        if not self.paravirtual:
            return {"hart_id": hart, "pc": RESET_PC, "svadu": int(not self._config.svade)}
        return {"hart_id": hart, "pc": self.placement.start, "paravirtual": 1}

    def registers_of(self, hart: int) -> dict[int, int]:
        """x registers at power-on (paravirtual: as the SBI says a kernel starts)."""
        return {10: hart, 11: self.placement.dtb} if self.paravirtual else {}
