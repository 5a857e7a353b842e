"""What the parts of the baseline compiler agree on: how templates and lists lie in memory.

A *template* is a stencil (`stencils`) in memory (`templates`); a *list* is what a block will
consist of. `baseline_list_ir` makes the list, `baseline_code_ir` writes its code, `baseline_ir`
decides. Only numbers and names: a process that finds its runtime in the cache needs no more.
"""

# What stands in a hole, by its number in a template. The first nine are of the record.
HOLES = (
    *("a", "b", "c", "d", "imm"),
    *("a8", "b8", "c8", "d8"),  # 8 times that: a register's place in its file
    "record",  # the instruction's record; this and the next three take 64 bits
    "pc",  # its address but for the word `pc_bias`
    "next_pc",
    "target",  # of its jump: where a handler adds the immediate to the address
    "done",  # instructions before it, negated
    "spent",  # with it, negated
    "rebase",  # what makes the budget at it that of the code where it goes on
    "count",  # at an entry: instructions before it
    *("base8", "low", "high"),  # of a look-up: register, and what is touched from there
    "slow",  # code: the second handler
    "fixed",  # 0: for addresses of the runtime, which are in the addend
    *("next", "taken", "cold"),  # code: the following instruction, a jump's target, the thunk
    *("first", "other", "result"),  # the host's registers for them, by number xor FIRST's
)
CODE_HOLES = frozenset(("next", "taken", "slow", "cold"))  # functions, not numbers
STENCILS = "stencils of "  # in front of a pack's name
# Stencils that are no instructions.
GO_ON, MERGE, ENTER = "go on", "merge", "enter"
LOAD, ZERO, STORE = "load", "zero", "store"  # of a register of the guest in one of the host
CHECKS = ("check read", "check write")
SLOW_THUNK, OUT_THUNK = "thunk slow", "thunk out"
PARTS = (GO_ON, MERGE, ENTER, LOAD, ZERO, STORE, *CHECKS, SLOW_THUNK, OUT_THUNK)

LOOKUP_BITS = 12  # of the table from handlers to templates
# The words in front of a template. `second`: the template of the same access where the page was
# looked up, or of the same jump where it leads forward. `other`: one of the same instruction that
# is for some operands only, and better; the first in the chain that fits is taken. It fits if the
# operands, the four bytes of a record and, above, the first xor the second, are `match` through
# `mask`, and the immediate is one of `room` numbers from -128 on. 0: there is none.
HEAD = ("size", "rows", "step", "flags", "slow", "second", "other", "mask", "match", "room")
# Its flags: nothing follows; it jumps to where its immediate says; it keeps the address behind it,
# if its first operand is a register; it may leave by a thunk; it reads or writes memory at its base
# register + immediate; nobody knows which registers it changes. Then: bytes of the access, place of
# the base register, 1 + place of the register that it changes, and of those that it has in
# registers of the host (`stencil_registers`).
ENDS, JUMPS, LINKS, COLD, READS, WRITES, BARRIER = (1 << i for i in range(7))
SIZE_SHIFT, BASE_SHIFT, DESTINATION_SHIFT, FIRST_SHIFT, OTHER_SHIFT = 8, 12, 16, 20, 24
RESULT = 1 << 28  # what it changes is in a register of the host, too
SPOILS = 1 << 29  # nothing that the host's registers held is there behind it
EXACT = 1 << 30  # the state must have all registers before it
# Words of an entry in the list of a block, and marks: straight code begins, a jump leads there.
# `stores` and `owed` are what is to be stored before it, and by its thunk: for each of the host's
# registers eight bits, with 1 + the register of the guest.
ENTRY = ("record", "template", "place", "marks", "check", "low", "high", "thunk", "stores", "owed")
BEGINS, TARGET = 1, 2
# Among the marks: the host's registers for `first`, `other`, `result`, which are to be loaded, and
# how many instructions later each is read, or NOT_READ.
HOLDS_FIRST, HOLDS_OTHER, HOLDS_RESULT = 8, 12, 16
LOADS_FIRST, LOADS_OTHER = 1 << 20, 1 << 21
FIRST_NEXT, OTHER_NEXT, RESULT_NEXT = 24, 32, 40
NOT_READ = 255
NEAR, FAR = 24, 1024  # instructions, and bytes, over which accesses share a look-up
# A row for a register fills in the lowest three bits of its number, so many bits from the lowest of
# a byte; with this added, the fourth.
HIGH_BIT = 8
LEAST_PERIOD, MOST_PERIOD = 1000, 8192  # instructions between two looks
