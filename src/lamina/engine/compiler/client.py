"""The VM's side of the compiler process: started at the first request, asked, and reaped.

A compiler that dies or answers garbage is told of once, in one line; from then on every request is
answered with nothing, and the guest runs on in the threaded engine.
"""

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import lamina
from lamina.base.errors import CodeError
from lamina.engine.compiler.protocol import Answer, Outcome, Request, receive, send

if TYPE_CHECKING:
    import subprocess

log = logging.getLogger(__name__)

MAX_WAITING = 4_096  # requests
CLOSE_SECONDS = 5.0  # for the child to end when its pipe is closed, before it is killed

# -P: no module is taken from the current folder.
COMMAND = (sys.executable, "-P", "-m", "lamina.engine.compiler")

Done = Callable[[bytes | None], None]


class CompilerProcess:
    """One compiler process. Any thread may call it."""

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None  # imported at the start of one
        self._reader: threading.Thread | None = None
        self._waiting: dict[int, Done] = {}
        self._number = 0
        self._broken = False
        self._lock = threading.Lock()  # guards all above, and the request pipe

    def submit(self, request: Request, done: Done) -> bool:
        """Ask for an image; `done` gets it, encoded, or None, on the reader thread (or at once, if
        there is no compiler). False if too much is waited for already: then nothing was asked."""
        with self._lock:
            if not self._broken and self._start():
                if len(self._waiting) >= MAX_WAITING:
                    return False
                self._number += 1
                self._waiting[self._number] = done
                with suppress(OSError):  # the reader notices that the process has ended, and tells
                    send(self._pipe("stdin"), request.encode(self._number))
                return True
        done(None)
        return True

    def compile(self, request: Request) -> bytes | None:
        """The image, waited for."""
        answered = threading.Event()
        answers: list[bytes | None] = []

        def done(image: bytes | None) -> None:
            answers.append(image)
            answered.set()

        while not self.submit(request, done):
            answered.wait(0.01)
        answered.wait()
        return answers[0]

    def close(self) -> None:
        """End the process and reap it. What is waited for is answered with None; the next request
        starts another process."""
        with self._lock:
            child, self._child = self._child, None
            reader, self._reader = self._reader, None
        if child is None:
            return
        import subprocess

        with suppress(OSError):
            cast(BinaryIO, child.stdin).close()
        try:
            child.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        if reader is not None and reader is not threading.current_thread():
            reader.join()

    # -- the child -----------------------------------------------------------------------------
    def _start(self) -> bool:
        """Whether the process runs; `_lock` is held."""
        if self._child is not None:
            return True
        import subprocess

        package = str(Path(lamina.__file__).parents[1])
        more = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([package, more] if more else [package])
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                process_group=0,  # signals from the terminal are not for it
            )
        except OSError as error:
            self._give_up(f"cannot be started: {error}")
            return False
        self._reader = threading.Thread(
            target=self._read, args=(self._child,), name="lamina-compiler", daemon=True
        )
        self._reader.start()
        atexit.register(self.close)
        return True

    def _pipe(self, name: str) -> BinaryIO:
        return cast(BinaryIO, getattr(self._child, name))

    def _give_up(self, why: str) -> None:
        """`_lock` is held."""
        self._broken = True
        log.warning("the compiler process %s; hot code is not compiled any more", why)

    # -- answers -------------------------------------------------------------------------------
    def _read(self, child: "subprocess.Popen[bytes]") -> None:
        why = "has ended"
        try:
            with cast(BinaryIO, child.stdout) as pipe:
                while (body := receive(pipe)) is not None:
                    self._answer(Answer.decode(body))
        except (CodeError, OSError) as error:
            why = f"answers garbage ({error})"
        with self._lock:
            if self._child is child:  # nobody closed it
                self._give_up(why)
                child.kill()
            left, self._waiting = self._waiting, {}
        for done in left.values():
            done(None)

    def _answer(self, answer: Answer) -> None:
        with self._lock:
            done = self._waiting.pop(answer.number, None)
        if done is None:
            raise CodeError("an answer that nobody waits for")
        if answer.outcome == Outcome.ERROR:
            log.warning("the compiler: %s", answer.content.decode(errors="replace")[:400])
        try:
            done(answer.content if answer.outcome == Outcome.IMAGE else None)
        except Exception:
            log.exception("compiled code could not be taken over")


@cache
def compiler_process() -> CompilerProcess:
    """The process's compiler."""
    return CompilerProcess()
