"""The suite runner itself, with stand-ins for the machine: verdicts, references, lost workers."""

from __future__ import annotations

import logging
import os
import struct
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "suites"))
import run_suite

from lamina.base.errors import ImageError, LaminaError
from lamina.isa.asm import Assembler
from lamina.isa.riscv.dialect import dialect
from lamina.isa.riscv.hart import RV64
from lamina.machine import Machine, MachineConfig


def elf(path: Path, symbols: dict[str, int], machine: int = 243) -> Path:
    """A minimal ELF64 file: header, a symbol table, a string table, three section headers."""
    names, table = b"\0", bytes(24)
    for name, value in symbols.items():
        table += struct.pack("<IBBHQQ", len(names), 0x10, 0, 0xFFF1, value, 0)
        names += name.encode() + b"\0"
    strings = len(names)
    names += b".symtab\0.strtab\0"
    start = 64 + len(table) + len(names)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 0, start, 0, 64, 0, 0, 64, 3, 2)
    section = "<IIQQQQIIQQ"
    sections = bytes(64)
    sections += struct.pack(section, strings, 2, 0, 0, 64, len(table), 2, 1, 8, 24)
    sections += struct.pack(section, strings + 8, 3, 0, 0, 64 + len(table), len(names), 0, 0, 1, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + table + names + sections)
    return path


def by_name(path: Path, engine: str, cpus: int, limit: int) -> tuple[int, bytes]:
    """A stand-in for run_elf that does what the program's name says."""
    match path.stem:
        case "dies":
            os._exit(7)
        case "stalls":
            time.sleep(3600)
        case "fails":
            return (5 << 1) | 1, b""
        case "endless":
            return 0, b""
        case "broken":
            raise ImageError("no such thing")
        case "warns":
            logging.getLogger("lamina.engine").warning("nothing is compiled any more")
    return 1, bytes.fromhex("78563412")


def verdict(root: Path, name: str) -> tuple[str, bool]:
    (program,) = [p for p in run_suite.find_programs(root, "") if p.path.stem == name]
    return run_suite.judge(program, by_name, "any", 1, 1000)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("good", ""),
        ("fails", "test 5 failed (tohost 0xb)"),
        ("endless", "no result after 1,000 instructions"),
        ("broken", "no such thing"),
        ("warns", "Lamina warns: nothing is compiled any more"),
    ],
)
def test_verdict_names_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    elf(tmp_path / f"{name}.elf", {"tohost": 0x8000_1000})
    assert verdict(tmp_path, name) == (reason, False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12345678\n", ""),
        ("12345679\n", "signature word 0: 12345678, not 12345679"),
        ("0000000012345678\n", "signature has 4 bytes, the reference 8"),
    ],
)
def test_signature_is_compared_with_its_reference(tmp_path: Path, text: str, reason: str) -> None:
    elf(tmp_path / "good.elf", {"tohost": 0x8000_1000})
    (tmp_path / "good.sig").write_text(text)
    assert verdict(tmp_path, "good") == (reason, True)


def test_reference_that_is_no_hexadecimal_fails_the_program(tmp_path: Path) -> None:
    elf(tmp_path / "good.elf", {"tohost": 0x8000_1000})
    (tmp_path / "good.sig").write_text("hello\n")
    reason, compared = verdict(tmp_path, "good")
    assert "not hexadecimal" in reason and not compared


def test_symbols_are_read_from_the_program(tmp_path: Path) -> None:
    values = {"tohost": 0x8000_1000, "begin_signature": 0x8000_2000, "end_signature": 0x8000_2010}
    symbols = run_suite.read_symbols(elf(tmp_path / "a", values))
    assert symbols == run_suite.Symbols(0x8000_1000, (0x8000_2000, 0x8000_2010))


def test_half_a_pair_of_signature_symbols_means_no_signature(tmp_path: Path) -> None:
    path = elf(tmp_path / "a", {"tohost": 0x8000_1000, "begin_signature": 0x8000_2000})
    assert run_suite.read_symbols(path).signature == (0, 0)


@pytest.mark.parametrize(
    ("symbols", "machine", "message"),
    [
        ({"start": 0}, 243, "no symbol tohost"),
        ({"tohost": 0}, 62, "not a RISC-V program"),
        ({"tohost": 0, "begin_signature": 16, "end_signature": 0}, 243, "signature of -16 bytes"),
        ({"tohost": 0, "begin_signature": 0, "end_signature": 1 << 40}, 243, "at most 16 MiB"),
    ],
)
def test_unfit_program_is_refused(
    tmp_path: Path, symbols: dict[str, int], machine: int, message: str
) -> None:
    path = elf(tmp_path / "a", symbols, machine)
    with pytest.raises(ImageError, match=message):
        run_suite.read_symbols(path)


