"""What the benchmarks make or find before they run: input files, sources, QEMU's launcher."""

import gzip
import hashlib
import lzma
import re
import subprocess
from pathlib import Path

import pytest

from bench import applications, build, qemu, suites
from bench.__main__ import arguments
from bench.catalogue import COMPILED
from bench.process import BenchError

TEXT_DIGEST = "4199e8c40dbe331f"


def test_the_input_files_are_always_the_same_and_fit_their_units() -> None:
    files = applications.files()
    text = files["text"]
    assert len(text) == applications.TEXT_SIZE
    assert text.count(b"\n") == applications.LINES
    assert gzip.decompress(files["text.gz"]) == lzma.decompress(files["text.xz"]) == text
    assert hashlib.sha256(text).hexdigest().startswith(TEXT_DIGEST)


def test_every_compiled_workload_is_in_a_table_of_the_sources_with_its_unit() -> None:
    sources = "".join(path.read_text() for path in build.SOURCES.glob("*.c"))
    there = dict(re.findall(r'\{"(\w+)", "(\w+)", \w+\}', sources))
    assert there == {w.name: w.unit for w in COMPILED}


def test_sources_are_short_files_that_say_what_they_are() -> None:
    for path in [*build.SOURCES.glob("*"), *suites.BOARD.glob("*")]:
        text = path.read_text()
        assert text.startswith("/*"), path.name
        assert text.count("\n") <= 500, path.name
        assert max(map(len, text.splitlines())) <= 100, path.name


def test_suites_are_found_by_their_files(tmp_path: Path) -> None:
    for name in (
        *("a/core_main.c", "a/core_util.c", "a/posix/core_portme.c", "b/dhry_1.c", "b/dhry_2.c"),
        "z/dhry_1.c",
        *("c/support/beebsc.h", "c/support/main.c", "c/src/aha-mont64/mont64.c", "c/src/README"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert "dhrystone" not in [program.workload.name for program in suites.found_in(tmp_path)]
    (tmp_path / "b/dhry_1.c").write_text('scanf ("%d", &n);')
    found = {program.workload.name: program for program in suites.found_in(tmp_path)}
    assert list(found) == ["coremark", "dhrystone", "e_aha_mont64"]
    assert tmp_path / "a/posix/core_portme.c" in found["coremark"].sources
    assert tmp_path / "b/dhry_2.c" in found["dhrystone"].sources
    assert found["e_aha_mont64"].sources[0] == tmp_path / "c/src/aha-mont64/mont64.c"
    assert suites.found_in(tmp_path / "c/src") == []


def test_qemus_launcher_uses_the_packages_own_loader_and_libraries(tmp_path: Path) -> None:
    loader = tmp_path / "usr/lib64" / qemu.LOADER
    for path in (
        loader,
        tmp_path / "usr/bin" / qemu.PROGRAM,
        tmp_path / qemu.LIBRARIES / "liba.so.1",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('#!/bin/sh\necho "$QEMU_MODULE_DIR" "$@"\n')
        path.chmod(0o755)
    script = tmp_path / "launcher"
    script.write_text(qemu.launcher(tmp_path, tmp_path))
    script.chmod(0o755)
    words = subprocess.run([script, "-smp", "2"], capture_output=True, text=True).stdout.split()
    assert words[0] == str(tmp_path / qemu.MODULES)
    assert words[1:3] == ["--library-path", str(tmp_path / qemu.LIBRARIES)]
    assert words[-2:] == ["-smp", "2"]


def test_packages_without_the_program_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no qemu-system-riscv64"):
        qemu.launcher(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("argv", "command", "names"),
    [([], "table", []), (["fib"], "table", ["fib"]), (["run", "fib"], "run", ["fib"])],
)
def test_the_table_is_what_no_other_command_was_asked_for(
    argv: list[str], command: str, names: list[str]
) -> None:
    given = arguments(argv)
    assert (given.command, given.names) == (command, names)


def test_less_than_one_round_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["run", "fib", "--rounds", "0"])
    assert "at least 1" in capsys.readouterr().err
