"""The command line, with a fake machine behind its one seam."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lamina.base.errors import ConfigError
from lamina.cli import launch, main
from lamina.cli.cmd_doctor import findings
from lamina.engine.statistics import EngineStatistics
from lamina.host.gate import MARKER
from lamina.images import debian, firmware

PATIENCE = 10.0


@dataclass
class FakeOutcome:
    reason: str
    code: int = 0
    detail: str = ""


class FakeMachine:
    """Prints what it is told to and ends as it is told to; keeps what it was asked."""

    def __init__(self, settings: dict[str, Any], script: list[tuple[bytes, FakeOutcome]]) -> None:
        self.settings = settings
        self.script = script
        self.console = self
        self.typed = b""
        self.resets = 0
        self.runs: list[tuple[int | None, float | None]] = []
        self.stopped = threading.Event()
        self.output: Callable[[bytes], None] = lambda data: None

    def __enter__(self) -> "FakeMachine":
        return self

    def __exit__(self, *_: object) -> None:
        self.settings["closed"] = True

    def attach(self, output: Callable[[bytes], None]) -> None:
        self.output = output

    def send(self, data: bytes) -> None:
        self.typed += data

    def run(self, *, max_instructions: int | None, timeout: float | None) -> FakeOutcome:
        self.runs.append((max_instructions, timeout))
        text, outcome = self.script[len(self.runs) - 1]
        self.output(text)
        if outcome.reason == "stopped":
            assert self.stopped.wait(PATIENCE)
        return outcome

    def stop(self) -> None:
        self.stopped.set()

    def reset(self) -> None:
        self.resets += 1

    def device_tree(self) -> bytes:
        return b"\xd0\x0d\xfe\xed"

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(instructions=12_345)


class Machines:
    """Stands in for `open_machine`."""

    def __init__(self) -> None:
        self.script: list[tuple[bytes, FakeOutcome]] = [(b"", FakeOutcome("poweroff"))]
        self.opened: list[FakeMachine] = []

    def __call__(self, settings: dict[str, Any]) -> FakeMachine:
        self.opened.append(FakeMachine(settings, self.script))
        return self.opened[-1]

    @property
    def settings(self) -> dict[str, Any]:
        return self.opened[-1].settings


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    fake = Machines()
    monkeypatch.setattr(launch, "open_machine", fake)
    return fake


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> debian.DebianImage:
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"initrd--")
    found = debian.DebianImage(kernel, initrd, [])
    monkeypatch.setattr(debian, "ensure", lambda progress, mirror: found)
    return found


def lamina(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (FakeOutcome("poweroff"), 0),
        (FakeOutcome("poweroff", 7), 7),
        (FakeOutcome("fail", 3), 3),
        (FakeOutcome("fail", 0), 1),
        (FakeOutcome("fail", 0x100), 1),
        (FakeOutcome("crash", 0, "trap at an unmapped vector"), 70),
        (FakeOutcome("timeout"), 124),
        (FakeOutcome("limit"), 125),
    ],
)
def test_outcome_of_the_guest_is_the_exit_status(
    machines: Machines, tmp_path: Path, outcome: FakeOutcome, status: int
) -> None:
    (tmp_path / "k").touch()
    machines.script = [(b"", outcome)]
    assert lamina("boot", "--kernel", str(tmp_path / "k")) == status
    assert machines.settings["closed"]


def test_stats_are_told_on_standard_error(
    machines: Machines, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "k").touch()
    machines.script = [(b"guest\n", FakeOutcome("poweroff", 7))]
    assert lamina("boot", "--stats", "--kernel", str(tmp_path / "k")) == 7
    out, err = capfd.readouterr()
    assert out == "guest\n"
    assert "12,345" in err


def test_crash_says_why_in_one_line(
    machines: Machines, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "k").touch()
    machines.script = [(b"guest\n", FakeOutcome("crash", 0, "no memory at 0x10"))]
    lamina("boot", "--kernel", str(tmp_path / "k"))
    captured = capfd.readouterr()
    assert captured.out == "guest\n"
    assert captured.err == "lamina: the guest ended by a crash: no memory at 0x10\n"


def test_boot_options_become_the_machines_settings(machines: Machines, tmp_path: Path) -> None:
    for name in ("k", "i", "f", "b"):
        (tmp_path / name).touch()
    arguments = (
        f"boot --kernel {tmp_path}/k --initrd {tmp_path}/i --firmware {tmp_path}/f"
        f" --bios-image {tmp_path}/b --append a=b --memory 2G --cpus 4 --engine reference"
        f" --deterministic --console virtio --max-instructions 9 --timeout 2.5"
        f" --trace irq,trap --trace mmio:uart0 --log-commits {tmp_path}/log"
        f" --disk {tmp_path}/d --disk {tmp_path}/e,1,snapshot,readonly"
    )
    assert lamina(*arguments.split()) == 0
    assert machines.settings == {
        "cpus": 4,
        "memory": 2 << 30,
        "engine": "reference",
        "kernel": tmp_path / "k",
        "initrd": tmp_path / "i",
        "append": "a=b",
        "firmware": tmp_path / "f",
        "bios_image": tmp_path / "b",
        "disks": (launch.Disk(tmp_path / "d"), launch.Disk(tmp_path / "e,1", True, True)),
        "deterministic": True,
        "console": "virtio",
        "trace": {"irq", "trap", "mmio:uart0"},
        "trace_file": None,
        "log_commits": tmp_path / "log",
        "closed": True,
    }
    instructions, timeout = machines.opened[0].runs[0]
    assert instructions == 9 and timeout is not None and 0 < timeout <= 2.5


@pytest.mark.parametrize("text", ["", ",snapshot", ",readonly,snapshot"])
def test_a_disk_without_a_file_is_refused(
    machines: Machines, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    assert lamina("boot", "--kernel", "k", "--disk", text) == 2
    assert capfd.readouterr().err.startswith("lamina: error: --disk: no file")


def test_the_bare_firmware_is_none_to_be_fetched(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    assert lamina("boot", "--kernel", str(tmp_path / "k"), "--firmware", "bare") == 0
    assert machines.settings["firmware"] == "bare"


def test_reboot_resets_the_machine_and_goes_on(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    machines.script = [(b"", FakeOutcome("reboot")), (b"", FakeOutcome("poweroff", 4))]
    assert lamina("boot", "--kernel", str(tmp_path / "k")) == 4
    assert machines.opened[0].resets == 1


def test_end_of_input_is_not_typed_at_a_machine_made_by_hand(
    machines: Machines, tmp_path: Path
) -> None:
    (tmp_path / "k").touch()
    lamina("boot", "--kernel", str(tmp_path / "k"))
    assert machines.opened[0].typed == b""


def test_device_tree_is_written_without_running(machines: Machines, tmp_path: Path) -> None:
    assert lamina("boot", "--dump-dtb", str(tmp_path / "dtb")) == 0
    assert (tmp_path / "dtb").read_bytes() == b"\xd0\x0d\xfe\xed"
    assert machines.opened[0].runs == []


def test_command_in_debian_shows_its_output_alone(
    machines: Machines, image: debian.DebianImage, capfd: pytest.CaptureFixture[str]
) -> None:
    machines.script = [(b"firmware banner\n" + MARKER + b"riscv64\n", FakeOutcome("fail", 7))]
    assert lamina("run", "debian", "--cpus", "4", "--append", "x", "--", "uname", "-m") == 7
    captured = capfd.readouterr()
    assert captured.out == "riscv64\n" and captured.err == ""
    assert machines.settings["cpus"] == 4
    assert machines.settings["kernel"] == image.kernel
    assert machines.settings["append"].split() == [*launch.QUIET_BOOT.split(), "x"]
    assert machines.settings["initrd"].startswith(b"initrd--070701")
    assert b"exec uname -m\n" in machines.settings["initrd"]


def test_command_whose_guest_never_gets_ready_shows_the_boot_on_standard_error(
    machines: Machines, image: debian.DebianImage, capfd: pytest.CaptureFixture[str]
) -> None:
    machines.script = [(b"Kernel panic\n", FakeOutcome("reboot"))]
    assert lamina("run", "debian", "--", "true") == 70
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.startswith("Kernel panic\n")
    assert machines.opened[0].resets == 0


def test_shell_in_debian_shows_the_boot(
    machines: Machines, image: debian.DebianImage, capfd: pytest.CaptureFixture[str]
) -> None:
    machines.script = [(b"Linux version\n" + MARKER + b"# ", FakeOutcome("poweroff"))]
    assert lamina("run", "debian") == 0
    assert capfd.readouterr().out == "Linux version\n# "
    assert b"lamina/command" not in machines.settings["initrd"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "fedora"], "there is debian"),
        (["run", "debian", "--memory", "lots"], "--memory"),
        (["run", "debian", "--firmware", "/no/such"], "no such file"),
        (["boot"], "nothing to boot"),
        (["boot", "--kernel", "/no/such"], "no such file"),
        (["boot", "--bios-image", "/no/such"], "--bios-image /no/such: no such file"),
        (["boot", "--kernel", "/dev/null", "--initrd", "/"], "--initrd /: no such file"),
        (["boot", "--cpus", "many"], "--cpus"),
        (["boot", "--timeout", "-1"], "--timeout"),
        (["boot", "--dump-dtb", "/no/such/dtb"], "cannot be written"),
        (["nonsense"], "No such command"),
        (["run", "--nonsense"], "No such option"),
    ],
)
def test_user_error_is_one_line_and_status_2(
    machines: Machines,
    image: debian.DebianImage,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    assert lamina(*arguments) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("lamina: error: ") and captured.err.count("\n") == 1
    assert told in captured.err and captured.out == ""


def test_machine_that_cannot_be_built_is_a_user_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(settings: dict[str, Any]) -> FakeMachine:
        raise ConfigError("cpus: 99 is out of range; 1 to 16 will do")

    monkeypatch.setattr(launch, "open_machine", refuse)
    (tmp_path / "k").touch()
    assert lamina("boot", "--kernel", str(tmp_path / "k"), "--cpus", "99") == 2
    assert capfd.readouterr().err == "lamina: error: cpus: 99 is out of range; 1 to 16 will do\n"


def test_firmware_by_name_is_debians_unless_there_is_a_file_of_that_name(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(firmware, "ensure", lambda name, *_: Path("/cache") / name)
    assert lamina("boot", "--firmware", "opensbi", "--kernel", "u-boot") == 0
    assert machines.settings["firmware"] == Path("/cache/opensbi")
    assert machines.settings["kernel"] == Path("/cache/u-boot")
    (tmp_path / "u-boot").touch()
    assert lamina("boot", "--firmware", "opensbi", "--kernel", "u-boot") == 0
    assert machines.settings["kernel"] == Path("u-boot")


def test_firmware_that_the_host_has_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / firmware.FIRMWARE["opensbi"].path
    path.parent.mkdir(parents=True)
    path.touch()
    assert firmware.ensure("opensbi", launch.progress_on_stderr(), host_root=tmp_path) == path


def test_interrupt_stops_the_machine_with_status_130(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    machines.script = [(b"", FakeOutcome("stopped"))]
    machines.script[0][1].detail = "unused"

    def interrupt(settings: dict[str, Any]) -> FakeMachine:
        machine = machines(settings)
        machine.output = lambda data: None
        machine.attach = lambda output: setattr(  # type: ignore[method-assign]
            machine, "output", lambda data: os.kill(os.getpid(), signal.SIGINT)
        )
        return machine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "open_machine", interrupt)
        assert lamina("boot", "--kernel", str(tmp_path / "k")) == 130
    assert machines.opened[0].stopped.is_set()


def test_doctor_finds_something_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    subjects = [finding.subject.strip() for finding in findings()]
    for subject in ("host", "python", "llvmlite", "apt", "debian mirror", "cache", "kvm", "qemu"):
        assert subject in subjects


def test_doctor_says_what_to_do_on_a_host_without_apt_or_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {finding.subject: finding for finding in findings()}
    assert not found["apt"].good and "lamina boot --kernel" in found["apt"].text


def test_doctor_says_when_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    found = {finding.subject: finding for finding in findings()}
    assert not found["cache"].good and "cannot be written" in found["cache"].text


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["run", "--help"]])
def test_help_and_version_load_neither_engine_nor_builder(arguments: list[str]) -> None:
    text = (
        "import sys\nfrom lamina.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'rich', 'llvmlite', 'zstandard', 'lamina.cli.launch', 'lamina.machine'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lamina" in done.stdout


@pytest.mark.parametrize("arguments", [["doctor"], ["show", "--list"], ["run", "--timeout", "60"]])
def test_output_that_cannot_be_written_is_one_line_and_status_2(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lamina", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    lines = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert done.returncode == 2
    assert len(lines) == 1 and lines[0].endswith("No space left on device")
