"""Holds back a console until the guest says that it is ready.

Called by `cli/launch.py` between the terminal and the machine's console, when a command runs in the
guest: piped input must not reach a guest that is still booting (it would be lost), and what the
boot prints is no part of the command's output. The guest prints `MARKER` once, an Application
Program Command that terminals ignore (ECMA-48, 8.3.2). Owns the input and the output held back;
`_lock` guards both and `_open`, as they come from different threads; a console may echo while it
is being typed at, so the lock can be taken again.
"""

import threading
from collections.abc import Callable

MARKER = b"\x1b_lamina:ready\x1b\\"
HELD_LIMIT = 1 << 20


class ReadyGate:
    """A gate that opens once. The guest is hostile: what is held is bounded on both sides."""

    def __init__(
        self,
        output: Callable[[bytes], None],
        send: Callable[[bytes], None],
        *,
        hide_boot: bool,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`output` shows guest output, `send` types input; `hide_boot` keeps early output back;
        `on_ready` is called when the gate opens."""
        self._on_ready = on_ready
        self._output = output
        self._send = send
        self._hide_boot = hide_boot
        self._lock = threading.RLock()
        self._open = False
        self._held_input = bytearray()
        self._held_output = bytearray()

    @property
    def hidden(self) -> bytes:
        """What the guest printed before it was ready: the last of it, if it was much."""
        with self._lock:
            return b"" if self._open or not self._hide_boot else bytes(self._held_output)

    def write(self, data: bytes) -> None:
        """Output from the guest."""
        with self._lock:
            data = data if self._open else self._before_ready(data)
        if data:
            self._output(data)

    def send(self, data: bytes) -> None:
        """Input for the guest."""
        with self._lock:
            if self._open:
                self._send(data)
            elif len(self._held_input) + len(data) <= HELD_LIMIT:
                self._held_input += data

    def _before_ready(self, data: bytes) -> bytes:
        """Take more early output; returns what may be shown now."""
        self._held_output += data
        before, marker, after = self._held_output.partition(MARKER)
        if marker:
            self._open = True
            self._held_output.clear()
            self._on_ready()
            self._send(bytes(self._held_input))
            self._held_input.clear()
            return bytes(after if self._hide_boot else before + after)
        if self._hide_boot:
            del self._held_output[:-HELD_LIMIT]
            return b""
        shown = bytes(self._held_output[: len(self._held_output) - self._marker_begun()])
        del self._held_output[: len(shown)]
        return shown

    def _marker_begun(self) -> int:
        """How many bytes at the end of what is held may be the beginning of the marker."""
        longest = min(len(MARKER) - 1, len(self._held_output))
        return next((n for n in range(longest, 0, -1) if self._held_output.endswith(MARKER[:n])), 0)
