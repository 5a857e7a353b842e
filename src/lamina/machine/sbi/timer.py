"""SBI extension TIME: the supervisor's timer. Specification 2.0, chapter 6.

Guests that know Sstc write stimecmp themselves and never call this.
"""

from lamina.machine.sbi.abi import NOT_SUPPORTED, SUCCESS, Call, Result
from lamina.machine.sbi.host import SbiHost


class Timer:
    """TIME."""

    eid = 0x5449_4D45

    def __init__(self, host: SbiHost) -> None:
        self._host = host

    def call(self, call: Call) -> Result | None:
        if call.function != 0:  # set_timer
            return NOT_SUPPORTED
        self._host.arm_timer(call.hart, call.args[0])
        return SUCCESS
