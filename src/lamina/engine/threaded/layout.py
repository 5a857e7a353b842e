"""Where the threaded engine keeps its own words and tables in a vCPU's block, and its records.

The compiled runtime and the Python side both read this page. All sizes are in bytes.

A *record* (16 bytes) is one predecoded instruction: the offset of its compiled handler from the
decoding handler (0 = not decoded yet), four one-byte operands, one 32-bit immediate, the raw bits.
A *code page* holds a record for every two bytes of a 4 KiB guest page, two edge records behind
them, and a copy of the bytes that were decoded.
"""

from lamina.base.bits import PAGE_SIZE, align_up
from lamina.isa.arch import Arch

RECORD = 16
PAGE_RECORDS = PAGE_SIZE // 2
SOURCE_OFFSET = align_up((PAGE_RECORDS + 2) * RECORD, 64)  # the copy of the guest's bytes
CODE_PAGE = SOURCE_OFFSET + PAGE_SIZE

REGION_FIELDS = ("base", "size", "host", "code_map", "writable")
REGION = 8 * len(REGION_FIELDS)
MAX_REGIONS = 8

TLB_ENTRIES = 1024  # per context; direct-mapped
DATA_ENTRY = 32  # read tag, write tag, addend (host - guest), unused
FETCH_ENTRY = 16  # tag, code page

SAMPLE = 101  # exit code of the runtime: the optimising engine wants to look at the pc
MISSING_PACK = 102  # exit code of the runtime: an instruction's handlers are not loaded yet
ARENA_FULL = 100  # exit code of the runtime: the code arena must be emptied; Python side only

EVENTS = ("stimecmp",)  # the closed set of events that the guest's CPU tells the machine

_WORDS = (
    "cur_page",  # the code page that runs
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
    "timespec",
    "timespec_nanoseconds",
    "arena_next",
    "arena_end",
    "large_low",  # virtual addresses mapped by large pages since the last flush
    "large_high",
    "mxcsr",  # engine.threaded.hostfloat: the host's FPU control word, and what it was outside
    "host_mxcsr",
    "region_count",
    "pack_tables",  # addresses of the tables of loaded packs (engine.threaded.decoder)
    "missing_pack",  # the number of the pack that MISSING_PACK asks for
    "region_table",  # addresses of compiled regions (engine.jit)
)


class ThreadedLayout:
    """Byte offsets into the vCPU block: `at["tlb_data"]`, regions, scratch records, TLBs."""

    def __init__(self, arch: Arch) -> None:
        self.base = align_up(arch.layout.words * 8, PAGE_SIZE)
        self.at = {name: self.base + 8 * i for i, name in enumerate(_WORDS)}
        self.regions = self.base + 8 * len(_WORDS)
        self.scratch = align_up(self.regions + MAX_REGIONS * REGION, 64)
        self.data_tlb = align_up(self.scratch + 4 * RECORD, PAGE_SIZE)
        self.data_context = TLB_ENTRIES * DATA_ENTRY
        self.fetch_tlb = self.data_tlb + arch.contexts * self.data_context
        self.fetch_context = TLB_ENTRIES * FETCH_ENTRY
        self.end = self.fetch_tlb + arch.contexts * self.fetch_context
        self.extra_bytes = self.end - self.base
