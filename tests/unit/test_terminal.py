"""The terminal as a console, on pseudo-terminals and pipes."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lamina.host.gate import MARKER, ReadyGate
from lamina.host.terminal import ConsoleActions, Terminal

PATIENCE = 10.0


@dataclass
class Recorder:
    """What the terminal asked for; `wait` until it asked for all of `expected`."""

    events: list[object] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, event: object) -> None:
        with self.changed:
            if isinstance(event, bytes) and self.events and isinstance(self.events[-1], bytes):
                self.events[-1] += event
            else:
                self.events.append(event)
            self.changed.notify_all()

    def wait(self, *expected: object) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.events == list(expected), PATIENCE)
            assert self.events == list(expected)

    def actions(self) -> ConsoleActions:
        return ConsoleActions(
            send=self.note,
            quit=lambda: self.note("quit"),
            reset=lambda: self.note("reset"),
            resize=lambda rows, columns: self.note((rows, columns)),
        )


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: (the person's end, the program's end)."""
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def read_until(descriptor: int, text: bytes) -> bytes:
    found = b""
    while text not in found:
        assert select.select([descriptor], [], [], PATIENCE)[0], found
        found += os.read(descriptor, 4096)
    return found


def settings(descriptor: int) -> list[Any]:
    return termios.tcgetattr(descriptor)


def test_keys_reach_the_guest_one_by_one_and_control_c_too(ends: tuple[int, int]) -> None:
    person, program = ends
    recorder = Recorder()
    with Terminal(recorder.actions(), input_fd=program, output_fd=program):
        os.write(person, b"ls\r\x03\x1a\x04")
        recorder.wait(b"ls\r\x03\x1a\x04")


def test_output_passes_as_it_is(ends: tuple[int, int]) -> None:
    person, program = ends
    with Terminal(Recorder().actions(), input_fd=program, output_fd=program) as terminal:
        terminal.write(b"\x1b[1mbold\x1b[0m\n\x00\xff.")
        assert read_until(person, b".") == b"\x1b[1mbold\x1b[0m\n\x00\xff."


@pytest.mark.parametrize("error", [None, RuntimeError("engine broke"), KeyboardInterrupt()])
def test_settings_come_back_however_it_ends(
    ends: tuple[int, int], error: BaseException | None
) -> None:
    _, program = ends
    before = settings(program)
    try:
        with Terminal(Recorder().actions(), input_fd=program, output_fd=program):
            assert settings(program) != before
            if error is not None:
                raise error
    except (RuntimeError, KeyboardInterrupt) as caught:
        assert caught is error
    assert settings(program) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_settings_come_back_on_a_deadly_signal(ends: tuple[int, int], number: int) -> None:
    person, program = ends
    before = settings(program)
    text = (
        "import signal\n"
        "from lamina.host.terminal import ConsoleActions, Terminal\n"
        "nothing = lambda *_: None\n"
        "with Terminal(ConsoleActions(nothing, nothing, nothing)) as terminal:\n"
        "    terminal.write(b'ready')\n"
        "    while True: signal.pause()\n"
    )
    command = [sys.executable, "-c", text]
    child = subprocess.Popen(command, stdin=program, stdout=program, start_new_session=True)
    read_until(person, b"ready")
    assert settings(program) != before
    child.send_signal(number)
    assert child.wait(PATIENCE) == -number
    assert settings(program) == before


def test_menu_quits(ends: tuple[int, int]) -> None:
    person, program = ends
    recorder = Recorder()
    with Terminal(recorder.actions(), input_fd=program, output_fd=program):
        os.write(person, b"a\x1d")
        read_until(person, b"q quit")
        os.write(person, b"q")
        recorder.wait(b"a", "quit")


def test_menu_resets_helps_sends_its_own_key_and_goes_on(ends: tuple[int, int]) -> None:
    person, program = ends
    recorder = Recorder()
    with Terminal(recorder.actions(), input_fd=program, output_fd=program):
        os.write(person, b"\x1dr")
        recorder.wait("reset")
        os.write(person, b"\x1d?")
        read_until(person, b"All keys go to the guest")
        os.write(person, b"\x1dback")
        recorder.wait("reset", b"\x1dback")
        os.write(person, b"\x1dx!")
        recorder.wait("reset", b"\x1dback!")


