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
    integer  alu iteration 600      mul iteration 400       div iteration 150
    integer  fib call 150           qsort element 60        libqsort element 50
    integer  heapsort element 80    sieve element 8         matmul mac 120
    integer  fannkuch permutation 100  sha256 MB 40         crc32 MB 200
    integer  interp operation 40    icall call 20           json KB 25
    integer  strops MB 250
    memory   chase load 25          memcpy MB 150           memcpy4k MB 150
    memory   memset MB 400          stream MB 120
    float    nbody step 400         spectral mac 500        mandel iteration 100
    float    libm call 250          fpcvt iteration 200     linpack flop 200
    float    fft flop 150
    atomic   amo operation 300      cas operation 100
    system   getppid call 60        gettime call 50         smallio call 30
    system   stat call 30           fileio MB 80            pfault fault 60
    system   mprotect call 15       signal signal 40        segv fault 7
    system   fork fork 50           forkexec exec 20        pipe switch 10
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
