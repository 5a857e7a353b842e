"""SBI extension BASE: which SBI this is, and what it can do. Specification 2.0, chapter 4."""

from collections.abc import Container

from lamina.base.version import __version__
from lamina.machine.sbi.abi import NOT_SUPPORTED, Call, Result

SPEC_VERSION = 0x0200_0000  # 2.0: major in bits 30..24, minor below
IMPLEMENTATION_ID = 0x4C4D_4E41  # "LMNA": not among the IDs that the specification has given out


def implementation_version(text: str = __version__) -> int:
    """Major in bits 31..16, minor in 15..0, as OpenSBI has it."""
    major, minor = (int(part) for part in text.split(".")[:2])
    return major << 16 | minor


class Base:
    """BASE; `extensions` are the IDs that a probe finds."""

    eid = 0x10

    def __init__(self, extensions: Container[int]) -> None:
        self._extensions = extensions

    def call(self, call: Call) -> Result | None:
        match call.function:
            case 0:  # get_spec_version
                return Result(value=SPEC_VERSION)
            case 1:  # get_impl_id
                return Result(value=IMPLEMENTATION_ID)
            case 2:  # get_impl_version
                return Result(value=implementation_version())
            case 3:  # probe_extension
                return Result(value=int(call.args[0] in self._extensions))
            case 4 | 5 | 6:  # get_mvendorid, get_marchid, get_mimpid: not a maker's core
                return Result(value=0)
            case _:
                return NOT_SUPPORTED
