"""CPU time from outside: of threads, of children, and until a process comes to rest."""

import os
import subprocess
import sys

from bench.accounts import QUIET, WINDOW, children, cpu_seconds, runnable, settled


def _python(text: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


PARENT = """
import os, time
def burn():
    begin = time.process_time()
    while time.process_time() - begin < 0.3: pass
if os.fork() == 0:
    burn()
    os._exit(0)
os.wait()
if os.fork() == 0:
    burn()
    print("x", flush=True)
    time.sleep(60)
time.sleep(60)
"""


def test_the_time_of_the_calling_process_is_its_own_clocks() -> None:
    pid = os.getpid()
    own = cpu_seconds(pid) - sum(cpu_seconds(child) for child in children(pid))
    assert abs(own - sum(os.times()[:4])) < 0.2


def test_a_living_child_and_one_that_was_waited_for_are_counted() -> None:
    with _python(PARENT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = children(process.pid)
        try:
            assert len(family) == 1
            assert cpu_seconds(process.pid) > 0.55
            while runnable(process.pid):  # it goes to sleep
                os.sched_yield()
        finally:
            for pid in (*family, process.pid):
                os.kill(pid, 9)


def test_a_process_that_is_gone_has_used_nothing() -> None:
    with _python("") as process:
        process.wait()
    assert cpu_seconds(process.pid) == 0.0
    assert not runnable(process.pid)


def test_rest_is_when_little_time_is_used_and_nobody_waits_for_a_cpu() -> None:
    little, much = QUIET * WINDOW / 2, QUIET * WINDOW * 2
    steps = [0.0, much, much, little, little, much]
    total, readings = 0.0, []
    for step in steps:
        total += step
        readings.append(total)
    waits = iter([True, False])
    values, slept = iter(readings), []
    found = settled(lambda: next(values), lambda: next(waits), sleep=slept.append)
    assert found == readings[4]
    assert slept == [WINDOW] * 4


def test_patience_with_a_process_that_never_rests_ends() -> None:
    values = iter(range(1000))
    assert settled(lambda: float(next(values)), lambda: True, 3 * WINDOW, lambda _: None) == 3.0
