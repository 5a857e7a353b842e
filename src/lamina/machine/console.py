"""The machine's console as Python sees it: what the guest prints, what is typed to it.

The Machine feeds `emit` from the console device and takes input by `connect`'s function. The
backlog is bounded: a guest that prints for ever costs no memory.
"""

import re
import threading
import time
from collections.abc import Callable

from lamina.base.errors import LaminaError

BACKLOG = 1 << 20  # bytes kept for `expect` and `text`


class ConsoleTimeout(LaminaError):
    """`expect` did not see its pattern in time."""


class Console:
    """Bytes in and out. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards everything below
        self._pending = bytearray()  # printed, not yet consumed by expect
        self._outputs: list[Callable[[bytes], None]] = []
        self._typed = bytearray()
        self._on_input: Callable[[], None] = lambda: None
        self.ended = False

    # -- the Machine's side ----------------------------------------------------------------------
    def emit(self, data: bytes) -> None:
        """The guest printed `data`."""
        with self._changed:
            self._pending += data
            if len(self._pending) > BACKLOG:
                del self._pending[: len(self._pending) - BACKLOG]
            outputs = list(self._outputs)
            self._changed.notify_all()
        for output in outputs:
            output(data)

    def connect(self, on_input: Callable[[], None]) -> None:
        """`on_input` is called after something was typed."""
        self._on_input = on_input

    def take(self, limit: int) -> bytes:
        """Typed bytes that the device has room for."""
        with self._changed:
            data = bytes(self._typed[:limit])
            del self._typed[:limit]
            return data

    def set_ended(self, ended: bool) -> None:
        """The machine stopped (or runs again): who waits for output need not wait in vain."""
        with self._changed:
            self.ended = ended
            self._changed.notify_all()

    # -- the user's side -------------------------------------------------------------------------
    def attach(self, output: Callable[[bytes], None]) -> None:
        """Call `output` with everything that the guest prints from now on."""
        with self._changed:
            self._outputs.append(output)

    def send(self, data: bytes | str) -> None:
        """Type to the guest."""
        with self._changed:
            self._typed += data.encode() if isinstance(data, str) else data
        self._on_input()

    def expect(self, pattern: str | bytes, timeout: float = 60.0) -> re.Match[bytes]:
        """Wait until the guest has printed a match of the regular expression; what was printed up
        to its end is consumed. ConsoleTimeout after `timeout` seconds or at the machine's end."""
        expression = re.compile(pattern.encode() if isinstance(pattern, str) else pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while (match := expression.search(self._pending)) is None:
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    tail = bytes(self._pending[-200:])
                    why = "the machine stopped" if self.ended else f"{timeout:g} s passed"
                    raise ConsoleTimeout(f"{pattern!r} was not printed: {why}; last: {tail!r}")
                self._changed.wait(left)
            found = expression.search(bytes(self._pending))
            assert found is not None
            del self._pending[: match.end()]
            return found

    def text(self) -> str:
        """What was printed and not yet consumed."""
        with self._changed:
            return self._pending.decode(errors="replace")
