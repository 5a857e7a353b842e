"""A vCPU's state: one block of memory that Python and compiled code share.

The block begins with the words of the architecture's `StateLayout`; the compiled engines' own
words and tables follow (`engine.threaded.layout`). All numbers are little-endian 64-bit words.

A vCPU's thread sleeps while its guest waits for an interrupt, in compiled code (`wait_ir`) or here.
No wake-up is lost, because each side first writes and then reads, with a full barrier between:

    who sleeps     pending = 0     | looks for reasons | asleep = 1 | sleeps unless `pending`
    who wakes it   writes a reason | pending = always  | reads `asleep`: of 1 makes 0, and wakes it

Either the sleeper sees the reason, or `pending`, or the other one sees that it sleeps. Reasons are
`irq`, `posted`, `requests`, and whatever a caller of `kick` has written before. Compiled code takes
atomic operations for this; in Python it is the lock, each taking and release of which is a barrier.
A thread that sleeps in Python has had `pending` set by its engine: there `listen` and `sleep` have
`_signalled` in its place, and compare `posted` with what it was. The futex is the low half of
`asleep`: a sleep does not even begin once it is 0.
"""

import ctypes
import mmap
import threading
from collections.abc import Iterator

from lamina.base import futex
from lamina.base.bits import PAGE_SIZE, U64, align_up
from lamina.base.errors import HostError, SnapshotError
from lamina.base.units import format_size
from lamina.isa.arch import Arch

# Bits of the word `requests`, set by other threads and taken at the next boundary.
REQUEST_TLB_FLUSH, REQUEST_ICACHE_FLUSH, REQUEST_STOP, REQUEST_SAMPLE = 1, 2, 4, 8
# Linux's MAP_NORESERVE (Python names it from 3.13 on): address space without a promise of memory.
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
ALWAYS_PENDING = (1 << 63) - 1  # above every instruction budget
_OF_THE_THREAD = ("pending", "requests", "asleep")


def reserve(size: int, what: str) -> mmap.mmap:
    """Zeroed private memory, of which only touched pages cost anything; HostError if refused."""
    try:
        return mmap.mmap(-1, size, flags=PRIVATE)
    except (OSError, OverflowError, ValueError) as error:
        raise HostError(f"{what}: cannot reserve {format_size(size)}: {error}") from None


