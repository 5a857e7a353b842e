"""The compiler process's side: requests in on standard input, images out on standard output.

One thread reads, so that the VM never waits at a full pipe and the process ends at once with it;
the main thread compiles, a guest's runtime before regions. Nothing a request holds is believed to
be more than bytes: what cannot be compiled is answered with an error.
"""

import gc
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import BinaryIO, assert_never

from lamina.base.errors import CodeError, LaminaError
from lamina.engine.compiler.protocol import Answer, Kind, Outcome, Request, receive, send
from lamina.isa.arch import Arch

ISA_PACKAGE = "lamina.isa."

_Waiting = tuple[int, int, int, Request]  # urgency, order, number


def main() -> None:
    """Serve until the other side closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is for the guest
    requests, answers = _pipes()
    # What is imported stays; regions leave few cycles behind.
    gc.freeze()
    gc.set_threshold(100_000)
    Worker(requests, answers, compiled).serve()


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes, and nothing at the places where libraries would read and print."""
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


class Worker:
    """Answers requests with `handle`, which gives an encoded image or None."""

    def __init__(
        self, requests: BinaryIO, answers: BinaryIO, handle: Callable[[Request], bytes | None]
    ) -> None:
        self._requests = requests
        self._answers = answers
        self._handle = handle
        self._waiting: queue.PriorityQueue[_Waiting] = queue.PriorityQueue()

    def serve(self) -> None:
        """Until the process ends."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        while True:
            _, _, number, request = self._waiting.get()
            try:
                begun = time.process_time()
                answer = self._answer(number, request)
                spent = time.process_time() - begun
                send(self._answers, replace(answer, seconds=spent).encode())
            except OSError:
                return

    def _answer(self, number: int, request: Request) -> Answer:
        try:
            image = self._handle(request)
        except Exception as error:
            text = str(error) if isinstance(error, LaminaError) else repr(error)
            return Answer(number, Outcome.ERROR, text.encode())
        if image is None:
            return Answer(number, Outcome.NOTHING)
        return Answer(number, Outcome.IMAGE, image)

    def _read(self) -> None:
        order = 0
        try:
            while (body := receive(self._requests)) is not None:
                number, request = Request.decode(body)
                self._waiting.put((request.kind, order, number, request))
                order += 1
        finally:
            # The VM is gone, or talks nonsense: do not even finish what is under way.
            sys.stdout.flush()
            os._exit(0)


def compiled(request: Request) -> bytes | None:
    """The encoded image that a request asks for; None if there is nothing to compile."""
    arch = architecture(request.arch)
    match request.kind:
        case Kind.RUNTIME:
            from lamina.engine.threaded.packs import compile_pack

            return compile_pack(arch, request.pack).encode()
        case Kind.REGION:
            from lamina.engine.jit.request import handle
            from lamina.engine.llvm.compiler import compile_image

            text = handle(arch, request.region)
            return None if text is None else compile_image(text, passes="region").encode()
        case _:
            assert_never(request.kind)


@cache
def architecture(source: str) -> Arch:
    """An instruction set by `Arch.source`: "module:name", below `lamina.isa` only."""
    module, _, name = source.partition(":")
    if not module.startswith(ISA_PACKAGE):
        raise CodeError(f"compiler: {source!r} is no instruction set")
    try:
        arch = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CodeError(f"compiler: {source!r} is no instruction set: {error}") from None
    if not isinstance(arch, Arch):
        raise CodeError(f"compiler: {source!r} is no instruction set")
    return arch
