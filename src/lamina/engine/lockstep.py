"""Two engines side by side: the first instruction at which they disagree.

Each `Side` is an engine over its own address space, both loaded alike. `lockstep` steps them and
compares every register and slot after each instruction; `compare_runs` lets them run freely, which
takes an engine's fast paths, compares now and then, and on a difference narrows it down to one
instruction. Guest memory is compared as well. Used by `lamina lockstep` and tests/lockstep.
"""

import ctypes
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lamina.base.bits import PAGE_SIZE
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.vcpu import VCpu
from lamina.isa.arch import Arch, StateLayout

HISTORY = 20  # instructions shown before a difference
MEMORY_EVERY = 4096  # instructions between comparisons of memory while stepping
Disassemble = Callable[[int, int], str]  # (pc, bits) -> text

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Engine(Protocol):
    """What is asked of an engine here."""

    name: str
    arch: Arch
    vcpu: VCpu

    def run(self, budget: int) -> Exit: ...
    def step(self) -> Exit: ...
    def close(self) -> None: ...


@dataclass
class Side:
    """An engine and the memory that it runs in."""

    engine: Engine
    space: AddressSpace

    def close(self) -> None:
        self.engine.close()
        self.space.close()


@dataclass
class Difference:
    """Where two engines disagree: (name, first value, second value), and how it came to that."""

    names: tuple[str, str]
    icount: int
    what: list[tuple[str, int, int]]
    history: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        a, b = self.names
        lines = [*self.history, f"after {self.icount} instructions {a} and {b} differ:"]
        lines += [f"  {name:14} {x:#018x}  {y:#018x}" for name, x, y in self.what]
        return "\n".join(lines)


def lockstep(
    a: Side, b: Side, steps: int, disassemble: Disassemble | None = None
) -> Difference | None:
    """Step both `steps` times (each an instruction or a trap); the first difference, if any."""
    tracer = _Tracer(a, disassemble)
    for number in range(steps):
        before = a.engine.vcpu.pc
        exits = a.engine.step(), b.engine.step()
        tracer.note(before)
        what = compare(a, b, exits, memory=(number + 1) % MEMORY_EVERY == 0)
        if what:
            return _difference(a, b, what, tracer.lines())
    what = compare(a, b)
    return _difference(a, b, what, tracer.lines()) if what else None


def compare_runs(
    make_a: Callable[[], Side],
    make_b: Callable[[], Side],
    instructions: int,
    every: int = 1 << 16,
    disassemble: Disassemble | None = None,
) -> Difference | None:
    """Run both from the start for so many instructions, comparing each `every`."""
    a, b = make_a(), make_b()
    try:
        found = _run_apart(a, b, instructions, every)
    finally:
        a.close()
        b.close()
    return found and narrow(make_a, make_b, found, disassemble)


def _run_apart(a: Side, b: Side, instructions: int, every: int) -> Difference | None:
    done = 0
    while done < instructions:
        chunk = min(every, instructions - done)
        exits = a.engine.run(chunk), b.engine.run(chunk)
        what = compare(a, b, exits)
        if what:
            return _difference(a, b, what, [])
        if exits[0] == Exit.STUCK:
            return None
        done += chunk
    return None


def narrow(
    make_a: Callable[[], Side],
    make_b: Callable[[], Side],
    found: Difference,
    disassemble: Disassemble | None = None,
) -> Difference:
    """The earliest sign of a difference that free runs have shown.

    By single steps if they show it; else the smallest budget whose free runs end differently."""
    a, b = make_a(), make_b()
    try:
        stepped = lockstep(a, b, 2 * found.icount + HISTORY, disassemble)
    finally:
        a.close()
        b.close()
    if stepped is not None:
        return stepped
    good, bad = 0, found.icount
    while bad - good > 1:
        middle = (good + bad) // 2
        a, b = make_a(), make_b()
        try:
            result = _run_apart(a, b, middle, middle)
        finally:
            a.close()
            b.close()
        if result is None:
            good = middle
        else:
            bad, found = middle, result
    found.history.append("(not in single steps: the fast path of an engine differs)")
    return found


def compare(
    a: Side, b: Side, exits: tuple[int, int] | None = None, memory: bool = True
) -> list[tuple[str, int, int]]:
    """All that differs between two sides."""
    what: list[tuple[str, int, int]] = []
    if exits is not None and exits[0] != exits[1]:
        what.append(("exit", exits[0], exits[1]))
    what += _compare_state(a.engine.vcpu, b.engine.vcpu)
    return what + (_compare_memory(a.space, b.space) if memory else [])


def _compare_state(a: VCpu, b: VCpu) -> list[tuple[str, int, int]]:
    """Everything but the engines' own words, and the discard registers."""
    layout = a.arch.layout
    if a.words[: layout.words].tobytes() == b.words[: layout.words].tobytes():
        return []
    files = layout.files.values()
    names = {
        layout.file_base[f.name] + i: f"{f.prefix or f.name}{i}"
        for f in files
        for i in range(f.count)
    }
    own = set(StateLayout.COMMON) - {"pc", "icount"}
    names |= {at: name for name, at in layout.index.items() if name not in own}
    return [
        (name, a.words[at], b.words[at])
        for at, name in sorted(names.items())
        if a.words[at] != b.words[at]
    ]


def _compare_memory(a: AddressSpace, b: AddressSpace) -> list[tuple[str, int, int]]:
    """The first differing word of each region."""
    what = []
    for x, y in zip(a.ram_regions, b.ram_regions, strict=True):
        if _memcmp(x.host_address, y.host_address, x.size) == 0:
            continue
        for page in range(0, x.size, PAGE_SIZE):
            if _memcmp(x.host_address + page, y.host_address + page, PAGE_SIZE):
                break
        for at in range(page, page + PAGE_SIZE, 8):
            left = int.from_bytes(x.view[at : at + 8], "little")
            right = int.from_bytes(y.view[at : at + 8], "little")
            if left != right:
                what.append((f"[{x.base + at:#x}]", left, right))
                break
    return what


def _difference(
    a: Side, b: Side, what: list[tuple[str, int, int]], history: list[str]
) -> Difference:
    names = a.engine.name, b.engine.name
    return Difference(names, a.engine.vcpu.icount, what, history)


class _Tracer:
    """The last instructions of a side that are known by their bits (the reference engine's)."""

    def __init__(self, side: Side, disassemble: Disassemble | None) -> None:
        self._engine = side.engine
        self._disassemble = disassemble
        self._last: deque[tuple[int, int, int]] = deque(maxlen=HISTORY)

    def note(self, pc: int) -> None:
        engine = self._engine
        self._last.append((engine.vcpu.icount, pc, getattr(engine, "last_insn", 0)))

    def lines(self) -> list[str]:
        return [
            f"{icount:8} {pc:#018x}  {bits:08x}  "
            f"{self._disassemble(pc, bits) if self._disassemble else ''}"
            for icount, pc, bits in self._last
        ]
