"""Sizes as people write them: 512M, 2G, 64KiB."""

import re

from lamina.base.errors import ConfigError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
_FACTOR = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}


def parse_size(text: str, what: str = "size") -> int:
    """Bytes of a text such as `512M`, `2G`, `64KiB` or `4096`; ConfigError if it is not one."""
    match = re.fullmatch(r"\s*([0-9]{1,15})\s*([KMGT]?)(?:I?B)?\s*", text.upper())
    if match is None:
        raise ConfigError(f"{what}: {text!r} is not a size; write it like 512M or 2G")
    return int(match[1]) * _FACTOR[match[2]]


def format_size(size: int) -> str:
    """A byte count in the largest binary unit that divides it: 512 MiB, 4 KiB, 17 bytes."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} bytes"


def approximate_size(size: int) -> str:
    """A byte count as people read it: 1.5 GiB, 17 bytes."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
