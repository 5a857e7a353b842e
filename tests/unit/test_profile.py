"""Where a guest's time goes: pages of code by their bytes, names, counts and tables."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from lamina.base.errors import ConfigError
from lamina.cli import main
from lamina.cli import profile as profiling
from lamina.debug.elf_pages import HEADER, PROGRAM, SECTION, SYMBOL, ElfFile, ElfPages
from lamina.debug.kallsyms import KernelSymbols
from lamina.debug.profile import Hot, Profile
from lamina.debug.symbols import Kernel, Names
from lamina.engine.threaded.sampler import RegionSeen, Sample
from lamina.images import cpio
from lamina.isa.disasm import Disassembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect
from lamina.machine import Machine

BASE = 0xFFFF_FFFF_8000_0000
TEXT_AT, TEXT_VA, TEXT_SIZE = 0x1000, 0x11000, 0x1800
NOP, RET = (0x0001).to_bytes(2, "little"), (0x8082).to_bytes(2, "little")


def elf(symbols: dict[str, tuple[int, int]], unwound: tuple[int, ...] = ()) -> bytes:
    """A program with code in one page and a half, and a table of symbols."""
    code = b"".join((i % 251).to_bytes(2, "little") for i in range(TEXT_SIZE // 2))
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in symbols)
    table = bytes(SYMBOL.size)
    for name, (value, size) in symbols.items():
        at = strings.index(b"\0" + name.encode() + b"\0") + 1
        table += SYMBOL.pack(at, 2, 0, 1, value, size)
    frames = bytes((1, 0x1B, 3, 0x3B)) + struct.pack("<iI", 0, len(unwound))
    frames += b"".join(struct.pack("<ii", start - 0x20000, 0) for start in unwound)
    tail = TEXT_AT + TEXT_SIZE
    table_at, strings_at = tail, tail + len(table)
    frames_at = strings_at + len(strings)
    sections_at = frames_at + len(frames)
    head = HEADER.pack(
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        3,
        243,
        1,
        0,
        64,
        sections_at,
        0,
        64,
        56,
        2,
        64,
        3,
        0,
    )
    programs = PROGRAM.pack(1, 5, TEXT_AT, TEXT_VA, TEXT_VA, TEXT_SIZE, TEXT_SIZE, 4096)
    programs += PROGRAM.pack(0x6474E550, 4, frames_at, 0x20000, 0, len(frames), 0, 4)
    sections = bytes(SECTION.size)
    sections += SECTION.pack(0, 2, 0, 0, table_at, len(table), 2, 0, 8, 24)
    sections += SECTION.pack(0, 3, 0, 0, strings_at, len(strings), 0, 0, 1, 0)
    return (head + programs).ljust(TEXT_AT, b"\0") + code + table + strings + frames + sections


PROGRAM_FILE = elf({"first": (TEXT_VA, 0x40), "second": (TEXT_VA + 0x1010, 0)}, (TEXT_VA + 0x80,))


def page_of(content: bytes, number: int) -> bytes:
    """A page of the program as a guest has it in memory."""
    at = TEXT_AT + 4096 * number
    return content[at : at + 4096].ljust(4096, b"\0")


def names(*files: tuple[str, bytes], kernel: Kernel | None = None) -> Names:
    return Names(RISCV64, Disassembler(RISCV64.table, dialect()), kernel, files)


def test_a_page_is_known_by_its_bytes_wherever_it_is_mapped() -> None:
    known = names(("usr/bin/prog", PROGRAM_FILE), ("etc/passwd", b"root"))
    first, second = page_of(PROGRAM_FILE, 0), page_of(PROGRAM_FILE, 1)
    name = known.name(0x2A_AAAA_A008, first, user=True)
    assert (str(name), name.where) == ("first+0x8", "usr/bin/prog")
    assert str(known.name(0x3F_0000_0FF0, first, user=True)) == "fn_11080+0xf70"
    assert str(known.name(0x2A_AAAA_B010, second, user=True)) == "second"
    assert str(known.name(0x2A_AAAA_B012, second, True, other=0x2A_AAAA_A002)) == "first+0x2"


def test_code_of_no_file_is_told_by_page_and_instruction() -> None:
    page = (NOP * 8 + RET).ljust(4096, b"\0")
    name = names().name(0x5010, page, user=True)
    assert (str(name), name.where, name.known) == ("page 0x5000+0x10", "0x5010: c.jr ra", False)
    assert names().name(0x5010, None, user=True).where == ""


@pytest.mark.parametrize("length", [0, 7, 63, 64, 100, 0x1000, 0x2000, 0x2900])
def test_a_file_that_is_cut_short_is_none_or_does_no_harm(length: int) -> None:
    pages = ElfPages([("cut", PROGRAM_FILE[:length])])
    assert pages.find(page_of(PROGRAM_FILE, 0)) is None


def test_symbols_that_point_nowhere_are_left_out() -> None:
    damaged = bytearray(PROGRAM_FILE)
    at = TEXT_AT + TEXT_SIZE + SYMBOL.size
    damaged[at : at + 4] = b"\xff\xff\xff\x7f"
    function = ElfFile("odd", bytes(damaged)).function(TEXT_VA + 4)
    assert function is None or function.name != "first"


def test_kernel_addresses_have_names_before_and_after_paging() -> None:
    kernel = Kernel(KernelSymbols([(0, "_start"), (0x100, "work")], 0x1000, 0), BASE, 0x8020_0000)
    known = names(kernel=kernel)
    assert str(known.name(BASE + 0x104, None, user=False)) == "work+0x4"
    assert str(known.name(0x8020_0100, None, user=False)) == "work"
    assert known.name(BASE + 0x1000, None, user=False).function == f"page {BASE + 0x1000:#x}"


def test_archives_are_read_back_up_to_what_is_none() -> None:
    first = b"".join(cpio.archive([cpio.directory("bin"), cpio.regular("bin/a", b"one")]))
    second = b"".join(cpio.archive([cpio.regular("lamina/command", b"two!")]))
    both = first + second
    assert list(cpio.files(both)) == [("bin/a", b"one"), ("lamina/command", b"two!")]
    assert list(cpio.files(both + b"\x1f\x8b rest")) == list(cpio.files(both))
    assert list(cpio.files(first[:130])) == []
    assert list(cpio.files(b"070701" + b"zz" * 60)) == []


# -- counting ----------------------------------------------------------------------------------
@dataclass
class FakeCpu:
    index: int = 0
    priv: int = 0

    def get(self, slot: str) -> int:
        return int(getattr(self, slot))


@dataclass
class FakeEngine:
    observer: Any = None

    def observe(self, observer: Any) -> None:
        self.observer = observer


@dataclass
class FakeRunner:
    vcpu: FakeCpu = field(default_factory=FakeCpu)
    engine: FakeEngine = field(default_factory=FakeEngine)


@dataclass
class FakeMachine:
    runners: list[FakeRunner] = field(default_factory=lambda: [FakeRunner(), FakeRunner()])

    def translate(self, gva: int, cpu: int) -> int | None:
        """Nothing is mapped."""
        return None


class Clock:
    """In the place of the host's: a millisecond a look."""

    now = 100.0

    def monotonic(self) -> float:
        Clock.now += 0.001
        return Clock.now


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    monkeypatch.setattr("lamina.debug.profile.time", Clock())
    return FakeMachine()


