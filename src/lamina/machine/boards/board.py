"""What every board hands to the Machine: its memory, its devices by name, and its device tree.

A Board is the wiring of one machine. It owns no state of its own; `save` and `load` are those of
its devices, by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lamina.base.errors import ConfigError, SnapshotError
from lamina.bus.memory import RamRegion
from lamina.bus.space import AddressSpace
from lamina.devices.device import Device

MAX_BOOTARGS = 4096


@dataclass(frozen=True)
class TreeOptions:
    """The parts of a device tree that the boot decides."""

    bootargs: str = ""
    initrd: tuple[int, int] | None = None
    rng_seed: bytes = b""
    paravirtual: bool = False
    stdout: str | None = None

    def __post_init__(self) -> None:
        if len(self.bootargs.encode()) > MAX_BOOTARGS:
            raise ConfigError(f"kernel command line: longer than {MAX_BOOTARGS} bytes")
        if not self.bootargs.isprintable():
            raise ConfigError("kernel command line: must be one line of printable characters")
        if self.initrd is not None and not 0 <= self.initrd[0] <= self.initrd[1]:
            raise ConfigError(f"initrd: ends at {self.initrd[1]:#x}, before {self.initrd[0]:#x}")


@dataclass
class Board:
    """A wired machine without its vCPUs."""

    name: str
    space: AddressSpace
    ram: RamRegion
    mrom: RamRegion
    harts: int
    tree: Callable[["Board", TreeOptions], bytes]
    """Writes the device tree of this board for one boot."""
    devices: dict[str, Device] = field(default_factory=dict)
    irq: dict[str, int] = field(default_factory=dict)
    """The interrupt controller's source number of each device that has one."""

    def add(self, base: int, device: Device) -> None:
        """Put a device on the bus, under its name."""
        if device.name in self.devices:
            raise ConfigError(f"{self.name}: two devices are called {device.name}")
        self.space.add_device(base, device)
        self.devices[device.name] = device

    def device_tree(
        self,
        bootargs: str = "",
        initrd: tuple[int, int] | None = None,
        rng_seed: bytes = b"",
        paravirtual: bool = False,
        stdout: str | None = None,
    ) -> bytes:
        """The flattened tree. `initrd` is (start, end) in GPAs and does not change the size."""
        return self.tree(self, TreeOptions(bootargs, initrd, rng_seed, paravirtual, stdout))

    def reset(self) -> None:
        """Power-on state of all devices; memory is the Machine's to clear."""
        with self.space.lock:
            for device in self.devices.values():
                device.reset()

    def save(self) -> dict[str, Any]:
        """The state of all devices, by name."""
        with self.space.lock:
            return {name: device.save() for name, device in self.devices.items()}

    def load(self, state: Any) -> None:
        """Take over saved (untrusted) state; SnapshotError if it does not fit this board."""
        if not isinstance(state, dict) or set(state) != set(self.devices):
            raise SnapshotError(f"{self.name}: saved devices are not {', '.join(self.devices)}")
        with self.space.lock:
            for name, device in self.devices.items():
                device.load(state[name])
