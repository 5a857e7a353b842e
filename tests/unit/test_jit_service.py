"""What is to be compiled, and who is told, with a compiler process that is a stand-in."""

import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from regions import region

from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage
from lamina.engine.code.store import CodeStore
from lamina.engine.compiler.protocol import Request
from lamina.engine.jit import service as module
from lamina.engine.jit.heat import Heat
from lamina.engine.jit.hotspots import Spot
from lamina.engine.jit.library import Compiled, RegionLibrary
from lamina.engine.jit.request import ENTRY
from lamina.engine.jit.service import AHEAD, MAX_JOBS, CompilerService
from lamina.isa.riscv import RISCV64

IMAGE = CodeImage(b"\xc3" + bytes(63), {ENTRY: 0}).encode()


class Process:
    """Remembers what it is asked; the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[Request, Callable[[bytes | None], None]]] = []
        self.full = False
        self.running = True
        self.answer_seconds = 0.01

    def submit(self, request: Request, done: Callable[[bytes | None], None]) -> bool:
        if not self.full:
            self.asked.append((request, done))
        return not self.full

    def answer(self, image: bytes | None = IMAGE) -> None:
        self.asked.pop(0)[1](image)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    monkeypatch.setattr(module, "compiler_process", lambda: process)
    return process


@pytest.fixture
def service(tmp_path: Path) -> CompilerService:
    def resolve(name: str) -> int:
        raise CodeError(f"there is no {name}")

    store = CodeStore(tmp_path, 1 << 20)
    return CompilerService(RISCV64, RegionLibrary("1", resolve, store))


def submit(service: CompilerService, number: int = 0, heat: int = 1) -> list[Compiled | None]:
    """Ask for a region, one of many; what comes back."""
    r = region(f"li a0, {number}\n 1: addi a0, a0, -1\n bnez a0, 1b\n ret")
    answers: list[Compiled | None] = []
    spot = Spot(r, dict.fromkeys(r.pages, 4096), heat)
    contents = {n: service.library.number(source) for n, source in r.pages.items()}
    service.submit(spot, contents, answers.append)
    return answers


def test_an_answer_becomes_a_region(service: CompilerService, process: Process) -> None:
    answers = submit(service)
    assert answers == []
    process.answer()
    (compiled,) = answers
    assert compiled is not None
    assert compiled.entries == (0, 4)
    assert service.statistics().compiled == 1


def test_all_vcpus_that_ask_for_a_region_get_it(service: CompilerService, process: Process) -> None:
    first, second = submit(service), submit(service)
    assert len(process.asked) == 1
    process.answer()
    third = submit(service)
    assert first == second == third != [None]
    assert process.asked == []


def test_all_are_told_that_there_will_be_none(service: CompilerService, process: Process) -> None:
    first, second = submit(service), submit(service)
    process.answer(None)
    assert first == second == submit(service) == [None]
    assert process.asked == []
    assert service.statistics().refused == 1


def test_garbage_is_no_region(service: CompilerService, process: Process) -> None:
    answers = submit(service)
    process.answer(b"garbage")
    assert answers == [None]


def test_the_hottest_is_compiled_first(service: CompilerService, process: Process) -> None:
    cold = [submit(service, i) for i in range(AHEAD + 2)]
    hot = submit(service, 99, heat=50)
    assert len(process.asked) == AHEAD
    process.answer()
    for _ in range(AHEAD):
        process.answer()
    assert hot != []
    assert cold[-1] == []


def test_of_too_many_the_coldest_goes(service: CompilerService, process: Process) -> None:
    for i in range(AHEAD + MAX_JOBS):
        submit(service, i, heat=5)
    coldest = submit(service, 900, heat=1)
    assert coldest == [None]
    hotter = submit(service, 901, heat=9)
    assert hotter == []


def test_a_compiler_that_takes_no_more_is_no_error(
    service: CompilerService, process: Process
) -> None:
    process.full = True
    assert submit(service) == [None]
    service.wait()


def test_a_process_is_started_when_what_waits_is_worth_it(
    service: CompilerService, process: Process
) -> None:
    process.running = False
    cold = submit(service, 1, heat=1)
    assert (process.asked, cold) == ([], [])
    service.look_again()
    assert process.asked == []
    hot = submit(service, 2, heat=10_000)
    assert len(process.asked) == AHEAD
    process.answer()
    process.answer()
    assert None not in (*hot, *cold)
    assert len(hot) == len(cold) == 1


def test_whoever_waits_for_all_does_not_wait_for_more_heat(
    service: CompilerService, process: Process
) -> None:
    process.running = False
    answers = submit(service, 1, heat=1)
    waiting = threading.Thread(target=service.wait)
    waiting.start()
    while not process.asked:
        assert waiting.is_alive()
    process.answer()
    waiting.join()
    assert len(answers) == 1


def test_vcpus_that_ask_at_once_share_one_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(path: Path) -> Heat:
        time.sleep(0.05)
        return Heat(path)

    store = CodeStore(tmp_path, 1 << 20)
    monkeypatch.setattr(module, "Heat", slowly)
    monkeypatch.setattr(module, "code_store", lambda kind: store)
    monkeypatch.setattr(module, "code_folder", lambda: tmp_path)
    monkeypatch.setattr(module, "_heat", cache(module._heat.__wrapped__))
    monkeypatch.setattr(module, "_service", cache(module._service.__wrapped__))
    found: list[CompilerService] = []
    vcpus = [
        threading.Thread(target=lambda: found.append(module.compiler_service(RISCV64, False)))
        for _ in range(4)
    ]
    for vcpu in vcpus:
        vcpu.start()
    for vcpu in vcpus:
        vcpu.join()
    store.close()
    assert len(found) == 4
    assert len({id(one) for one in found}) == 1
