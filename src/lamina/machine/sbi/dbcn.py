"""SBI extension DBCN: the debug console, by buffers in guest memory. Specification 2.0, chapter 12.

A call moves CHUNK bytes at most, so that no hart is away for long; callers go by the count.
"""

from lamina.base.bits import trunc
from lamina.base.errors import BusError
from lamina.machine.sbi.abi import INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Call, Result, is_ram
from lamina.machine.sbi.host import SbiHost

CHUNK = 64 * 1024


class DebugConsole:
    """DBCN."""

    eid = 0x4442_434E

    def __init__(self, host: SbiHost) -> None:
        self._host = host

    def call(self, call: Call) -> Result | None:
        if call.function == 2:  # console_write_byte
            self._host.console_write(bytes([trunc(call.args[0], 8)]))
            return SUCCESS
        if call.function not in (0, 1):
            return NOT_SUPPORTED
        length, gpa, high = call.args[:3]
        if length == 0:
            return SUCCESS
        if high != 0 or not is_ram(self._host, gpa, length):
            return INVALID_PARAM
        try:
            if call.function == 0:
                return self._write(gpa, min(length, CHUNK))
            return self._read(gpa, min(length, CHUNK))
        except BusError:  # a hole between first and last byte
            return INVALID_PARAM

    def _write(self, gpa: int, length: int) -> Result:
        self._host.console_write(self._host.read(gpa, length))
        return Result(value=length)

    def _read(self, gpa: int, length: int) -> Result:
        self._host.read(gpa, length)  # before input is taken that has nowhere to go
        text = self._host.console_read(length)[:length]
        self._host.write(gpa, text)
        return Result(value=len(text))
