"""What the evaluator sees of a vCPU and its memory: state by name, translation, RAM, devices.

`ReferenceHost` is the `Host` of `ir.evaluate` for one vCPU. The rules of memory are those of
`engine.threaded.memory_ir`: accesses to RAM may be misaligned, those over the end of a page
translate both pages before anything is done, devices take aligned accesses only, atomics reach
RAM only. Owned by `ReferenceEngine`, which fetches and counts.
"""

import threading
import time
from collections.abc import Callable
from typing import NoReturn

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE, U64, mask, signed
from lamina.bus.memory import RamRegion
from lamina.bus.space import AddressSpace
from lamina.engine.vcpu import ALWAYS_PENDING, VCpu
from lamina.ir.evaluate import Evaluator, Leave
from lamina.isa.arch import FETCH, READ, TOUCHES, WRITE, Arch

TLB_LIMIT = 1 << 14  # entries of a context before all are dropped
COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "swap": lambda w, old, new: new,
    "add": lambda w, old, new: (old + new) & mask(w),
    "and": lambda w, old, new: old & new,
    "or": lambda w, old, new: old | new,
    "xor": lambda w, old, new: old ^ new,
    "min": lambda w, old, new: old if signed(old, w) <= signed(new, w) else new,
    "max": lambda w, old, new: old if signed(old, w) >= signed(new, w) else new,
    "minu": lambda w, old, new: min(old, new),
    "maxu": lambda w, old, new: max(old, new),
}
Tlb = dict[int, tuple[memoryview, int]]
"""Page number * 4 + access: RAM, and what to add to a GVA for its index there."""

_STORES = threading.Lock()  # guards guest RAM against other vCPUs of this process during stores


