"""The benchmarks' workloads, each once at its smallest: the engine's results are the host's.

The workloads touch much that an operating system does (signals, faults, forks, code that writes
itself), so this is a test of the engines, too.
"""

from pathlib import Path

import pytest

pytest.importorskip("ziglang")

from bench.catalogue import COMPILED, SMP
from bench.run import prepare, told
from bench.sampling import Suite
from bench.subjects import NATIVE, Emulator, lamina_environment

pytestmark = [pytest.mark.boot, pytest.mark.timeout(900)]


@pytest.mark.parametrize("engine", ["threaded", "jit"])
def test_every_workload_comes_to_the_hosts_checksum(engine: str, tmp_path: Path) -> None:
    workloads = [w for w in COMPILED if w.group != SMP]
    prepared = prepare(workloads, tmp_path, [NATIVE])
    emulator = Emulator(engine, None, engine, lamina_environment(None))
    with prepared.hosts() as hosts:
        suite = Suite(prepared.machine, [emulator], hosts, told)
        suite.round([(w, 1) for w in workloads], 0)
    assert suite.results.failures == []
    assert all(engine in each for each in suite.results.samples.values())
    assert set(suite.results.samples) == {w.name for w in workloads}


def test_two_vcpus_come_to_the_hosts_checksum(tmp_path: Path) -> None:
    workloads = [w for w in COMPILED if w.group == SMP]
    prepared = prepare(workloads, tmp_path, [NATIVE], cpus=2)
    emulator = Emulator("lamina", None, None, lamina_environment(None))
    with prepared.hosts() as hosts:
        suite = Suite(prepared.machine, [emulator], hosts, told)
        suite.round([(w, 1) for w in workloads], 0)
    assert suite.results.failures == []
    assert all("lamina" in each for each in suite.results.samples.values())
