"""Lamina: whole computers as Python objects. This module is the public face; it only re-exports.

    from lamina import Machine, MachineConfig

Names are imported when they are first asked for, so that `import lamina` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lamina.base.version import __version__

if TYPE_CHECKING:
    from lamina.base.errors import (
        BusError,
        ConfigError,
        HostError,
        ImageError,
        LaminaError,
        SnapshotError,
    )
    from lamina.base.exits import Exit
    from lamina.machine.config import MachineConfig, Outcome
    from lamina.machine.console import ConsoleTimeout
    from lamina.machine.machine import Machine

__all__ = [
    "BusError",
    "ConfigError",
    "ConsoleTimeout",
    "Exit",
    "HostError",
    "ImageError",
    "LaminaError",
    "Machine",
    "MachineConfig",
    "Outcome",
    "SnapshotError",
    "__version__",
]

_HOMES = {
    **dict.fromkeys(("BusError", "ConfigError", "HostError", "ImageError"), "base.errors"),
    **dict.fromkeys(("LaminaError", "SnapshotError"), "base.errors"),
    "Exit": "base.exits",
    **dict.fromkeys(("MachineConfig", "Outcome"), "machine.config"),
    "ConsoleTimeout": "machine.console",
    "Machine": "machine.machine",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'lamina' has no attribute {name!r}")
    value = getattr(import_module(f"lamina.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