def test_truncated_program_is_refused(tmp_path: Path) -> None:
    path = elf(tmp_path / "a", {"tohost": 0})
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageError, match="not a readable ELF file"):
        run_suite.read_symbols(path)


def test_groups_are_folders_or_name_prefixes(tmp_path: Path) -> None:
    for name in ("rv64ui-p-add", "rv64uzba-v-sh1add", "odd", "M/mul-01.elf"):
        elf(tmp_path / name, {"tohost": 0})
    (tmp_path / "README").write_text("not a program")
    groups = {p.path.stem: p.group for p in run_suite.find_programs(tmp_path, "")}
    assert groups == {
        "rv64ui-p-add": "rv64ui-p",
        "rv64uzba-v-sh1add": "rv64uzba-v",
        "odd": tmp_path.name,
        "mul-01": "M",
    }


def test_lost_worker_costs_one_verdict_only(tmp_path: Path) -> None:
    for name in ("a", "dies", "m", "stalls", "z"):
        elf(tmp_path / name, {"tohost": 0})
    programs = run_suite.find_programs(tmp_path, "")
    outcomes = run_suite.run_programs(programs, (by_name, "any", 1, 9), 1, 5.0, lambda _: None)
    reasons = {o.program.path.name: o.reason for o in outcomes}
    assert reasons == {
        "a": "",
        "dies": "the engine's process died (status 7)",
        "m": "",
        "stalls": "no result after 5 s",
        "z": "",
    }


def test_exit_status_tells_success_failure_and_bad_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elf(tmp_path / "good", {"tohost": 0})
    elf(tmp_path / "fails", {"tohost": 0})
    root = str(tmp_path)
    assert run_suite.main([root, "--filter", "good", "--jobs", "1"], by_name) == 0
    assert run_suite.main([root, "--jobs", "1"], by_name) == 1
    assert "FAIL threaded" in capsys.readouterr().out
    assert run_suite.main([root, "--filter", "nothing"], by_name) == 2
    assert run_suite.main([root, "--require-signatures"], by_name) == 2
    assert run_suite.main([root, "--jobs", "0"], by_name) == 2
    assert run_suite.main([root, "--rounds", "0"], by_name) == 2


def on_third(path: Path, engine: str, cpus: int, limit: int, rounds: int = 1) -> tuple[int, bytes]:
    """A stand-in for run_elf whose program fails in its third round."""
    return (7 if rounds > 2 else run_suite.PASSED), b""


def test_rounds_are_asked_of_each_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elf(tmp_path / "good", {"tohost": 0})
    arguments = [str(tmp_path), "--jobs", "1", "--rounds"]
    assert run_suite.main([*arguments, "2"], on_third) == 0
    assert run_suite.main([*arguments, "3"], on_third) == 1
    assert "test 3 failed" in capsys.readouterr().out


# On the machine itself ---------------------------------------------------------------------------

START, TOHOST, MEMORY = 0x8000_0000, 0x8010_0000, 32 << 20
PRINT = """
    li t1, 0x0101000000000041
    sd t1, 0(t0)
wait:
    ld t2, 0(t0)
    bne t2, zero, wait
"""
REPORT = """
    li t1, 1
    sd t1, 0(t0)
end:
    j end
"""


COUNT = """
    la t2, rounds
    lw t3, 0(t2)
    addi t3, t3, 1
    sw t3, 0(t2)
    slli t1, t3, 1
    addi t1, t1, -1
    sd t1, 0(t0)
end:
    j end
rounds:
    .word 0
"""


def watched(tmp_path: Path, body: str, limit: int, rounds: int = 1) -> int:
    """The tohost value of a program on the reference engine; t0 points to tohost."""
    source = f"li t0, {TOHOST:#x}\n{body}"
    code = Assembler(RV64, dialect()).program(source, START).code
    image = tmp_path / "image"
    image.write_bytes(code)
    config = MachineConfig(bios_image=image, engine="reference", memory=MEMORY)
    with Machine(config) as machine:
        return run_suite.watch_rounds(machine, TOHOST, 100, limit, rounds)


def test_report_ends_a_run(tmp_path: Path) -> None:
    assert watched(tmp_path, REPORT, 1_000_000_000) == run_suite.PASSED


def test_program_prints_through_tohost_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched(tmp_path, PRINT + PRINT.replace("wait", "again") + REPORT, 1000) == 1
    assert capsys.readouterr().err == "AA"


def test_every_round_begins_with_the_memory_of_the_first(tmp_path: Path) -> None:
    assert watched(tmp_path, COUNT, 1000, rounds=3) == run_suite.PASSED


def test_endless_program_ends_at_the_limit(tmp_path: Path) -> None:
    assert watched(tmp_path, "end: j end", 1000) == run_suite.NOT_FINISHED


def test_guest_that_cannot_go_on_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match=r"crash at pc = 0x0: .*trap handler"):
        watched(tmp_path, "ebreak", 1000)
