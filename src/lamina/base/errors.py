"""Errors for trouble on the host's side: bad files, bad arguments, missing tools.

A guest that misbehaves never causes one of these: it gets a trap or a defined device result.
Every message is one line that says what is wrong, with what, and what would be right.
"""


class LaminaError(Exception):
    """Base of everything that Lamina raises on purpose; the CLI prints it and exits with 2."""


class ConfigError(LaminaError):
    """A machine was asked for that cannot be built: memory size, CPU count, overlapping parts."""


class ImageError(LaminaError):
    """A kernel, initrd, firmware or device tree that is missing, truncated or of another kind."""


class SnapshotError(LaminaError):
    """Saved state that does not fit the machine or does not hold together."""


class HostError(LaminaError):
    """The host lacks something that was needed, or refused it."""


class BusError(LaminaError):
    """A host-side access (loader, debugger, DMA) to guest-physical addresses that hold no RAM."""


class CodeError(LaminaError):
    """Machine code, from a file or a compiler, that does not hold together or has no place."""
