"""The guests that come with Lamina, as ELF files beside this one.

`lamina run` without an image boots `monitor`. The sources are in guests/ of the source tree,
guests/build.py makes these files, and a test holds the two together byte for byte.
"""

from pathlib import Path

from lamina.base.errors import ImageError

_FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """The names that `path` knows, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.elf"))


def path(name: str) -> Path:
    """The ELF file of a built-in guest; ImageError for a name that is none."""
    if name not in names():
        raise ImageError(f"no built-in guest {name!r}: there is {', '.join(names())}")
    return _FOLDER / f"{name}.elf"
