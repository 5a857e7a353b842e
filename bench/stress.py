"""`python -m bench stress`: many workloads at once in one guest for a long time.

As many workers as vCPUs run the workloads of `MIX` over and over in Debian, each starting at
another place of the list; every result is compared with the first one of its kind, and the kernel's
messages are watched for oopses. The host keeps the memory of the emulator and its children over
time. The run fails where a result differs, the guest stops telling of progress, or memory goes on
growing. Owns the page `docs/benchmarks/stress.md` and its plot.
"""

import argparse
import os
import selectors
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.accounts import cpu_seconds, resident_bytes
from bench.build import program
from bench.image import MEMORY
from bench.process import BenchError
from bench.report import host, versions
from bench.run import told
from bench.subjects import lamina, lamina_environment
from lamina.cli.progress import progress_on_stderr
from lamina.images import cpio, debian

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "stress.md"
MIX = (
    *("fib 4", "qsort 4", "sieve 2", "matmul 4", "sha256 2", "json 2", "interp 2", "strops 4"),
    *("memcpy 4", "chase 2", "nbody 2", "linpack 2", "fft 2", "libm 2", "amo 4", "cas 4"),
    *("getppid 4", "smallio 2", "stat 2", "fileio 1", "pfault 2", "mprotect 2", "signal 2"),
    *("segv 2", "fork 2", "forkexec 1", "pipe 2", "smc 2", "jitgen 2", "thr2 2"),
)
WORKER = r"""#!/bin/dash
worker() {
    turn=$1
    while :; do
        i=0
        while read -r name scale; do
            i=$((i + 1))
            [ $((i % CPUS)) = $((turn % CPUS)) ] || continue
            set -- $(/work "$name" "$scale") || { echo "FAILED $name"; continue; }
            [ -n "$3" ] || { echo "FAILED $name: $*"; continue; }
            if [ -e "/tmp/$name" ]; then
                read -r due < "/tmp/$name"
                [ "$due" = "$3" ] || echo "DIFFERENT $name: $3, before $due"
            else
                echo "$3" > "/tmp/$name"
            fi
            echo "RAN $name"
        done < /mix
        turn=$((turn + 1))
    done
}
n=0
while [ $n -lt CPUS ]; do
    worker $n &
    n=$((n + 1))
done
while :; do
    sleep 5
    dmesg | grep -E 'Oops|BUG|soft lockup|rcu_sched|Unable to handle' && echo "FAILED kernel"
done
"""
SILENCE = 180.0  # seconds without a result that end the run
EVERY = 5.0  # seconds between looks at the memory
SETTLED = 1 / 3  # of the run: memory is compared from there on
GROWTH = 1.1  # of the resident memory, from then to the end, that is no leak


@dataclass
class Outcome:
    """What was seen."""

    results: int = 0
    troubles: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds, bytes
    cpu: float = 0.0

    @property
    def growth(self) -> float:
        """Resident memory at the end, of what it was when the guest had settled: medians."""
        settled = self.memory[int(len(self.memory) * SETTLED) :]
        part = max(len(settled) // 5, 1)
        first, last = (sorted(b for _, b in some) for some in (settled[:part], settled[-part:]))
        return last[len(last) // 2] / first[len(first) // 2]


def run(given: argparse.Namespace, folder: Path) -> int:
    """Stress, show, keep; the exit status."""
    image = debian.ensure(progress_on_stderr())
    script = WORKER.replace("CPUS", str(given.cpus)).encode()
    entries = [
        cpio.regular("work", program("guest", told).read_bytes(), 0o755),
        cpio.regular("stress.sh", script, 0o755),
        cpio.regular("mix", "".join(f"{line}\n" for line in MIX).encode()),
    ]
    initrd = folder / "stress.cpio"
    extra = b"".join(cpio.archive(entries)) + debian.command_initrd(["/stress.sh"], {})
    initrd.write_bytes(image.initrd.read_bytes() + extra)
    command = lamina("boot", "--kernel", str(image.kernel), "--initrd", str(initrd))
    command += ["--cpus", str(given.cpus), "--memory", MEMORY]
    command += ["--append", "console=ttyS0 quiet cryptomgr.notests"]
    if given.engine:
        command += ["--engine", given.engine]
    outcome = _watch(command, given.minutes * 60, lamina_environment(folder / "cache"))
    text = _text(given, outcome)
    print(text)
    if given.write:
        _plot(outcome, PAGE.with_suffix(".svg"))
        PAGE.write_text(text)
    return 1 if outcome.troubles else 0


def _watch(command: list[str], seconds: float, environment: dict[str, str]) -> Outcome:
    outcome = Outcome()
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    assert child.stdout is not None
    begin = heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        looked, rest = begin, b""
        try:
            while (now := time.monotonic()) - begin < seconds:
                if selector.select(1.0):
                    data = os.read(child.stdout.fileno(), 65536)
                    if not data:
                        outcome.troubles.append(f"the guest ended: {rest.decode(errors='replace')}")
                        break
                    *lines, rest = (rest + data).split(b"\n")
                    ran = sum(line.startswith(b"RAN ") for line in lines)
                    outcome.results += ran
                    heard = now if ran else heard
                    odd = (b"DIFFERENT", b"FAILED")
                    outcome.troubles += [x.decode() for x in lines if x.startswith(odd)]
                if now - heard > SILENCE:
                    outcome.troubles.append(f"no result for {SILENCE:.0f} s")
                    break
                if now - looked >= EVERY:
                    looked = now
                    outcome.memory.append((now - begin, resident_bytes(child.pid)))
            outcome.cpu = cpu_seconds(child.pid)
        finally:
            child.kill()
            child.wait()
    if not outcome.memory:
        raise BenchError("stress: the run was too short to look at its memory")
    if outcome.growth > GROWTH:
        outcome.troubles.append(f"memory grew by {outcome.growth - 1:.0%}")
    return outcome


def _text(given: argparse.Namespace, outcome: Outcome) -> str:
    sizes = [size / (1 << 20) for _, size in outcome.memory]
    settled = sizes[int(len(sizes) * SETTLED) :]
    troubles = outcome.troubles or ["none"]
    lines = [
        "# Many workloads at once, for long",
        "",
        f"Made by `python -m bench stress --minutes {given.minutes:g} --cpus {given.cpus}`.",
        "",
        *(f"- {fact}" for fact in (host(), *versions())),
        f"- {len(MIX)} workloads, {given.cpus} vCPUs, {outcome.memory[-1][0] / 60:.1f} minutes,"
        f" {outcome.cpu:,.0f} CPU-s",
        f"- results compared: {outcome.results:,}",
        f"- troubles: {'; '.join(troubles[:20])}",
        f"- resident memory of all processes (PSS): {settled[0]:.0f} MiB after a third of the time,"
        f" {settled[-1]:.0f} at the end, between {min(settled):.0f} and {max(settled):.0f}",
        "",
    ]
    if given.write:
        lines += [f"![Resident memory over time]({PAGE.with_suffix('.svg').name})", ""]
    return "\n".join(lines)


def _plot(outcome: Outcome, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lamina"
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 3))
    axis.plot([t / 60 for t, _ in outcome.memory], [b / (1 << 20) for _, b in outcome.memory])
    axis.set_xlabel("minutes")
    axis.set_ylabel("resident MiB")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