class VCpu:
    """Registers and slots of one virtual processor, by name, plus its interrupt lines."""

    def __init__(self, arch: Arch, index: int, extra_bytes: int = 0) -> None:
        self.arch = arch
        self.index = index
        size = align_up(arch.layout.words * 8, PAGE_SIZE) + extra_bytes
        self._map = reserve(align_up(size, PAGE_SIZE), f"state of CPU {index}")
        self.words: memoryview = memoryview(self._map).cast("Q")
        self.memory = (ctypes.c_char * len(self._map)).from_buffer(self._map)
        """Who holds this holds the block."""
        self.address = ctypes.addressof(self.memory)
        # Guards irq and requests (read-modify-write by any thread) and orders what is around it.
        self._lock = threading.Lock()
        self._signalled = False  # since `listen`; guarded by the lock
        self._known = 0  # of `posted`, at `listen`
        self._closed = False
        index_of = arch.layout.index
        self._irq, self._pending = index_of["irq"], index_of["pending"]
        self._requests, self._asleep = index_of["requests"], index_of["asleep"]
        self._posted = index_of["posted"]
        self._pc, self._icount = index_of["pc"], index_of["icount"]

    # -- state by name -----------------------------------------------------------------------
    def get(self, slot: str) -> int:
        return int(self.words[self.arch.layout.index[slot]])

    def set(self, slot: str, value: int) -> None:
        self.words[self.arch.layout.index[slot]] = value & U64

    def reg(self, file: str, index: int) -> int:
        return int(self.words[self.arch.layout.file_base[file] + index])

    def set_reg(self, file: str, index: int, value: int) -> None:
        if index or not self.arch.layout.files[file].zero:
            self.words[self.arch.layout.file_base[file] + index] = value & U64

    @property
    def pc(self) -> int:
        return self.get("pc")

    @pc.setter
    def pc(self, value: int) -> None:
        self.set("pc", value)

    @property
    def icount(self) -> int:
        """Instructions retired since the vCPU was made; exact whenever it is not running."""
        return self.get("icount")

    # -- signals from other threads ----------------------------------------------------------
    def set_irq(self, line: int, level: bool) -> None:
        """Drive an interrupt line; takes effect at the next block boundary."""
        with self._lock:
            if self._closed:
                return
            irq = self.words[self._irq]
            self.words[self._irq] = irq | 1 << line if level else irq & ~(1 << line)
            self.words[self._pending] = ALWAYS_PENDING
            self._signalled |= level
        if level:
            self._rouse()

    def request(self, bits: int) -> None:
        """Ask for REQUEST_* at the next boundary. A sample alone wakes nobody."""
        with self._lock:
            if self._closed:
                return
            self.words[self._requests] |= bits
            self.words[self._pending] = ALWAYS_PENDING
            self._signalled |= bits != REQUEST_SAMPLE
        if bits != REQUEST_SAMPLE:
            self._rouse()

    def kick(self) -> None:
        """Have the vCPU look at its interrupts, and its thread at what the caller has changed."""
        with self._lock:
            if self._closed:
                return
            self.words[self._pending] = ALWAYS_PENDING
            self._signalled = True
        self._rouse()

    def _rouse(self) -> None:
        """Wake the vCPU's thread if it sleeps; `pending` has been set, and the lock released."""
        with self._lock:
            if not self._closed and self.words[self._asleep]:
                self.words[self._asleep] = 0
                futex.wake(self.address + 8 * self._asleep)

    def last_seen(self) -> int:
        """The pc at its last boundary, or a later one. The next boundary comes soon, so that who
        asks again knows better; until then the vCPU notices nothing."""
        with self._lock:
            if self._closed:
                return 0
            self.words[self._pending] = ALWAYS_PENDING
            return int(self.words[self._pc])

    def retired(self) -> int:
        """Instructions until then."""
        with self._lock:
            return 0 if self._closed else int(self.words[self._icount])

    @property
    def asleep(self) -> bool:
        """Whether its thread sleeps, or is about to."""
        with self._lock:
            return not self._closed and bool(self.words[self._asleep])

    # -- on the vCPU's own thread ------------------------------------------------------------
    def listen(self) -> None:
        """From now on `sleep` is ended by whoever has something for the vCPU. It comes before one
        looks for reasons not to sleep."""
        with self._lock:
            self._signalled = False
            self._known = self.words[self._posted]

    def sleep(self, seconds: float | None = None) -> None:
        """Sleep until something has come since `listen`, or so long; may end for no reason."""
        with self._lock:
            self.words[self._asleep] = 1
        with self._lock:
            quiet = not self._signalled and self.words[self._posted] == self._known
        if quiet:
            futex.wait(self.address + 8 * self._asleep, 1, seconds)
        self.words[self._asleep] = 0

    def take_requests(self) -> int:
        """The requests made so far; they count as done (for engines that run in Python)."""
        with self._lock:
            bits = int(self.words[self._requests])
            self.words[self._requests] = 0
            return bits

    # -- the whole architectural state -------------------------------------------------------
    def reset(self, **arguments: int) -> None:
        """Set every architectural word to its reset value. The instruction count goes on, the
        interrupt lines stay as their devices drive them, and so does what concerns its thread."""
        layout = self.arch.layout
        keep = {layout.index[slot] for slot in ("icount", "irq", *_OF_THE_THREAD)}
        with self._lock:
            for i in range(layout.words):
                if i not in keep:
                    self.words[i] = 0
            for slot, value in self.arch.reset(**arguments).items():
                self.set(slot, value)

    def items(self) -> Iterator[tuple[str, int]]:
        """Every register and slot with its value: `x1`, ..., `mstatus`."""
        layout = self.arch.layout
        yield "pc", self.pc
        for f in layout.files.values():
            for i in range(f.count):
                yield f"{f.prefix or f.name}{i}", self.reg(f.name, i)
        for slot in layout.slots:
            yield slot, self.get(slot)

    def save(self) -> dict[str, int]:
        """The architectural state, by name."""
        self._take_posted()
        return {**dict(self.items()), "icount": self.icount, "irq": self.get("irq")}

    def load(self, state: dict[str, int]) -> None:
        """Take over saved state; SnapshotError if it is not this architecture's."""
        known = set(self.save())
        if set(state) != known:
            odd = sorted(set(state) ^ known)[0]
            raise SnapshotError(f"vCPU state: {odd} is missing or unknown")
        if any(not isinstance(v, int) or not 0 <= v <= U64 for v in state.values()):
            raise SnapshotError("vCPU state: a value is not a 64-bit number")
        layout = self.arch.layout
        for f in layout.files.values():
            for i in range(f.count):
                self.set_reg(f.name, i, state[f"{f.prefix or f.name}{i}"])
        for slot in (*layout.slots, "pc", "icount", "irq"):
            self.set(slot, state[slot])
        self.set("timer", 0)
        self.set("posted", 0)

    def _take_posted(self) -> None:
        """Interrupts that compiled code of others has posted since the vCPU last ran."""
        if self.words[self._posted]:
            slot = self.arch.posted_slot
            self.set(slot, self.get(slot) | self.get("posted"))
            self.set("posted", 0)

    def close(self) -> None:
        """Release the block; the vCPU must not run any more."""
        with self._lock:
            self._closed = True  # signals come from other threads until the last moment
            self.words.release()
        del self.memory
