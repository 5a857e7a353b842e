"""Rounds of samples: subjects in turn, checksums compared, failures noted while others go on."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.catalogue import Application, Workload
from bench.guest import Answer
from bench.sampling import Suite
from bench.subjects import NATIVE, VECTOR, Emulator, Machine, qemu

AGENT = """
import sys
print("@ready", flush=True)
for line in sys.stdin:
    kind, name, scale = line.split()
    if name == sys.argv[1]: sys.exit(9)
    print(f"{name} {int(scale) * 10} {sys.argv[2]}{scale} 0.0\\n@end 0", flush=True)
"""
FIB, SORT = (Workload(name, "integer", "call", 2) for name in ("fib", "qsort"))
MACHINE = Machine(Path("kernel"), Path("initrd"), "1G", "console=ttyS0")


@dataclass(frozen=True)
class FakeEmulator(Emulator):
    """An agent in Python that ends at one workload; its checksums begin with a letter."""

    ends_at: str = ""
    letter: str = "a"

    def boot(self, machine: Machine) -> list[str]:
        return [sys.executable, "-u", "-c", AGENT, self.ends_at, self.letter]


class FakeNative:
    """Uses as much CPU time as its scale, in hundredths of a second."""

    def __init__(self) -> None:
        self.scales: list[int] = []

    def command(self, line: str, timeout: float) -> Answer:
        _, name, scale = line.split()
        self.scales.append(int(scale))
        return Answer(f"{name} {int(scale) * 10} a{scale} 0.0\n", 0, int(scale) / 100, 1.0)


def _suite(*emulators: Emulator, native: FakeNative | None = None) -> Suite:
    return Suite(MACHINE, emulators, {NATIVE: native} if native else {}, lambda text: None)


def test_each_workload_is_sampled_on_each_subject() -> None:
    suite = _suite(FakeEmulator("one", None), FakeEmulator("two", None))
    for number in range(2):
        suite.round([(FIB, 2), (SORT, 3)], number)
    assert suite.results.failures == []
    assert {name: set(each) for name, each in suite.results.samples.items()} == {
        "fib": {"one", "two"},
        "qsort": {"one", "two"},
    }
    assert [s.units for s in suite.results.samples["qsort"]["two"]] == [30.0, 30.0]


def test_another_checksum_is_a_failure_and_no_sample() -> None:
    suite = _suite(FakeEmulator("one", None), FakeEmulator("two", None, letter="b"))
    suite.round([(FIB, 2)], 0)
    assert suite.results.failures == ["fib: checksum b2 on two, a2 on one"]
    assert set(suite.results.samples["fib"]) == {"one"}


def test_a_subject_that_ends_is_booted_again_for_the_next_workload() -> None:
    suite = _suite(FakeEmulator("one", None, ends_at="fib"), FakeEmulator("two", None))
    suite.round([(FIB, 2), (SORT, 2)], 0)
    (failure,) = suite.results.failures
    assert failure.startswith("fib on one: ended with status 9")
    assert set(suite.results.samples["fib"]) == {"two"}
    assert set(suite.results.samples["qsort"]) == {"one", "two"}


def test_a_short_native_sample_is_repeated_larger_after_its_checksum_was_compared() -> None:
    native = FakeNative()
    suite = _suite(FakeEmulator("one", None), native=native)
    for number in range(2):
        suite.round([(FIB, 2)], number)
    assert native.scales == [2, 30, 2, 30]
    assert [s.scale for s in suite.results.samples["fib"][NATIVE]] == [30, 30]
    assert suite.results.failures == []


def test_the_hosts_own_programs_are_not_measured_twice() -> None:
    native = FakeNative()
    suite = Suite(MACHINE, [], {VECTOR: native}, lambda text: None)
    suite.round([(Workload("sort", "apps", "line", 1, Application("sort", 1)), 1)], 0)
    assert native.scales == []


def test_all_emulators_get_the_same_machine() -> None:
    argv = Emulator("lamina", None, "jit").boot(MACHINE)
    assert argv[1:4] == ["-m", "lamina", "boot"]
    assert argv[argv.index("--engine") + 1] == "jit"
    theirs = Emulator("qemu", "/bin/qemu").boot(MACHINE)
    assert theirs[: len(qemu("/bin/qemu", "1G"))] == qemu("/bin/qemu", "1G")
    for ours, other in (("--kernel", "-kernel"), ("--initrd", "-initrd"), ("--append", "-append")):
        assert argv[argv.index(ours) + 1] == theirs[theirs.index(other) + 1]
