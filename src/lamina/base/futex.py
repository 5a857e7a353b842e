"""Linux's futex: a thread sleeps as long as a word of memory holds a value. See futex(2).

Compiled code and Python wake each other by it. The interpreter lock is not held during a sleep.
"""

import ctypes
import platform
from collections.abc import Callable
from functools import cache

from lamina.base.clock import NS_PER_SECOND
from lamina.base.errors import HostError

SYSTEM_CALLS = {"x86_64": 202, "AMD64": 202, "aarch64": 98, "riscv64": 98}  # asm/unistd.h
# FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET (until a time of CLOCK_MONOTONIC), within one process.
WAIT, WAKE, WAIT_UNTIL = 0 | 128, 1 | 128, 9 | 128
ANY = 0xFFFF_FFFF  # FUTEX_BITSET_MATCH_ANY, for the last


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def call_number() -> int:
    """The system call's number on this host."""
    try:
        return SYSTEM_CALLS[platform.machine()]
    except KeyError:
        raise HostError(f"futex: its number on {platform.machine()} is not known") from None


@cache
def system_call() -> Callable[..., int]:
    """libc's `syscall`."""
    function = ctypes.CDLL(None).syscall
    function.restype = ctypes.c_long
    return function


def wait(address: int, value: int, seconds: float | None = None) -> None:
    """Sleep until somebody wakes the word at `address`, or the time is over; not at all if the
    word (32 bits) does not hold `value`. May come back for no reason."""
    limit = None
    if seconds is not None:
        nanoseconds = max(int(seconds * NS_PER_SECOND), 0)
        limit = _Timespec(nanoseconds // NS_PER_SECOND, nanoseconds % NS_PER_SECOND)
    _call(address, WAIT, value, None if limit is None else ctypes.byref(limit))


def wake(address: int) -> None:
    """Wake a thread that sleeps on the word at `address`, if one does."""
    _call(address, WAKE, 1, None)


def _call(address: int, operation: int, value: int, limit: object) -> None:
    system_call()(
        ctypes.c_long(call_number()),
        ctypes.c_void_p(address),
        ctypes.c_long(operation),
        ctypes.c_long(value),
        limit,
        None,
        ctypes.c_long(0),
    )
