"""The VM's side of the compiler process: started at a request, asked, and reaped. It takes some 100
MB, and most guests come to a state where nothing is compiled any more: so it ends when it has been
idle for a while, and the next request starts another one.

A compiler that dies or answers garbage is told of once, in one line; from then on every request is
answered with nothing, and the guest runs on in the threaded engine.
"""

import atexit
import logging
import os
import select
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
from lamina.engine.compiler.protocol import Answer, Kind, Outcome, Request, receive, send

if TYPE_CHECKING:
    import subprocess

log = logging.getLogger(__name__)

MAX_WAITING = 4_096  # requests
# Without work, by what was wanted last. Where a region was hot there will be more; a pack is wanted
# while a guest boots, and what is hot is not looked for until it has.
IDLE_SECONDS = {Kind.RUNTIME: 0.4, Kind.REGION: 30.0}
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
        self._waiting: dict[int, Done] = {}  # for this child's answers, by request
        self._number = 0
        self._wanted = Kind.RUNTIME  # last
        self.answer_seconds = 0.0  # of the compiler's CPU time for the answer that is told of now
        self._broken = False  # or ended for good
        self._registered = False  # to be closed when this process ends
        self._lock = threading.Lock()  # guards all above, and the request pipe

    @property
    def running(self) -> bool:
        """Whether a request need not wait for a process to start."""
        return self._child is not None

    def submit(self, request: Request, done: Done) -> bool:
        """Ask for an image; `done` gets it, encoded, or None, on the reader thread. False if there
        is no compiler, or too much to do for it: then nothing was asked and `done` is not called.
        """
        with self._lock:
            if self._broken or not self._start() or len(self._waiting) >= MAX_WAITING:
                return False
            self._number += 1
            self._wanted = request.kind
            self._waiting[self._number] = done
            with suppress(OSError):  # the reader notices that the process has ended, and tells
                send(self._pipe("stdin"), request.encode(self._number))
            return True

    def compile(self, request: Request) -> bytes | None:
        """The image, waited for; None if there is none."""
        answered = threading.Event()
        answers: list[bytes | None] = []

        def done(image: bytes | None) -> None:
            answers.append(image)
            answered.set()

        while not self.submit(request, done):
            if self._broken:
                return None
            answered.wait(0.01)
        if threading.current_thread() is not self._reader:
            answered.wait()
        else:  # a `done` wants something itself: nobody else reads meanwhile
            while not answered.is_set():
                if not self._take_answer(self._pipe("stdout"), self._waiting):
                    return None
        return answers[0]

    def close(self, for_good: bool = False) -> None:
        """End the process and reap it. What is waited for is answered with None. The next request
        starts another process, if this was not for good."""
        with self._lock:
            self._broken |= for_good
            child, self._child = self._child, None
            reader, self._reader = self._reader, None
        if child is not None:
            self._reap(child)
        if reader is not None and reader is not threading.current_thread():
            reader.join()

    def _reap(self, child: "subprocess.Popen[bytes]") -> None:
        import subprocess

        with suppress(OSError):
            cast(BinaryIO, child.stdin).close()
        try:
            child.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()

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
        # Of its own: the reader of the one before may not have ended, and tells all who wait there.
        self._waiting = {}
        self._reader = threading.Thread(
            target=self._read,
            args=(self._child, self._waiting),
            name="lamina-compiler",
            daemon=True,
        )
        self._reader.start()
        if not self._registered:
            self._registered = True
            atexit.register(self.close, for_good=True)
        return True

    def _pipe(self, name: str) -> BinaryIO:
        return cast(BinaryIO, getattr(self._child, name))

    def _give_up(self, why: str) -> None:
        """`_lock` is held."""
        self._broken = True
        log.warning("the compiler process %s; hot code is not compiled any more", why)

    # -- answers -------------------------------------------------------------------------------
    def _read(self, child: "subprocess.Popen[bytes]", waiting: dict[int, Done]) -> None:
        why = "has ended"
        try:
            with cast(BinaryIO, child.stdout) as pipe:
                while not self._ended_idle(child, pipe) and self._take_answer(pipe, waiting):
                    pass
        except (CodeError, OSError) as error:
            why = f"answers garbage ({error})"
        with self._lock:
            if self._child is child:  # nobody closed it
                self._give_up(why)
                child.kill()
            left = list(waiting.values())
            waiting.clear()
        for done in left:
            done(None)

    def _ended_idle(self, child: "subprocess.Popen[bytes]", pipe: BinaryIO) -> bool:
        """Wait while nothing is asked; whether that was for so long that the process was ended."""
        with self._lock:
            if self._waiting or self._child is not child:
                return False
            patience = IDLE_SECONDS[self._wanted]
        ready, _, _ = select.select([pipe], [], [], patience)
        with self._lock:
            if ready or self._waiting or self._child is not child:
                return False
            self._child = self._reader = None
        self._reap(child)
        return True

    def _take_answer(self, pipe: BinaryIO, waiting: dict[int, Done]) -> bool:
        """The next answer to who waits for it; False at the end."""
        body = receive(pipe)
        if body is None:
            return False
        answer = Answer.decode(body)
        with self._lock:
            done = waiting.pop(answer.number, None)
        if done is None:
            raise CodeError("an answer that nobody waits for")
        self.answer_seconds = answer.seconds
        if answer.outcome == Outcome.ERROR:
            log.warning("the compiler: %s", answer.content.decode(errors="replace")[:400])
        try:
            done(answer.content if answer.outcome == Outcome.IMAGE else None)
        except Exception:
            log.exception("compiled code could not be taken over")
        return True


@cache
def compiler_process() -> CompilerProcess:
    """The process's compiler."""
    return CompilerProcess()