def test_guest_output_waits_while_the_menu_is_open(ends: tuple[int, int]) -> None:
    person, program = ends
    with Terminal(Recorder().actions(), input_fd=program, output_fd=program) as terminal:
        os.write(person, b"\x1d")
        read_until(person, b"go on\r\n")
        writer = threading.Thread(target=terminal.write, args=(b"GUEST",))
        writer.start()
        os.write(person, b"?")
        assert b"GUEST" not in read_until(person, b"go on\r\n")
        os.write(person, b" ")
        assert read_until(person, b"GUEST") == b"GUEST"
        writer.join(PATIENCE)


def test_leaving_with_the_menu_open_lets_the_output_go(ends: tuple[int, int]) -> None:
    person, program = ends
    with Terminal(Recorder().actions(), input_fd=program, output_fd=program) as terminal:
        os.write(person, b"\x1d")
        read_until(person, b"go on\r\n")
    terminal.write(b"last words")
    read_until(person, b"last words")


def test_window_size_is_told_and_told_again_when_it_changes(ends: tuple[int, int]) -> None:
    _, program = ends
    termios.tcsetwinsize(program, (24, 80))
    recorder = Recorder()
    with Terminal(recorder.actions(), input_fd=program, output_fd=program) as terminal:
        assert terminal.window() == (24, 80)
        termios.tcsetwinsize(program, (50, 132))
        os.kill(os.getpid(), signal.SIGWINCH)
        recorder.wait((50, 132))


def test_signal_handlers_come_back(ends: tuple[int, int]) -> None:
    _, program = ends
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)
    before = [signal.getsignal(number) for number in numbers]
    with Terminal(Recorder().actions(), input_fd=program, output_fd=program):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in numbers] == before


def test_pipe_is_read_to_its_end_and_the_end_is_typed() -> None:
    reader, writer = os.pipe()
    recorder = Recorder()
    with Terminal(recorder.actions(), input_fd=reader, output_fd=writer, end_of_file=b"\x04"):
        os.write(writer, b"one\x1dq\ntwo")
        recorder.wait(b"one\x1dq\ntwo")
        os.close(writer)
        recorder.wait(b"one\x1dq\ntwo\x04")
    os.close(reader)


def test_pipe_has_no_window_and_is_not_interactive() -> None:
    reader, writer = os.pipe()
    terminal = Terminal(Recorder().actions(), input_fd=reader, output_fd=writer)
    assert not terminal.interactive and terminal.window() is None
    os.close(reader)
    os.close(writer)


def test_output_that_nobody_reads_any_more_quits() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    recorder = Recorder()
    empty_reader, empty_writer = os.pipe()
    with Terminal(recorder.actions(), input_fd=empty_reader, output_fd=writer) as terminal:
        terminal.write(b"x")
        recorder.wait("quit")
    for descriptor in (writer, empty_reader, empty_writer):
        os.close(descriptor)


def gate(*, hide_boot: bool) -> tuple[ReadyGate, bytearray, bytearray]:
    shown, typed = bytearray(), bytearray()
    return ReadyGate(shown.extend, typed.extend, hide_boot=hide_boot), shown, typed


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("hide_boot", [True, False])
def test_gate_holds_input_until_the_guest_is_ready(size: int, hide_boot: bool) -> None:
    held, shown, typed = gate(hide_boot=hide_boot)
    held.send(b"early ")
    stream = b"boot \x1b[0m \x1b_ text" + MARKER + b"result " + MARKER
    for start in range(0, len(stream), size):
        assert typed in (b"", b"early ")
        held.write(stream[start : start + size])
    held.send(b"late")
    boot = b"" if hide_boot else b"boot \x1b[0m \x1b_ text"
    assert bytes(shown) == boot + b"result " + MARKER
    assert bytes(typed) == b"early late"


def test_gate_shows_each_output_at_once_when_boot_is_not_hidden() -> None:
    held, shown, _ = gate(hide_boot=False)
    held.write(b"login: ")
    assert bytes(shown) == b"login: "


def test_gate_keeps_only_the_last_of_a_boot_that_never_ends() -> None:
    held, shown, typed = gate(hide_boot=True)
    for _ in range(40):
        held.write(b"x" * 100_000)
        held.send(b"y" * 100_000)
    assert len(held.hidden) == 1 << 20 and not shown and not typed
