"""The contract between an instruction set and the rest of Lamina.

`isa/NAME` makes one `Arch`. Engines ask it for the state layout, the instruction table and the
shared routines; nothing outside `isa/NAME` knows more of an instruction set than this.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lamina.ir.graph import Routine
from lamina.isa.insn import Insn, InsnTable

# The `access` argument of the translate routine. CACHE is cache-block management: allowed where a
# read is, with the faults of a write.
READ, WRITE, FETCH, CACHE = 0, 1, 2, 3
CORE_PACK = "core"
EVERYWHERE = 2
TOUCHES = {"read": READ, "write": WRITE, "cache": CACHE}  # attribute `access` of the op `touch`


@dataclass(frozen=True, slots=True)
class RegFile:
    """`count` registers of 64 bits; register 0 of a file with `zero` reads 0 and drops writes.
    `floating`: they hold floats, which compiled code keeps in registers of the host's FPU."""

    name: str
    count: int
    zero: bool = False
    prefix: str = ""
    floating: bool = False


LINE_WORDS = 8  # of a cache line of 64 bytes


class StateLayout:
    """Where each register and slot of a vCPU's state lies, in 64-bit words.

    A cache line of the engines' own words (`COMMON`) is first, then come the registers, so that the
    host reaches some of them by 8 bits. Not right at the beginning, which is that of a page: there
    lie tables and guest pages, too, and code runs at half speed. A file with `zero` gets one word
    more, where discarded writes go.
    """

    COMMON = (
        *("pc", "irq", "pending", "requests", "icount_end", "icount", "exit_pc"),
        # The vCPU's own timer. Not 0 (in compiled engines: when it is due): whoever keeps the time
        # makes `pending` true, and this 0, once it is due. 0: nobody does, so look at the clock.
        "timer",
        "asleep",  # 1: the vCPU's thread sleeps until somebody makes this 0 and wakes it: `vcpu`
        "posted",  # bits that compiled code of other vCPUs wants in the slot `posted_slot`
    )

    def __init__(self, files: list[RegFile], slots: list[str]) -> None:
        self.files = {f.name: f for f in files}
        self.index: dict[str, int] = {}
        self.file_base: dict[str, int] = {}
        at = 0
        for name in self.COMMON[:LINE_WORDS]:
            self.index[name] = at
            at += 1
        for f in files:
            self.file_base[f.name] = at
            at += f.count + 1
        for name in (*self.COMMON[LINE_WORDS:], *slots):
            if name in self.index:
                raise ValueError(f"state slot {name} twice")
            self.index[name] = at
            at += 1
        self.slots = tuple(slots)
        self.words = at


class Routines(Mapping[str, Routine]):
    """An architecture's routines, captured when they are first asked for: compiled code that comes
    from the cache asks for none."""

    def __init__(self, makers: dict[str, Callable[[], Routine]]) -> None:
        self._makers = makers
        self._made: dict[str, Routine] = {}

    def __getitem__(self, name: str) -> Routine:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass(eq=False)
class Arch:
    """One instruction set.

    Routines (all captured IR):
      trap(cause, tval)             take a synchronous exception raised at slot `pc`; sets `pc`
      interrupt()                   take the most urgent deliverable interrupt, if there is one
      translate(gva, access, size)  -> (gpa, page_size, cacheable); traps on a fault. The
                                    translation holds for the naturally aligned page of
                                    `page_size` bytes around gva (4096 or more) if cacheable is
                                    1; if EVERYWHERE, in all address spaces of the family, too.
      bus_fault(gva, access)        trap because no RAM or device answers there
      wakes()                       -> 1 if an interrupt is pending that ends a wait for one
      deadline()                    -> when the vCPU's own timer is due, in ticks; all ones: never
      context()                     -> (data, fetch): the TLB contexts in force, 0..CONTEXTS-1
      space()                       -> (identifier, root, keep, family): the address space that the
                                    first SPACE_CONTEXTS contexts translate by. Engines may keep
                                    the translations of others. Where the root of an identifier is
                                    another than before, or `keep` is 0, those it had are dropped.
    """

    name: str
    table: InsnTable
    layout: StateLayout
    routines: Mapping[str, Routine]
    reset: Callable[..., dict[str, int]]  # slot values at reset
    illegal_cause: int  # the exception cause of an undecodable instruction; tval is its bits
    contexts: int = 4
    space_contexts: int = 3  # those above translate alike in all address spaces
    flags_slot: str = ""  # the slot of the floating-point flags NV DZ OF UF NX, if there is one
    posted_slot: str = ""  # the slot of software interrupts, which only the vCPU itself writes
    source: str = ""  # "module:name" of this object, where another process can import it
    # Compiled handlers come in packs, each made and loaded when an instruction of it is first met.
    # The first is there from the start; a pack may call routines of the packs before it.
    packs: tuple[str, ...] = (CORE_PACK,)
    pack_of: Callable[[Insn], str] = lambda insn: CORE_PACK
    # Registers that hold return addresses by convention, as the host's predictors take them to.
    link_registers: frozenset[tuple[str, int]] = frozenset()
    long_mask: int = 3  # an instruction has 4 bytes if its low half & long_mask == long_match,
    long_match: int = 3  # else 2

    def insn_length(self, low_half: int) -> int:
        """Bytes of the instruction whose first 16 bits these are."""
        return 4 if low_half & self.long_mask == self.long_match else 2
