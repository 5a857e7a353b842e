"""Where the threaded engine keeps its own words and tables in a vCPU's block, and its records.

The compiled runtime and the Python side both read this page. All sizes are in bytes.

A *record* (16 bytes) is one predecoded instruction: the offset of its compiled handler from the
decoding handler (0 = not decoded yet), four one-byte operands, one 32-bit immediate, the raw bits.
A *code page* holds a record for every two bytes of a 4 KiB guest page, two edge records behind
them, a copy of the bytes that were decoded, a number for these, and when they were compared with
memory.
"""

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE, align_up
from lamina.isa.arch import Arch

RECORD = 16
PAGE_RECORDS = PAGE_SIZE // 2
SOURCE_OFFSET = align_up((PAGE_RECORDS + 2) * RECORD, 64)  # the copy of the guest's bytes
CONTENT_OFFSET = SOURCE_OFFSET + PAGE_SIZE  # the number of these bytes (engine.jit); 0: none yet
EPOCH_OFFSET = CONTENT_OFFSET + 8  # the code epoch in which the copy was compared
REWRITTEN_OFFSET = EPOCH_OFFSET + 8  # until this instruction count no baseline code is made
# The record of what runs over the page's end, and edges.
CROSSING_OFFSET = CONTENT_OFFSET + 2 * RECORD
CODE_PAGE = CROSSING_OFFSET + 3 * RECORD

REGION_FIELDS = ("base", "size", "host", "code_map", "writable")
REGION = 8 * len(REGION_FIELDS)
MAX_REGIONS = 8
GUESSES = 64  # words that count wrong guesses: see `engine.jit.guesses`

TLB_ENTRIES = 16384  # per table; direct-mapped
DATA_ENTRY = 32  # read tag, write tag, addend (host - guest), 1 if in the log
FETCH_ENTRY = 16  # tag, what `pc_bias` is in that page
LOG_BYTES = PAGE_SIZE  # in front of each table: the numbers of entries that were filled, 16 bits
LOG_ENTRIES = LOG_BYTES // 2
RING, LETTER = 16, 32  # fences from other vCPUs that wait in a mailbox, bytes of each
SPACES = 8  # address spaces whose translations are kept
SPACE_LARGE = 32  # an address space: identifier, root, when it was last in force, unused; then
SPACE = SPACE_LARGE + 4 * 8  # where it has large pages: 2 MiB, 1 GiB; low addresses, high ones

MAX_REGION = 1024  # instructions of a compiled region, at most
SETTLED = 100_000  # instructions for which a page's code must have been the same
BASELINE_MAX = 160  # instructions that are compiled at once by the baseline compiler, at most
TEMPLATE_MAX = 256  # bytes of code of each, at most
BASELINE_ENTRY = 8 * 10  # bytes that are noted of each (`baseline.ENTRY`)
BASELINE_TODO = 5 * BASELINE_MAX  # places where straight code begins, at most

SAMPLE = 101  # exit code of the runtime: the optimising engine wants to look at the pc
ENTERED = 103  # exit code of the runtime: the vCPU came to an entry of a region on trial
MISSING_PACK = 102  # exit code of the runtime: an instruction's handlers are not loaded yet
ARENA_FULL = 100  # exit code of the runtime: the code arena must be emptied; Python side only

EVENTS = ("stimecmp",)  # the closed set of events that the guest's CPU tells the machine

