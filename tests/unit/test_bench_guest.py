"""The host's side of the agent's protocol, against an agent in Python."""

import sys

import pytest

from bench.catalogue import Application, Workload
from bench.guest import Guest
from bench.native import Native
from bench.process import BenchError
from bench.sampling import sample

AGENT = """
import sys, time
print("boot noise\\r\\n@ready\\r", flush=True)
for line in sys.stdin:
    line = line.strip()
    if line.startswith("run crash"): sys.exit(3)
    if line.startswith("run hang"): time.sleep(60)
    if line.startswith("run grumble"): print("lamina: oh", file=sys.stderr, flush=True)
    if line.startswith("run burn"):
        begin = time.process_time()
        while time.process_time() - begin < 0.3: pass
    words = line.split()
    print(f"{words[1]} 500 00ff 0.1\\r\\n@end {7 if words[1] == 'bad' else 0}\\r", flush=True)
"""


def _guest() -> Guest:
    return Guest([sys.executable, "-u", "-c", AGENT])


def _workload(name: str, application: Application | None = None) -> Workload:
    return Workload(name, "integer", "call", 3, application)


def test_a_sample_has_what_the_guest_printed_and_what_it_cost_the_host() -> None:
    with _guest() as guest:
        found = sample(guest, _workload("burn"), 3)
        assert (found.scale, found.units, found.checksum) == (3, 500.0, "00ff")
        assert 0.3 <= found.cpu < 1.0
        assert found.rate == pytest.approx(500 / found.cpu)
        again = sample(guest, _workload("idle"), 3)
        assert again.cpu < 0.2


def test_a_workload_with_another_status_than_0_is_an_error() -> None:
    with _guest() as guest, pytest.raises(BenchError, match="status 7"):
        sample(guest, _workload("bad"), 1)


def test_an_emulator_that_ends_is_an_error_with_its_status() -> None:
    with _guest() as guest, pytest.raises(BenchError, match="ended with status 3"):
        sample(guest, _workload("crash"), 1)


def test_an_answer_that_does_not_come_is_an_error() -> None:
    with _guest() as guest, pytest.raises(BenchError, match="no answer"):
        sample(guest, _workload("hang"), 1, timeout=0.3)


def test_what_an_emulator_complains_of_is_no_output_of_the_guests() -> None:
    with _guest() as guest:
        assert guest.complaints() == ""
        assert sample(guest, _workload("grumble"), 1).checksum == "00ff"
        assert guest.complaints() == "lamina: oh"
        assert guest.complaints() == ""


def test_an_emulator_that_does_not_boot_is_an_error_with_its_output() -> None:
    with pytest.raises(BenchError, match="status 5; last output:\nno kernel"):
        Guest([sys.executable, "-c", "print('no kernel'); raise SystemExit(5)"])


def test_an_application_runs_natively_scale_times_and_its_output_is_summed() -> None:
    twice = Application("cat text >> out", 4.0)
    with Native({}, {"text": b"abcd"}) as native:
        found = sample(native, _workload("cat", twice), 2)
        assert (found.scale, found.units) == (2, 8.0)
        assert native.command("sh cat out", 5).text == "abcdabcd"
        assert found.checksum == "-".join(native.command("sh cksum < out", 5).text.split())


def test_an_application_that_takes_the_scale_itself_runs_once() -> None:
    assert Application("loop {n}000 > out", 1000).command(7) == "loop 7000 > out"
