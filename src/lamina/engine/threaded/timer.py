"""The host thread behind a vCPU's own timer: it sits in compiled code (`wait_ir`), without the
interpreter lock, from the first run of an engine to its end.

Owned by `ThreadedEngine`. It holds the vCPU's memory, not the engine, so that an engine that nobody
closes can go, and ends this when it does.
"""

import ctypes
import threading
from collections.abc import Callable

from lamina.base.errors import HostError
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime import Runtime
from lamina.engine.vcpu import VCpu


class TimerThread:
    """Runs `timer_loop` for one vCPU."""

    def __init__(self, runtime: Runtime, layout: ThreadedLayout, vcpu: VCpu) -> None:
        """HostError if the host has no thread for it."""
        self._ends = ctypes.c_uint64.from_address(vcpu.address + layout.at["timer_ends"])
        self._turn: Callable[[int], None] = runtime.turn
        self._address = vcpu.address
        self._ends.value = 0
        self._thread = threading.Thread(
            target=_loop,
            args=(runtime.timer_loop, vcpu.address, vcpu.memory),
            name=f"lamina-timer{vcpu.index}",
            daemon=True,
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            raise HostError(f"no thread for the timer of CPU {vcpu.index}: {error}") from None

    def close(self) -> None:
        """End it. The vCPU must not run any more."""
        if self._thread.is_alive():
            self._ends.value = 1
            self._turn(self._address)
            self._thread.join()


def _loop(timer_loop: Callable[[int], int], address: int, memory: object) -> None:
    """`memory` is held so long."""
    timer_loop(address)
