"""Disks of a machine: opens what the configuration names, closes it with the machine.

Called by the Machine, before and after everything else. Owns the open backends.
"""

from lamina.base.errors import LaminaError
from lamina.devices.virtio.blk import VirtioBlock
from lamina.host.disk import PrivateLayer, RawDisk
from lamina.machine.config import DiskConfig


class Storage:
    """The disks, in the order of the configuration; all of them open, or none."""

    def __init__(self, configs: tuple[DiskConfig, ...]) -> None:
        self._open: list[RawDisk | PrivateLayer] = []
        self.devices: list[VirtioBlock] = []
        try:
            for number, config in enumerate(configs):
                disk = _open_disk(config)
                self._open.append(disk)
                self.devices.append(VirtioBlock(disk, serial=f"lamina-disk{number}"))
        except LaminaError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all disks."""
        while self._open:
            self._open.pop().close()


def _open_disk(config: DiskConfig) -> RawDisk | PrivateLayer:
    disk = RawDisk(config.path, config.readonly or config.snapshot)
    return PrivateLayer(disk) if config.snapshot and not config.readonly else disk
