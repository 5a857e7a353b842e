"""A machine with the terminal attached, from power-on to an exit status.

Called by `launch.py`. Owns the terminal's attachment and the thread that the machine runs on: one
of its own, so that the main thread answers signals at once whatever the engine is doing. The
protocols say what the command line needs of `lamina.machine`.
"""

import errno
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from lamina.base.errors import HostError
from lamina.engine.statistics import EngineStatistics
from lamina.host.gate import ReadyGate
from lamina.host.terminal import ConsoleActions, Terminal

INPUT, OUTPUT = 0, 1
STATUS_MASK = 0xFF
STATUS_CRASH = 70
STATUS_TIMEOUT = 124
STATUS_LIMIT = 125
STATUS_INTERRUPTED = 130
STOP_PATIENCE = 5.0


class Console(Protocol):
    """The machine's console, as `lamina.machine` has it."""

    def attach(self, output: Callable[[bytes], None]) -> None:
        """Every byte that the guest prints goes to `output`."""

    def send(self, data: bytes) -> None:
        """Type `data`; from any thread."""


class Outcome(Protocol):
    """Why a run ended: `reason`, the guest's `code`, and a `detail` for people."""

    @property
    def reason(self) -> str:
        """poweroff, fail, reboot, crash, timeout, limit or stopped."""

    @property
    def code(self) -> int:
        """What the guest gave its test finisher."""

    @property
    def detail(self) -> str:
        """One line, for a crash."""


class Machine(Protocol):
    """What the command line needs of `lamina.machine.Machine`. `stop`: from any thread."""

    @property
    def console(self) -> Console:
        """The console."""

    def run(self, *, max_instructions: int | None, timeout: float | None) -> Outcome:
        """Run until something ends it."""

    def stop(self) -> None:
        """End the run; safe before it began."""

    def reset(self) -> None:
        """Back to the state after power-on."""

    def device_tree(self) -> bytes:
        """The flattened device tree."""

    def statistics(self) -> EngineStatistics:
        """What the engines have counted."""


class Session:
    """A machine that runs with the terminal attached, from power-on to an exit status."""

    def __init__(
        self,
        machine: Machine,
        timeout: float | None,
        max_instructions: int | None = None,
        *,
        reboots: bool = True,
        end_of_file: bytes = b"",
        hold_input: bool = False,
        hide_boot: bool = False,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`reboots`: a guest that asks for a reboot gets one. `end_of_file` is typed when a pipe
        ends. `hold_input`, `hide_boot`: until the guest says that it is ready, when `on_ready` is
        called if any of them is set."""
        self._machine = machine
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._max_instructions = max_instructions
        self._reboots = reboots
        self._quit = threading.Event()
        self._reset = threading.Event()
        actions = ConsoleActions(send=self._type, quit=self._stop, reset=self._press_reset)
        self._terminal = Terminal(
            actions, input_fd=INPUT, output_fd=OUTPUT, end_of_file=end_of_file
        )
        self._gate = (
            ReadyGate(
                self._terminal.write,
                machine.console.send,
                hide_boot=hide_boot,
                on_ready=on_ready,
            )
            if hold_input or hide_boot
            else None
        )

    def run(self) -> int:
        """Run to the end; the exit status."""
        ended: Future[Outcome] = Future()
        self._machine.console.attach(self._gate.write if self._gate else self._terminal.write)
        thread = threading.Thread(
            target=self._run_machine, args=(ended,), name="lamina-machine", daemon=True
        )
        try:
            with self._terminal:
                thread.start()
                outcome = ended.result()
        except KeyboardInterrupt:
            self._stop()
            thread.join(STOP_PATIENCE)
            return STATUS_INTERRUPTED
        lost = self._terminal.output_error
        if lost is not None and lost.errno != errno.EPIPE:  # `| head` has seen enough
            raise HostError(f"standard output: cannot be written: {lost.strerror}")
        if self._gate is not None and outcome.reason != "poweroff" and self._gate.hidden:
            sys.stderr.buffer.write(self._gate.hidden)
            sys.stderr.flush()
        return 0 if self._quit.is_set() else self._status(outcome)

    def _run_machine(self, ended: "Future[Outcome]") -> None:
        try:
            ended.set_result(self._run_until_end())
        except BaseException as error:
            ended.set_exception(error)

    def _run_until_end(self) -> Outcome:
        while True:
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            outcome = self._machine.run(max_instructions=self._max_instructions, timeout=left)
            pressed = outcome.reason == "stopped" and self._reset.is_set()
            if self._quit.is_set() or not (
                pressed or (outcome.reason == "reboot" and self._reboots)
            ):
                return outcome
            self._reset.clear()
            self._machine.reset()

    def _type(self, data: bytes) -> None:
        (self._gate or self._machine.console).send(data)

    def _stop(self) -> None:
        self._quit.set()
        self._machine.stop()

    def _press_reset(self) -> None:
        self._reset.set()
        self._machine.stop()

    def _status(self, outcome: Outcome) -> int:
        """The exit status for an outcome; what is not the guest's own gets a line on stderr."""
        match outcome.reason:
            case "poweroff" | "fail":
                bad = outcome.reason == "fail" or outcome.code
                return outcome.code & STATUS_MASK or (1 if bad else 0)
            case "timeout":
                message, status = "the timeout ran out", STATUS_TIMEOUT
            case "limit":
                message, status = "the instruction limit was reached", STATUS_LIMIT
            case "stopped":
                message, status = "the machine was stopped", STATUS_INTERRUPTED
            case _:
                message, status = f"the guest ended by a {outcome.reason}", STATUS_CRASH
        detail = f": {outcome.detail}" if outcome.detail else ""
        print(f"lamina: {message}{detail}", file=sys.stderr)
        return status
