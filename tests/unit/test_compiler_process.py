"""The compiler process: it answers, it may die or lie, it ends with the VM and is reaped."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage
from lamina.engine.compiler import client
from lamina.engine.compiler.client import COMMAND, CompilerProcess
from lamina.engine.compiler.protocol import Answer, Kind, Outcome, Request
from lamina.engine.compiler.worker import architecture
from lamina.engine.jit.flow import Decoder
from lamina.engine.jit.region import PageView, form_region
from lamina.engine.jit.request import encode
from lamina.isa.riscv import RISCV64

PACK = Request(Kind.RUNTIME, RISCV64.source, "crypto")
LOOP = (0x0000_0013, 0xFFDF_F06F)  # nop; jal x0, -4
PAGE = b"".join(i.to_bytes(4, "little") for i in LOOP).ljust(4096, b"\0")


def _request(page: bytes) -> bytes:
    """The request for the region at the start of a page all of which ran."""
    view = PageView(page, lambda offset: True)
    region = form_region(Decoder(RISCV64), lambda number: None if number else view, 0)
    assert region is not None
    return encode(region)


REGION = Request(Kind.REGION, RISCV64.source, region=_request(PAGE))


@pytest.fixture
def compiler() -> Iterator[CompilerProcess]:
    made = CompilerProcess()
    yield made
    made.close()


def child(compiler: CompilerProcess) -> "subprocess.Popen[bytes]":
    assert compiler._child is not None
    return compiler._child


def test_packs_and_regions_are_compiled_elsewhere(compiler: CompilerProcess) -> None:
    pack, region = compiler.compile(PACK), compiler.compile(REGION)
    assert pack is not None and region is not None
    assert "forms.crypto" in CodeImage.decode(pack).symbols
    image = CodeImage.decode(region)
    assert set(image.symbols) == {"region"}
    assert {r.symbol for r in image.relocations} <= {"dispatch", "content.0", ""}


@pytest.mark.parametrize(
    "request_",
    [
        Request(Kind.RUNTIME, "os:path", "core"),
        Request(Kind.RUNTIME, "lamina.isa.riscv:EXTENSIONS", "core"),
        Request(Kind.RUNTIME, "lamina.isa.nowhere:ARCH", "core"),
        Request(Kind.RUNTIME, RISCV64.source, "no such pack"),
        Request(Kind.REGION, RISCV64.source, region=b"too short"),
        Request(Kind.REGION, RISCV64.source, region=_request(PAGE)[:-4]),
    ],
)
def test_what_cannot_be_compiled_is_told_and_the_next_request_answered(
    compiler: CompilerProcess, request_: Request, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert compiler.compile(request_) is None
    assert len(caplog.records) == 1
    assert compiler.compile(REGION) is not None


def test_only_instruction_sets_are_imported() -> None:
    with pytest.raises(CodeError):
        architecture("subprocess:Popen")


def test_a_compiler_that_dies_is_told_of_once(
    compiler: CompilerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    assert compiler.compile(REGION) is not None
    answers: list[bytes | None] = []
    with caplog.at_level(logging.WARNING):
        child(compiler).send_signal(signal.SIGSTOP)
        for _ in range(3):
            assert compiler.submit(REGION, answers.append)
        child(compiler).kill()
        assert compiler.compile(REGION) is None
        assert not compiler.submit(REGION, answers.append)
    assert answers == [None] * 3
    assert len(caplog.records) == 1 and "has ended" in caplog.text


@pytest.mark.parametrize(
    "program",
    [
        "print('garbage' * 100, flush=True); input()",
        "import sys; sys.stdout.buffer.write(b'\\x04\\0\\0\\0abcd'); sys.stdout.flush(); input()",
        "import sys; sys.stdout.buffer.write(b'\\xff' * 4); sys.stdout.flush(); input()",
        "import sys; sys.stdout.buffer.write(b'\\x09\\0\\0\\0' + bytes(9)); sys.stdout.flush()",
        "raise SystemExit(1)",
    ],
)
def test_garbage_is_not_listened_to(program: str, caplog: pytest.LogCaptureFixture) -> None:
    compiler = CompilerProcess((sys.executable, "-c", program))
    with caplog.at_level(logging.WARNING):
        assert compiler.compile(REGION) is None
        assert compiler.compile(REGION) is None
    assert len(caplog.records) == 1
    compiler.close()


def test_a_compiler_that_cannot_be_started_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    compiler = CompilerProcess(("/nonexistent/compiler",))
    with caplog.at_level(logging.WARNING):
        assert compiler.compile(REGION) is None
        assert compiler.compile(REGION) is None
    assert len(caplog.records) == 1


def test_closing_reaps_the_process_and_answers_what_is_waited_for() -> None:
    compiler = CompilerProcess()
    answers: list[bytes | None] = []
    for _ in range(20):
        compiler.submit(PACK, answers.append)
    process = child(compiler)
    compiler.close()
    assert process.returncode is not None
    assert len(answers) == 20
    assert compiler.compile(REGION) is not None  # another one
    compiler.close()


def test_who_is_answered_may_want_something_first(compiler: CompilerProcess) -> None:
    """A region calls a routine of a pack that is not loaded; others are answered meanwhile."""
    wanted: queue.Queue[bytes | None] = queue.Queue()
    answers: queue.Queue[bytes | None] = queue.Queue()
    compiler.submit(REGION, lambda image: wanted.put(compiler.compile(PACK)))
    for _ in range(3):
        compiler.submit(REGION, answers.put)
    assert wanted.get(timeout=60) is not None
    assert all(answers.get(timeout=60) is not None for _ in range(3))


def test_no_process_is_started_after_the_end() -> None:
    """Callers answer a lost region with the next request, at the end of the VM too."""
    compiler = CompilerProcess()
    asked = []

    def again(image: bytes | None) -> None:
        asked.append(compiler.submit(REGION, again))

    assert compiler.submit(PACK, again)
    compiler.close(for_good=True)
    assert asked[-1] is False and compiler._child is None
    assert compiler.compile(REGION) is None


def test_the_terminals_interrupt_is_not_for_it(compiler: CompilerProcess) -> None:
    assert compiler.compile(REGION) is not None
    assert os.getpgid(child(compiler).pid) != os.getpgid(0)
    child(compiler).send_signal(signal.SIGINT)
    assert compiler.compile(REGION) is not None


def test_it_ends_with_its_parent() -> None:
    program = (
        "import time\n"
        "from lamina.engine.compiler.client import CompilerProcess\n"
        "from lamina.engine.compiler.protocol import Kind, Request\n"
        "c = CompilerProcess()\n"
        "c.submit(Request(Kind.RUNTIME, 'lamina.isa.riscv:RISCV64', 'core'), print)\n"
        "print(c._child.pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_that_is_told_nonsense_ends() -> None:
    ended = subprocess.run(COMMAND, input=b"\x03\0\0\0abc", capture_output=True, timeout=60)
    assert ended.stdout == b""


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    for decode in (Request.decode, Answer.decode):
        try:
            decode(body)
        except CodeError:
            continue


@given(st.integers(0, 1 << 63), st.text(max_size=50), st.text(max_size=20), st.binary())
def test_messages_come_back_as_they_were(number: int, arch: str, pack: str, content: bytes) -> None:
    request = Request(Kind.REGION, arch, pack, content)
    assert Request.decode(request.encode(number)) == (number, request)
    answer = Answer(number, Outcome.ERROR, content)
    assert Answer.decode(answer.encode()) == answer


def test_a_machine_with_its_runtime_in_the_cache_loads_no_llvm() -> None:
    """Nor does it start a compiler."""
    program = (
        "import sys\n"
        "from lamina.machine import Machine, MachineConfig\n"
        "from lamina.testing import programs\n"
        "for engine in ('threaded', 'jit'):\n"
        "    with Machine(MachineConfig(engine=engine, firmware='bare',\n"
        "                 kernel=programs.path('exit7'))) as machine:\n"
        "        print(machine.run().reason)\n"
        "from lamina.engine.compiler.client import compiler_process\n"
        "print([m for m in sys.modules if m.startswith('llvmlite')], compiler_process()._child)\n"
    )
    for _ in range(2):  # the first may have to compile
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
    assert ended.stdout.splitlines()[-1] == "[] None"


def test_it_ends_when_it_is_idle_and_another_one_starts(
    compiler: CompilerProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(client.IDLE_SECONDS, Kind.REGION, 0.05)
    assert compiler.compile(REGION) is not None
    first, reader = child(compiler), compiler._reader
    assert reader is not None
    reader.join(30)
    assert not compiler.running
    assert first.returncode == 0, "it was reaped"
    assert compiler.compile(REGION) is not None
    assert compiler._child is not first
    assert not caplog.records


def test_who_asks_while_an_idle_process_is_reaped_is_answered_by_the_next_one(
    compiler: CompilerProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reapers: queue.Queue[threading.Thread] = queue.Queue()
    asked = threading.Event()
    reap = CompilerProcess._reap

    def slowly(compiler: CompilerProcess, process: "subprocess.Popen[bytes]") -> None:
        reap(compiler, process)
        reapers.put(threading.current_thread())
        assert asked.wait(30)

    monkeypatch.setitem(client.IDLE_SECONDS, Kind.REGION, 0.05)
    monkeypatch.setattr(CompilerProcess, "_reap", slowly)
    assert compiler.compile(REGION) is not None
    reader = reapers.get(timeout=30)
    monkeypatch.setattr(CompilerProcess, "_reap", reap)
    answers: queue.Queue[bytes | None] = queue.Queue()
    for _ in range(3):
        assert compiler.submit(REGION, answers.put)
    asked.set()
    reader.join(30)
    assert all(answers.get(timeout=60) is not None for _ in range(3))
    assert not caplog.records


def test_an_answer_says_what_it_took(compiler: CompilerProcess) -> None:
    assert compiler.compile(REGION) is not None
    assert 0.0001 < compiler.answer_seconds < 10