def test_samples_of_all_vcpus_count_by_function_and_region(machine: FakeMachine) -> None:
    profile = Profile(cast(Machine, machine))
    profile.watch()
    page = page_of(PROGRAM_FILE, 0)
    region = RegionSeen(0x7000, 640)
    first, second = (runner.engine.observer for runner in machine.runners)
    first(Sample(0x7000, page, None))
    assert profile.samples == 0, "it has not begun"
    profile.start()
    for _ in range(3):
        first(Sample(0x7004, page, region))
    second(Sample(0x7006, page, None))
    second(Sample(0x7090, page, region))
    profile.stop()
    assert first is not None and machine.runners[0].engine.observer is None
    known = names(("prog", PROGRAM_FILE))
    hot = profile.functions(known)
    assert [(h.name, h.samples, h.compiled, h.tier) for h in hot] == [
        ("first", 4, 3, "75 % compiled"),
        ("fn_11080", 1, 1, "compiled"),
    ]
    assert [(h.name, h.samples, h.code_bytes) for h in profile.regions(known)] == [
        ("first", 4, 640)
    ]


@pytest.mark.parametrize(("rate", "kept"), [(1000, 200), (500, 100), (100, 20)])
def test_a_rate_thins_the_samples_out(machine: FakeMachine, rate: int, kept: int) -> None:
    profile = Profile(cast(Machine, machine), rate)
    profile.watch()
    profile.start()
    for _ in range(200):
        machine.runners[0].engine.observer(Sample(0, None, None))
    assert abs(profile.samples - kept) <= 2


def test_what_a_guest_makes_it_keep_is_bounded(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamina.debug.profile.MAX_PAGES", 3)
    monkeypatch.setattr("lamina.debug.profile.MAX_PLACES", 5)
    profile = Profile(cast(Machine, machine))
    profile.watch()
    profile.start()
    for i in range(50):
        machine.runners[0].engine.observer(Sample(2 * i, bytes([i]) * 4096, None))
    assert profile.samples == 50
    assert sum(h.samples for h in profile.functions(names())) == 5


@pytest.mark.parametrize("rate", [0, -1, 1001])
def test_a_rate_that_cannot_be_is_refused(machine: FakeMachine, rate: int) -> None:
    with pytest.raises(ConfigError, match="1 to 1000"):
        Profile(cast(Machine, machine), rate)


# -- the command -------------------------------------------------------------------------------
def test_table_is_as_wide_as_its_columns() -> None:
    hot = [Hot("work", "kernel", "kernel", 30, 30), Hot("fn_12", "bin/a", "user", 10, 0)]
    assert profiling.table("functions", hot, 40) == [
        "functions",
        " share  samples  tier      mode    function  where",
        "75.0 %       30  compiled  kernel  work      kernel",
        "25.0 %       10  threaded  user    fn_12     bin/a",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to profile?"),
        (["--rate", "0", "--", "true"], "--rate 0"),
        (["--json", "/nowhere/at/all.json", "--", "true"], "no such folder"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["profile", *arguments])
    assert caught.value.code == 2
    _, err = capfd.readouterr()
    assert message in err
    assert err.count("\n") == 1


def test_hot_functions_are_plain_data_for_json(tmp_path: Path) -> None:
    from dataclasses import asdict

    text = json.dumps(asdict(Hot("a", "b", "user", 2, 1, 64)))
    assert json.loads(text)["samples"] == 2
