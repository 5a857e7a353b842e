"""The numbers of the SBI and the shape of a call: what all extensions share.

RISC-V SBI Specification 2.0, chapter 3 (binary encoding). An extension is an object with an ID and
a method `call`; `firmware` fetches the registers, picks the extension and stores its result.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from lamina.base.bits import U64
from lamina.base.errors import BusError
from lamina.machine.sbi.host import SbiHost

ALL_ONES = U64  # -1 as a register holds it
XLEN = 64


class Error(IntEnum):
    """What a call leaves in a0."""

    SUCCESS = 0
    FAILED = -1
    NOT_SUPPORTED = -2
    INVALID_PARAM = -3
    DENIED = -4
    INVALID_ADDRESS = -5
    ALREADY_AVAILABLE = -6
    ALREADY_STARTED = -7
    ALREADY_STOPPED = -8
    NO_SHMEM = -9


class Result(NamedTuple):
    """What a call gives back: a0 and a1."""

    error: Error = Error.SUCCESS
    value: int = 0


SUCCESS = Result()
FAILED = Result(Error.FAILED)
NOT_SUPPORTED = Result(Error.NOT_SUPPORTED)
INVALID_PARAM = Result(Error.INVALID_PARAM)
INVALID_ADDRESS = Result(Error.INVALID_ADDRESS)
DENIED = Result(Error.DENIED)
ALREADY_AVAILABLE = Result(Error.ALREADY_AVAILABLE)


@dataclass(frozen=True)
class Call:
    """One call: who makes it (`hart`), a7, a6 and a0 .. a5. All from the guest, none checked."""

    hart: int
    extension: int
    function: int
    args: tuple[int, int, int, int, int, int]


class Extension(Protocol):
    """A part of the SBI."""

    eid: int

    def call(self, call: Call) -> Result | None:
        """Do it. None: leave a0 and a1 alone, for the call does not come back in the usual way."""


def select(mask: int, base: int, harts: int) -> list[int] | None:
    """The harts of a hart mask: bit n is hart base+n, base -1 is all; None if one is not there."""
    if base == ALL_ONES:
        return list(range(harts))
    if mask == 0:
        return []
    if base + mask.bit_length() > harts:
        return None
    return [base + n for n in range(mask.bit_length()) if mask >> n & 1]


def is_ram(host: SbiHost, gpa: int, length: int) -> bool:
    """Whether `length` bytes (at least one) begin and end in RAM."""
    try:
        host.read(gpa, 1)
        host.read(gpa + length - 1, 1)
    except BusError:
        return False
    return True


def can_start_at(host: SbiHost, gpa: int) -> bool:
    """Whether a hart may begin to run at a guest-physical address: even, and RAM."""
    return gpa & 1 == 0 and is_ram(host, gpa, 2)
