"""Bad input by the command line: one line that says what is wrong, status 2, never a traceback."""

import gzip
import os
import pty
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.cli import main
from lamina.testing import guests, programs

Refusal = Callable[..., str]
LAMINA = [sys.executable, "-m", "lamina"]
HELLO = programs.path("hello")
ELF = HELLO.read_bytes()


def lamina(
    *arguments: str | Path | bytes, timeout: float = 60, **options: object
) -> "subprocess.CompletedProcess[bytes]":
    fields: dict[str, object] = {"stdin": subprocess.DEVNULL, "capture_output": True, **options}
    command = [*LAMINA, *arguments]
    return subprocess.run(command, timeout=timeout, **fields)


@pytest.fixture
def refusal(capfd: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command in this process; gives the one line with which it refuses."""

    def run(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        output, error = capfd.readouterr()
        assert (end.value.code, output, error.count("\n")) == (2, "", 1), error
        assert error.startswith("lamina: error: ")
        assert len(error) < 20_000
        assert error[:-1].isprintable()
        return error.removeprefix("lamina: error: ").strip()

    return run


# -- files ---------------------------------------------------------------------------------------
def elf_with(**fields: int) -> bytes:
    """The hello program with numbers in its headers changed: `machine`, `entry`, `phoff`, `phnum`,
    or, of the first segment, `offset`, `paddr`, `filesz`, `memsz`."""
    content = bytearray(ELF)
    (phoff,) = struct.unpack_from("<Q", content, 32)
    at = {"machine": (18, "<H"), "entry": (24, "<Q"), "phoff": (32, "<Q"), "phnum": (56, "<H")}
    phentsize, phnum = struct.unpack_from("<HH", content, 54)
    load = next(
        p for p in range(phoff, phoff + phentsize * phnum, phentsize)
        if content[p : p + 4] == b"\1\0\0\0"
    )  # fmt: skip
    for name, where in (("offset", 8), ("paddr", 24), ("filesz", 32), ("memsz", 40)):
        at[name] = (load + where, "<Q")
    for name, value in fields.items():
        struct.pack_into(at[name][1], content, at[name][0], value)
    return bytes(content)


BAD_KERNELS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"#!/bin/sh\necho hello\n", "text file"),
    "utf-8 text": ("naïve 😀\n".encode(), "text file"),
    "x86 ELF": (elf_with(machine=62), "x86-64"),
    "big-endian ELF": (ELF[:5] + b"\2" + ELF[6:], "little-endian"),
    "32-bit ELF": (ELF[:4] + b"\1" + ELF[5:], "64-bit"),
    "ELF of 5 bytes": (ELF[:5], "ELF"),
    "ELF header only": (ELF[:64], "ELF"),
    "ELF cut in a segment": (ELF[: len(ELF) // 20 * 20 - 1][:0x1008], "ELF"),
    "ELF entry outside": (elf_with(entry=0x1234), "entry"),
    "ELF headers past the end": (elf_with(phoff=1 << 62), "ELF"),
    "ELF of 65535 headers": (elf_with(phnum=65535), "ELF"),
    "ELF file size beyond memory size": (elf_with(filesz=1 << 63), "ELF"),
    "ELF memory size 2^63": (elf_with(memsz=1 << 63), "RAM"),
    "ELF at the end of all addresses": (elf_with(paddr=(1 << 64) - 8), "64 bits"),
    "ELF on a device": (elf_with(paddr=0x1000_0000, entry=0x1000_0000), "not within RAM"),
    "corrupt gzip": (b"\x1f\x8b\x08" + b"\x55" * 100, "gzip"),
    "truncated gzip": (gzip.compress(os.urandom(5000))[:2000], "gzip"),
    "gzip of nothing": (gzip.compress(b""), "nothing"),
    "gzip bomb": (gzip.compress(bytes(300 << 20), 1), "unpacks to more"),
    "gzip of gzip": (gzip.compress(gzip.compress(b"\0" * 64)), "twice"),
    "AArch64 kernel": (bytes(0x38) + b"ARM\x64" + bytes(64), "AArch64"),
    "x86 kernel": (bytes(0x202) + b"HdrS" + bytes(64), "x86"),
    "qcow2 disk": (b"QFI\xfb" + bytes(100), "qcow2"),
    "Linux header of 2^39 bytes": (
        bytes(16) + struct.pack("<Q", 1 << 39) + bytes(0x20) + b"RSC\x05" + bytes(64), "RAM",
    ),
    "larger than memory": (b"\x13\0\0\0" * (9 << 20), "not within RAM"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_KERNELS)
def test_a_bad_kernel(refusal: Refusal, tmp_path: Path, name: str) -> None:
    content, reason = BAD_KERNELS[name]
    kernel = tmp_path / "kernel"
    kernel.write_bytes(content)
    assert reason in refusal("boot", "--memory", "32M", "--kernel", kernel)


@pytest.mark.parametrize("option", ["--kernel", "--initrd", "--firmware", "--bios-image"])
def test_files_that_are_none(refusal: Refusal, tmp_path: Path, option: str) -> None:
    rest = () if option == "--kernel" else ("--kernel", HELLO)
    assert "no such file" in refusal("boot", option, tmp_path / "absent", *rest)
    refusal("boot", option, tmp_path, *rest)
    os.mkfifo(tmp_path / "fifo")
    refusal("boot", option, tmp_path / "fifo", *rest)


def test_an_unreadable_kernel(refusal: Refusal, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(ELF)
    kernel.chmod(0)
    if os.access(kernel, os.R_OK):  # root reads everything but this
        kernel = Path("/proc/self/mem")
    refusal("boot", "--kernel", kernel)


def test_an_initrd_that_does_not_fit(refusal: Refusal, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(64 << 20)
    error = refusal("boot", "--memory", "32M", "--kernel", HELLO, "--initrd", initrd)
    assert "initrd" in error


def test_an_initrd_that_overlaps_the_kernel(refusal: Refusal, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(30 << 20)
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"\x6f\0\0\0" * (1 << 20))
    assert "overlaps" in refusal("boot", "--memory", "32M", "--kernel", kernel, "--initrd", initrd)


def test_a_kernel_that_overlaps_the_firmware(refusal: Refusal, tmp_path: Path) -> None:
    error = refusal("boot", "--memory", "32M", "--kernel", HELLO, "--firmware", HELLO)
    assert "overlap" in error


@pytest.mark.parametrize(
    "name", ["", "x" * 10_000, "a\nb", "../x", "😀", "-", "a\tb\x1b[31m", "u-boot/../x"]
)
def test_odd_names_of_files(refusal: Refusal, name: str) -> None:
    refusal("boot", "--kernel", name)


def test_a_name_that_is_no_text(refusal: Refusal) -> None:
    refusal("boot", "--kernel", os.fsdecode(b"\xff\xfe"))


def test_a_refusal_by_a_process_of_its_own() -> None:
    done = lamina("boot", "--kernel", b"/nonexistent/\xff")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


# -- numbers -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "memory",
    ["0", "1", "1e9G", "-1", "1T", "", "nan", "0x", "32.5M", "33000001", "999999999999999T", "12Q",
     "٣٢M", "9" * 5000],
)  # fmt: skip
def test_memory_that_cannot_be(refusal: Refusal, memory: str) -> None:
    assert "memory" in refusal("boot", "--kernel", HELLO, f"--memory={memory}")


@pytest.mark.parametrize("cpus", ["0", "-1", "17", "1000", "1.5", "x", "", "9" * 30, "nan"])
def test_cpus_that_cannot_be(refusal: Refusal, cpus: str) -> None:
    assert "cpus" in refusal("boot", "--kernel", HELLO, f"--cpus={cpus}").lower()


@pytest.mark.parametrize("timeout", ["nan", "-1", "x", "", "-inf"])
def test_timeouts_that_cannot_be(refusal: Refusal, timeout: str) -> None:
    assert "timeout" in refusal("boot", "--kernel", HELLO, f"--timeout={timeout}")


@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "x"])
def test_limits_that_cannot_be(refusal: Refusal, limit: str) -> None:
    assert "max-instructions" in refusal("boot", "--kernel", HELLO, f"--max-instructions={limit}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--engine", "x"],
        ["--trace", "x"],
        ["--trace", "mmio:nothing"],
        ["--console", "x"],
        ["--log-commits", "/nonexistent/file"],
        ["--deterministic", "--cpus", "2"],
        ["--append", "a\nb"],
        ["--append", "x" * 100_000],
        ["--append", "\x1b[2J"],
        ["--nonsense"],
        ["surplus"],
    ],
    ids=lambda a: " ".join(a)[:30],
)
def test_other_options(refusal: Refusal, arguments: list[str]) -> None:
    refusal("boot", "--kernel", HELLO, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [["boot"], ["run", "nothing"], ["run", "../x"], ["run", "--", "ls"], ["nothing"], ["run", ""],
     ["boot", "--dump-dtb", "/nonexistent/file"]],
    ids=" ".join,
)  # fmt: skip
def test_commands_that_cannot_be(refusal: Refusal, arguments: list[str]) -> None:
    refusal(*arguments)


def test_a_host_that_refuses_memory() -> None:
    script = f"ulimit -v 1500000; exec {sys.executable} -m lamina boot --kernel {HELLO} --cpus 8"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60)
    error = done.stderr.decode()
    assert (done.returncode, error.count("\n")) == (2, 1), error
    assert "reserve" in error or "map" in error


# -- terminals and pipes -------------------------------------------------------------------------
def bare(*arguments: str) -> list[str | Path]:
    return [*LAMINA, "boot", "--bios-image", HELLO, *arguments]


def test_no_terminal_and_no_input() -> None:
    done = subprocess.run(bare(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello, world\n", b"")


def test_a_closed_standard_input() -> None:
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" <&-', "-", *bare()], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello, world\n", b"")


@pytest.mark.parametrize("close", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_outputs_are_no_traceback(close: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {close}', "-", *bare()], capture_output=True, timeout=60
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 1)


def flood(path: Path) -> Path:
    """A guest that prints for ever."""
    source = "li s0, UART; li s1, 120; 1: sb s1, 0(s0); j 1b"
    path.write_bytes(guests.assemble(source).code + b"\xff" * 4)
    return path


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`lamina boot ... | head -c 1` ends, quietly, and soon."""
    command = f"{sys.executable} -m lamina boot --bios-image {flood(tmp_path / 'flood')}"
    script = f"{command} --timeout 50 </dev/null | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=40)
    assert (done.stdout, done.stderr) == (b"x", b"")


@pytest.mark.parametrize(
    "prepare",
    [lambda fd: None, lambda fd: __import__("termios").tcsetwinsize(fd, (0, 0))],
    ids=["terminal", "terminal of 0x0"],
)
def test_a_terminal(prepare: Callable[[int], None]) -> None:
    ours, theirs = pty.openpty()
    prepare(ours)
    done = subprocess.run(bare(), stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"hello, world" in os.read(ours, 1000)
    os.close(ours)


def test_a_terminal_that_is_closed_in_the_middle() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*LAMINA, "run", "--timeout", "10"], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)
    _, error = process.communicate(timeout=60)
    assert b"Traceback" not in error


# -- ends ----------------------------------------------------------------------------------------
def test_exit_statuses_tell_the_ends_apart() -> None:
    assert lamina("boot", "--bios-image", programs.path("exit7")).returncode == 7
    assert lamina("boot", "--bios-image", HELLO, "--max-instructions", "20").returncode == 125
    assert lamina("run", "--timeout", "0.3").returncode == 124
    crash = lamina("boot", "--kernel", HELLO)  # a machine-mode program in supervisor mode
    assert crash.returncode == 70
    assert crash.stderr.count(b"\n") == 1


@pytest.mark.parametrize("timeout", ["inf", "1e300"])
def test_a_timeout_of_for_ever_is_taken(timeout: str) -> None:
    assert lamina("boot", "--bios-image", HELLO, "--timeout", timeout).returncode == 0