_WORDS = (
    "pc_bias",  # guest pc = pc_bias + (record address >> 3)
    "tlb_data",  # the data TLB of the context in force
    "tlb_fetch",
    "exit_code",  # set by an exit, taken at the boundary
    "watch_traps",
    "insn",  # bits of the instruction that called a shared routine
    "opaque",  # first argument of the callbacks
    "mmio_read",
    "mmio_write",
    "notify",
    "mmio_value",
    "clock_gettime",
    "time_offset",  # timebase ticks
    "time_divisor",  # nanoseconds a tick, or instructions a tick in deterministic mode
    "time_deterministic",
    "arena_next",
    "arena_end",
    "tlb_data_count",  # where the tables in force count their filled entries
    "tlb_fetch_count",
    "space",  # the address space in force: its words, and its number
    "space_number",
    "space_family",
    "fetch_context",
    "space_clock",  # counts changes of address space
    "code_epoch",  # see `flush_ir`
    "peers",  # addresses of the states of all vCPUs, and their number; see `remote_ir`
    "peer_count",
    "sched_yield",
    "relaxed",  # how often the guest has said that it waits for another vCPU
    "syscall",
    "futex",  # the number of that system call
    "own_waits",  # 1: waits for interrupts and the timer are dealt with by `wait_ir`
    "timer_until",  # host time until which the timer's thread sleeps; all ones: for ever
    "timer_turn",  # 32 bits: what it sleeps on
    "timer_ends",
    "slice_end",  # in host ticks: when a vCPU that sets its timer goes out to the machine
    "mxcsr",  # engine.threaded.hostfloat: the host's FPU control word, and what it was outside
    "host_mxcsr",
    "region_count",
    "left_to",  # where a compiled region was left to, plus 1 if in its middle; 0: one was entered
    "left_from",  # then: the region, if a check failed that accesses share, else 0
    "left_page",  # and the address of its page 0
    "apart",  # 1: a region with pairs has found a group of accesses in two pages
    "guessed_from",  # the region that has guessed an access's page wrong last
    "left_budget",  # what an abandoned instruction in a compiled region leaves of the budget
    "region_value",  # two words: the value of an access that compiled code could not make itself
    "region_value_high",
    "pack_tables",  # addresses of the tables of loaded packs (engine.threaded.decoder)
    "templates",  # of the baseline compiler (`templates`), by handler; 0: it is off
    *("template_go_on", "template_merge", "template_enter", "template_load", "template_zero"),
    "template_store",
    *("template_thunk_slow", "template_thunk_out", "template_check_read", "template_check_write"),
    *("baseline_start", "baseline_next", "baseline_end"),  # its memory for code
    *("baseline_run", "baseline_period", "baseline_least", "baseline_more", "mprotect"),
    "missing_pack",  # the number of the pack that MISSING_PACK asks for
)

# What is counted, on slow paths only, under the names of `engine.statistics`.
COUNTERS = (
    *("code_pages", "changed_pages", "data_misses", "fetch_misses", "shared_fetches"),
    *("baseline_blocks", "baseline_instructions"),
    *("full_flushes", "code_flushes", "space_flushes", "page_flushes", "space_changes"),
    *("exceptions", "interrupts", "boundaries", "waits", "posts"),
)


def tlb_place(entry: int) -> tuple[int, int]:
    """Where an address's entry stands in a TLB's table of entries of so many bytes: what the
    address is shifted right by, and then masked with."""
    return PAGE_SHIFT - entry.bit_length() + 1, (TLB_ENTRIES - 1) * entry


class ThreadedLayout:
    """Byte offsets into the vCPU block: `at["tlb_data"]`, regions, scratch records, TLBs."""

    def __init__(self, arch: Arch) -> None:
        self.base = align_up(arch.layout.words * 8, PAGE_SIZE)
        words = (*_WORDS, *COUNTERS)
        self.at = {name: self.base + 8 * i for i, name in enumerate(words)}
        self.regions = self.base + 8 * len(words)
        self.guesses = self.regions + MAX_REGIONS * REGION
        self.scratch = align_up(self.guesses + 8 * GUESSES, 64)
        self.mailbox = align_up(self.scratch + 4 * RECORD, 64)
        self.baseline = self.mailbox + 64 + RING * LETTER  # what `baseline_ir` notes of records
        self.baseline_list = self.baseline + 8 * (PAGE_RECORDS + 4)
        self.baseline_todo = self.baseline_list + BASELINE_ENTRY * (
            BASELINE_MAX + 2 * BASELINE_TODO
        )
        self.spaces = self.baseline_todo + 8 * BASELINE_TODO
        self.tables = (SPACES + 1) * arch.contexts  # of each kind
        self.counts = self.spaces + (SPACES + 1) * SPACE
        self.data_tlb = align_up(self.counts + 2 * self.tables * 8, PAGE_SIZE) + LOG_BYTES
        self.data_stride = TLB_ENTRIES * DATA_ENTRY + LOG_BYTES
        self.fetch_tlb = self.data_tlb + self.tables * self.data_stride
        self.fetch_stride = TLB_ENTRIES * FETCH_ENTRY + LOG_BYTES
        self.end = self.fetch_tlb + self.tables * self.fetch_stride
        self.extra_bytes = self.end - self.base
