"""Lamina: whole computers as Python objects. This module is the public face; it only re-exports.

Names are imported at their first use, so that `import lamina` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from lamina.base.version import __version__

if TYPE_CHECKING:
    from lamina.base.errors import BusError as BusError
    from lamina.base.errors import ConfigError as ConfigError
    from lamina.base.errors import HostError as HostError
    from lamina.base.errors import ImageError as ImageError
    from lamina.base.errors import LaminaError as LaminaError
    from lamina.machine import Machine as Machine
    from lamina.machine import MachineConfig as MachineConfig
    from lamina.machine import Outcome as Outcome

_HOMES = {
    **dict.fromkeys(("Machine", "MachineConfig", "Outcome"), "lamina.machine"),
    **dict.fromkeys(
        ("BusError", "ConfigError", "HostError", "ImageError", "LaminaError"),
        "lamina.base.errors",
    ),
}
__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lamina' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