class ReferenceHost:
    """State, memory and control of one vCPU. `operands`, `length` and `insn_pc` are set for each
    instruction by the engine; `target` and `exit_code` are what the instruction asked for."""

    def __init__(
        self,
        arch: Arch,
        vcpu: VCpu,
        space: AddressSpace,
        on_notify: Callable[[str, int], None],
    ) -> None:
        self.operands: dict[str, int] = {}
        self.length = 0
        self.target: int | None = None
        self.exit_code = 0
        self.time_offset, self.time_divisor, self.time_deterministic = 0, 100, False
        self._space = space
        self._on_notify = on_notify
        self._words = vcpu.words
        self._index = arch.layout.index
        self._bases = arch.layout.file_base
        self._zero = {f.name for f in arch.layout.files.values() if f.zero}
        self._pc, self._icount = self._index["pc"], self._index["icount"]
        routines = {name: Evaluator(routine) for name, routine in arch.routines.items()}
        self._trap, self._translate = routines["trap"], routines["translate"]
        self._context, self._bus_fault = routines["context"], routines["bus_fault"]
        self.interrupt = routines["interrupt"]
        self._data_tlbs: list[Tlb] = [{} for _ in range(arch.contexts)]
        self._fetch_tlbs: list[Tlb] = [{} for _ in range(arch.contexts)]
        self._data, self._fetch = self._data_tlbs[0], self._fetch_tlbs[0]

    # -- state ---------------------------------------------------------------------------------
    def get(self, slot: str) -> int:
        return self._words[self._index[slot]]

    def set(self, slot: str, value: int) -> None:
        self._words[self._index[slot]] = value

    def reg_get(self, file: str, index: int) -> int:
        return self._words[self._bases[file] + index]

    def reg_set(self, file: str, index: int, value: int) -> None:
        if index or file not in self._zero:
            self._words[self._bases[file] + index] = value

    def operand(self, operand: str) -> int:
        return self.operands[operand]

    def pc(self) -> int:
        return self._words[self._pc]

    def insn_length(self) -> int:
        return self.length

    def icount(self) -> int:
        return self._words[self._icount]

    def time(self) -> int:
        """Timebase ticks; see `ReferenceEngine.set_time`."""
        base = self.icount() if self.time_deterministic else time.monotonic_ns()
        return (base // self.time_divisor + self.time_offset) & U64

    # -- translation ---------------------------------------------------------------------------
    def _locate(self, gva: int, access: int, size: int) -> tuple[memoryview | None, int]:
        """RAM and the index in it, or None and the GPA, of an access inside one page; traps."""
        table = self._fetch if access == FETCH else self._data
        key = gva >> PAGE_SHIFT << 2 | access
        hit = table.get(key)
        if hit is not None:
            return hit[0], gva + hit[1]
        gpa, _, cacheable = self._translate(self, gva, access, size)
        region = self._region(gpa, size, access == WRITE)
        if region is None:
            return None, gpa
        at = gpa - region.base
        if cacheable:
            if len(table) >= TLB_LIMIT:
                table.clear()
            table[key] = region.view, at - gva
        return region.view, at

    def _region(self, gpa: int, size: int, write: bool) -> RamRegion | None:
        for region in self._space.ram_regions:
            if region.base <= gpa and gpa + size <= region.end:
                return None if write and region.readonly else region
        return None

    def fault(self, gva: int, access: int) -> NoReturn:
        """The trap for an address where nothing answers."""
        self._bus_fault(self, gva, access)
        raise AssertionError("the bus_fault routine did not trap")

    def _parts(self, gva: int, access: int, size: int) -> list[tuple[memoryview, int, int]]:
        """The pieces (RAM, index, bytes) of an access over the end of a page: both pages are
        translated before either is touched."""
        room = PAGE_SIZE - gva % PAGE_SIZE
        pieces = (gva, room), ((gva + room) & U64, size - room)
        found = [(at, self._locate(at, access, length), length) for at, length in pieces]
        parts = []
        for at, (ram, index), length in found:
            if ram is None:
                self.fault(at, access)
            parts.append((ram, index, length))
        return parts

    def fetch_half(self, gva: int) -> int:
        """Two bytes of code."""
        view, at = self._locate(gva, FETCH, 2)
        if view is None:
            self.fault(gva, FETCH)
        return view[at] | view[at + 1] << 8

    # -- memory --------------------------------------------------------------------------------
    def load(self, gva: int, size: int) -> int:
        if gva % PAGE_SIZE + size > PAGE_SIZE:
            pieces = [bytes(v[at : at + n]) for v, at, n in self._parts(gva, READ, size)]
            return int.from_bytes(b"".join(pieces), "little")
        view, at = self._locate(gva, READ, size)
        if view is not None:
            return int.from_bytes(view[at : at + size], "little")
        value = None if at % size else self._space.mmio_read(at, size)
        if value is None:
            self.fault(gva, READ)
        return value

    def store(self, gva: int, value: int, size: int) -> None:
        data = value.to_bytes(size, "little")
        if gva % PAGE_SIZE + size > PAGE_SIZE:
            for part, at, length in self._parts(gva, WRITE, size):
                with _STORES:
                    part[at : at + length] = data[:length]
                data = data[length:]
            return
        ram, at = self._locate(gva, WRITE, size)
        if ram is not None:
            with _STORES:
                ram[at : at + size] = data
        elif at % size or not self._space.mmio_write(at, size, value):
            self.fault(gva, WRITE)

    def _atomic(self, gva: int, size: int) -> tuple[memoryview, int]:
        """Writable RAM inside one page; the instructions have checked the alignment."""
        if gva % PAGE_SIZE + size > PAGE_SIZE:
            self.fault(gva, WRITE)
        view, at = self._locate(gva, WRITE, size)
        if view is None:
            self.fault(gva, WRITE)
        return view, at

    def rmw(self, gva: int, value: int, size: int, kind: str) -> int:
        view, at = self._atomic(gva, size)
        with _STORES:
            old = int.from_bytes(view[at : at + size], "little")
            view[at : at + size] = COMBINE[kind](8 * size, old, value).to_bytes(size, "little")
        return old

    def cas(self, gva: int, expected: int, new: int, size: int) -> int:
        view, at = self._atomic(gva, size)
        return _compare_and_swap(view, at, expected, new, size)

    def touch(self, gva: int, access: str) -> None:
        self._translate(self, gva, TOUCHES[access], 1)

    def fence(self) -> None:
        """The interpreter lock orders everything."""

    def relax(self) -> None:
        """The interpreter gives others their turn."""

    def phys_load(self, gpa: int, size: int) -> tuple[int, int]:
        region = self._region(gpa, size, write=False)
        if region is None:
            return 0, 0
        at = gpa - region.base
        return int.from_bytes(region.view[at : at + size], "little"), 1

    def phys_cas(self, gpa: int, expected: int, new: int, size: int) -> tuple[int, int]:
        region = self._region(gpa, size, write=True)
        if region is None:
            return 0, 0
        return _compare_and_swap(region.view, gpa - region.base, expected, new, size), 1

    # -- control and the engine's own state ----------------------------------------------------
    def jump(self, target: int) -> None:
        self.target = target

    def trap(self, cause: int, tval: int) -> NoReturn:
        self._trap(self, cause, tval)
        raise Leave

    def leave(self) -> NoReturn:
        raise Leave

    def exit(self, reason: int) -> None:
        self.exit_code = int(reason)
        self.pending()

    def tlb_flush(self) -> None:
        for table in (*self._data_tlbs, *self._fetch_tlbs):
            table.clear()

    def tlb_flush_page(self, gva: int) -> None:
        """All pages: entries do not remember whether they are part of a large one."""
        self.tlb_flush()

    def tlb_flush_space(self, space: int) -> None:
        """All of them: translations of one address space only are kept at a time."""
        self.tlb_flush()

    def tlb_flush_space_page(self, space: int, gva: int) -> None:
        self.tlb_flush()

    def tlb_space(self) -> None:
        self.tlb_flush()
        self.tlb_context()

    def tlb_context(self) -> None:
        data, fetch = self._context(self)
        self._data, self._fetch = self._data_tlbs[data], self._fetch_tlbs[fetch]

    def icache_flush(self) -> None:
        """Code is read from memory each time it runs."""

    def fence_remote(self, *arguments: int) -> int:
        """Left to the machine."""
        return 0

    def post_remote(self, mask: int, base: int, bits: int) -> int:
        """Left to the machine."""
        return 0

    def pending(self) -> None:
        self.set("pending", ALWAYS_PENDING)

    def notify(self, value: int, event: str) -> None:
        self._on_notify(event, value)


def _compare_and_swap(view: memoryview, at: int, expected: int, new: int, size: int) -> int:
    with _STORES:
        old = int.from_bytes(view[at : at + size], "little")
        if old == expected:
            view[at : at + size] = new.to_bytes(size, "little")
    return old
