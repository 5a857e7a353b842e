"""Real systems, unmodified: Debian's kernel and userland, with firmware and without."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lamina.cli.profile import names_of
from lamina.debug.profile import Profile
from lamina.images import debian, firmware
from lamina.images.progress import Step
from lamina.machine import Machine, MachineConfig, Outcome

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]

QUIET = "console=ttyS0 quiet loglevel=1 panic=-1"


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        class Nothing:
            def update(self, fraction: float) -> None:
                """Nobody is told."""

        yield Nothing()


@pytest.fixture(scope="module")
def image() -> debian.DebianImage:
    return debian.ensure(Silent())


@pytest.fixture(scope="module")
def opensbi() -> Path:
    return firmware.ensure("opensbi", Silent())


def machine(image: debian.DebianImage, command: list[str], **settings: object) -> Machine:
    """A machine that boots Debian, runs one command, and ends with its exit status."""
    extra = debian.command_initrd(command, {"TERM": "dumb"}, raw_input=True, raw_output=True)
    fields: dict[str, object] = {
        "kernel": image.kernel,
        "initrd": image.initrd.read_bytes() + extra,
        "append": QUIET,
        "memory": 512 << 20,
        **settings,
    }
    return Machine(MachineConfig(**fields))  # type: ignore[arg-type]


SCRIPT = ["sh", "-c", "uname -m; nproc; exit 7"]


def test_profile_names_the_kernels_functions_and_those_of_programs(
    image: debian.DebianImage,
) -> None:
    loop = ["dash", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]
    with machine(image, loop, engine="jit") as m:
        profile = Profile(m)
        profile.watch()
        profile.start()
        assert m.run(timeout=300) == Outcome("poweroff")
        profile.stop()
        hot = profile.functions(names_of(m))
    kernel = [h for h in hot if h.privilege == "kernel"]
    named = sum(h.samples for h in kernel if h.where == "kernel")
    assert named > 0.9 * sum(h.samples for h in kernel)
    assert {h.where for h in hot} >= {"usr/bin/dash", "usr/lib/riscv64-linux-gnu/libc.so.6"}


def test_debian_boots_paravirtually(image: debian.DebianImage) -> None:
    with machine(image, SCRIPT) as m:
        assert m.run(timeout=300) == Outcome("fail", 7)
        assert m.console.text().split()[-2:] == ["riscv64", "1"]


def test_debian_boots_on_two_harts(image: debian.DebianImage) -> None:
    with machine(image, SCRIPT, cpus=2) as m:
        assert m.run(timeout=300) == Outcome("fail", 7)
        assert m.console.text().split()[-2:] == ["riscv64", "2"]
        assert m.cpus[1].icount > 1_000_000


def test_debian_boots_through_opensbi(image: debian.DebianImage, opensbi: Path) -> None:
    with machine(image, SCRIPT, firmware=opensbi) as m:
        assert m.run(timeout=300) == Outcome("fail", 7)
        assert "OpenSBI" in m.console.text()
        assert m.console.text().split()[-2:] == ["riscv64", "1"]


def test_debian_boots_again_after_a_reset(image: debian.DebianImage) -> None:
    with machine(image, ["reboot", "-f"]) as m:
        assert m.run(timeout=300).reason == "reboot"
        m.reset()
        assert m.run(timeout=300).reason == "reboot"


def test_two_deterministic_boots_of_debian_are_the_same(image: debian.DebianImage) -> None:
    runs = []
    for _ in range(2):
        with machine(image, ["cat", "/proc/interrupts"], deterministic=True) as m:
            assert m.run(timeout=300) == Outcome("poweroff")
            runs.append((m.icount, m.console.text(), m.clock.ticks()))
    assert runs[0] == runs[1]
    assert "CPU0" in runs[0][1]


def test_a_guest_panic_is_an_end(image: debian.DebianImage) -> None:
    with machine(image, ["sh", "-c", "echo c > /proc/sysrq-trigger"]) as m:
        assert m.run(timeout=300).reason in ("reboot", "fail", "crash")


def test_two_debians_at_once(image: debian.DebianImage) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with machine(image, SCRIPT) as first, machine(image, SCRIPT) as second:
        with ThreadPoolExecutor(2) as pool:
            ends = list(pool.map(lambda m: m.run(timeout=300), (first, second)))
        assert ends == [Outcome("fail", 7)] * 2
