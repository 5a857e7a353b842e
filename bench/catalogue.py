"""The workloads: their sets, units and scales. `workloads/*.c` holds what they do.

A scale is a number of fixed portions, chosen so that a sample takes QEMU one to three CPU seconds.
Applications (`applications.py`) are the guest's own programs and have the same form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

QUICK_DIVISOR = 20


@dataclass(frozen=True, slots=True)
class Application:
    """A command for the shell, done `scale` times unless it takes the scale itself as `{n}`, and
    the units of one time. `check` prints what must be the same everywhere; it is not measured."""

    text: str
    units: float
    check: str = "cksum < out"

    def command(self, scale: int) -> str:
        """What the shell gets; the result is in the file `out`."""
        if "{n}" in self.text:
            return self.text.replace("{n}", str(scale))
        return f"i=0; while [ $i -lt {scale} ]; do {self.text}; i=$((i + 1)); done"


@dataclass(frozen=True, slots=True)
class Workload:
    """One line of the table: of the program `work`, or of an application."""

    name: str
    group: str
    unit: str
    scale: int
    application: Application | None = None

    def scaled(self, quick: bool) -> int:
        """The scale of a sample in an emulator."""
        return max(1, self.scale // QUICK_DIVISOR) if quick else self.scale


@dataclass(frozen=True, slots=True)
class Group:
    """A set of workloads: title, and how many times QEMU's speed it is to reach (geometric
    mean); `compute` sets count for the distance from native."""

    name: str
    title: str
    target: float
    compute: bool


GROUPS = (
    Group("integer", "Integer", 3.0, True),
    Group("memory", "Memory", 3.0, True),
    Group("float", "Floating point", 6.0, True),
    Group("atomic", "Atomics", 1.0, False),
    Group("system", "Operating system", 2.0, False),
    Group("guestjit", "Guest JIT, self-modifying code", 4.0, False),
    Group("apps", "Shell and applications", 2.5, False),
)
SMP = "smp"  # the set of smp.py, with a table of its own
SUITES = "suites"  # other people's programs: suites.py
NATIVE_TARGET = 2.5  # all compute sets, times native, geometric mean

_TABLE = """
    integer  alu iteration 1800      mul iteration 1200       div iteration 450
    integer  fib call 450           qsort element 180        libqsort element 150
    integer  heapsort element 240    sieve element 24         matmul mac 360
    integer  fannkuch permutation 300  sha256 MB 120         crc32 MB 600
    integer  interp operation 120    icall call 60           json KB 75
    integer  strops MB 750
    memory   chase load 75          memcpy MB 450           memcpy4k MB 450
    memory   memset MB 1200          stream MB 360
    float    nbody step 1200         spectral mac 1500        mandel iteration 300
    float    libm call 750          fpcvt iteration 600     linpack flop 600
    float    fft flop 450
    atomic   amo operation 900      cas operation 300
    system   getppid call 120        gettime call 100         smallio call 60
    system   stat call 90           fileio MB 160            pfault fault 60
    system   mprotect call 30       signal signal 80        segv fault 10
    system   fork fork 100           forkexec exec 40        pipe switch 20
    guestjit smc patch 60           jitgen function 50
    smp      thr2 iteration 300     amo2 operation 60       mprotect2 call 10
"""


def _read(table: str) -> tuple[Workload, ...]:
    found = []
    for line in table.strip().splitlines():
        group, *words = line.split()
        for name, unit, scale in zip(words[::3], words[1::3], words[2::3], strict=True):
            found.append(Workload(name, group, unit, int(scale)))
    return tuple(found)


COMPILED = _read(_TABLE)


def chosen(names: Sequence[str], everything: Sequence[Workload]) -> list[Workload]:
    """Those of the named sets and workloads, in the catalogue's order; all for no names."""
    known = {name for workload in everything for name in (workload.name, workload.group)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: not a set or workload; see python -m bench list")
    return [w for w in everything if not names or w.name in names or w.group in names]
