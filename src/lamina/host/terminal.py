"""The host's terminal as a machine's console: keys go in, what the guest prints comes out.

Specification: termios(3); POSIX.1-2017 XBD 11 (General Terminal Interface). Called by
`cli/launch.py`. Owns, while attached: the terminal's settings, the thread that reads the input,
and the SIGWINCH handler where the caller is the main thread. Settings come back however the
attachment ends, by signal or by exception too. An input that is no terminal is only read: it is
never changed.

Output is written by whichever thread the guest's output arrives on; `_lock` guards the output
descriptor and the flag that says whether a menu is open (guest output waits while it is).
"""

import atexit
import os
import select
import signal
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

ESCAPE = b"\x1d"
END_OF_FILE = b"\x04"
READ_SIZE = 4096
MENU = (
    b"\r\n[lamina] q quit   r reset   Ctrl-] send Ctrl-] itself   ? help   any other key: go on\r\n"
)
HELP = (
    b"[lamina] All keys go to the guest, Ctrl-C and Ctrl-Z too; Ctrl-] opens this menu.\r\n"
    b"[lamina] q: power the machine off at once, as if its plug were pulled.\r\n"
    b"[lamina] r: press its reset button. In the guest, `poweroff` shuts it down in good order.\r\n"
)
RESTORING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class ConsoleActions:
    """What the terminal asks of the machine. All are called on the terminal's thread but `resize`,
    which is called on the main thread with (rows, columns)."""

    send: Callable[[bytes], None]
    quit: Callable[[], None]
    reset: Callable[[], None]
    resize: Callable[[int, int], None] = lambda rows, columns: None


class Terminal:
    """An attachment of two descriptors to a console; a context manager."""

    def __init__(
        self,
        actions: ConsoleActions,
        *,
        input_fd: int = 0,
        output_fd: int = 1,
        end_of_file: bytes = b"",
    ) -> None:
        """`end_of_file` is typed when an input that is no terminal ends."""
        self._actions = actions
        self._end_of_file = end_of_file
        self._input = input_fd
        self._output = output_fd
        self.output_error: OSError | None = None  # why the output ended, if it did
        self._lock = threading.Lock()
        self._menu_closed = threading.Event()
        self._menu_closed.set()
        self._saved: list[Any] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._stop_reader, self._stop_writer = -1, -1
        self._thread = threading.Thread(target=self._pump, name="lamina-terminal", daemon=True)

    @property
    def interactive(self) -> bool:
        """True if the input is a terminal, so that keys arrive one by one."""
        return os.isatty(self._input)

    def window(self) -> tuple[int, int] | None:
        """(rows, columns) of the terminal; None if there is none or it does not say."""
        return window_size(self._output)

    def __enter__(self) -> Self:
        self._stop_reader, self._stop_writer = os.pipe()
        if self.interactive:
            self._saved = termios.tcgetattr(self._input)
            atexit.register(self._restore)
            self._catch_signals()
            tty.setraw(self._input, termios.TCSADRAIN)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.write(self._stop_writer, b"x")
        self._menu_closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        os.close(self._stop_reader)
        os.close(self._stop_writer)
        for number, old in self._handlers.items():
            signal.signal(number, old)
        self._handlers.clear()
        self._restore()

    def write(self, data: bytes) -> None:
        """Show what the guest printed, byte for byte; it waits while the menu is open."""
        self._menu_closed.wait()
        with self._lock:
            self._write_all(data)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._output, view) :]
            except BlockingIOError:
                select.select([], [self._output], [])
            except OSError as error:
                self.output_error = error
                self._actions.quit()
                return

    def _restore(self) -> None:
        saved, self._saved = self._saved, None
        if saved is not None:
            with suppress(termios.error):  # the terminal itself may be gone
                termios.tcsetattr(self._input, termios.TCSADRAIN, saved)
            atexit.unregister(self._restore)

    def _catch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in RESTORING_SIGNALS:
            self._handlers[number] = signal.signal(number, self._die)
        self._handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resized)

    def _die(self, number: int, frame: FrameType | None) -> None:
        """Give the terminal back, then let the signal do what it did before."""
        self._restore()
        signal.signal(number, self._handlers.get(signal.Signals(number)) or signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _resized(self, number: int, frame: FrameType | None) -> None:
        size = self.window()
        if size is not None:
            self._actions.resize(*size)

    def _pump(self) -> None:
        """The terminal's thread: read input until it ends or the attachment does."""
        while data := self._read():
            if self._saved is None:
                self._actions.send(data)
            elif not self._split_escape(data):
                return
        if data is not None and self._saved is not None:
            self._actions.quit()  # a raw terminal ends only when it is gone
        elif data is not None and self._end_of_file:
            self._actions.send(self._end_of_file)

    def _read(self) -> bytes | None:
        """The next input; b"" at its end; None if the attachment ended first."""
        ready, _, _ = select.select([self._input, self._stop_reader], [], [])
        if self._stop_reader in ready:
            return None
        try:
            return os.read(self._input, READ_SIZE)
        except OSError:
            return b""

    def _split_escape(self, data: bytes) -> bool:
        """Pass keys on up to Ctrl-], then serve the menu; False if the attachment is to end."""
        while data:
            before, escape, data = data.partition(ESCAPE)
            if before:
                self._actions.send(before)
            if escape:
                rest = self._menu(data)
                if rest is None:
                    return False
                data = rest
        return True

    def _menu(self, data: bytes) -> bytes | None:
        """Serve the menu with the keys already typed and further ones; what is left of them."""
        with self._lock:
            self._menu_closed.clear()
            self._write_all(MENU)
        try:
            while True:
                keys = data or self._read()
                if keys == b"":
                    self._actions.quit()
                if not keys:
                    return None
                key, data = keys[:1], keys[1:]
                match key:
                    case b"q":
                        self._actions.quit()
                        return None
                    case b"r":
                        self._actions.reset()
                    case b"?" | b"h":
                        self._write_all(HELP + MENU)
                        continue
                    case b"\x1d":
                        self._actions.send(ESCAPE)
                return data
        finally:
            self._menu_closed.set()


def window_size(descriptor: int) -> tuple[int, int] | None:
    """(rows, columns) of the terminal behind a descriptor; None if there is none."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return None
    return (size.lines, size.columns) if size.lines > 0 and size.columns > 0 else None
