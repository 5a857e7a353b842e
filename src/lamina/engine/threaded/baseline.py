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
)
CODE_HOLES = frozenset(("next", "taken", "slow", "cold"))  # functions, not numbers
STENCILS = "stencils of "  # in front of a pack's name
# Stencils that are no instructions.
GO_ON, MERGE, ENTER = "go on", "merge", "enter"
CHECKS = ("check read", "check write")
SLOW_THUNK, OUT_THUNK = "thunk slow", "thunk out"
PARTS = (GO_ON, MERGE, ENTER, *CHECKS, SLOW_THUNK, OUT_THUNK)

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
# the base register, 1 + place of the register that it changes.
ENDS, JUMPS, LINKS, COLD, READS, WRITES, BARRIER = (1 << i for i in range(7))
SIZE_SHIFT, BASE_SHIFT, DESTINATION_SHIFT = 8, 12, 16
# Words of an entry in the list of a block, and marks: straight code begins, a jump leads there.
ENTRY = ("record", "template", "place", "marks", "check", "low", "high", "thunk")
BEGINS, TARGET = 1, 2
NEAR, FAR = 24, 1024  # instructions, and bytes, over which accesses share a look-up
LEAST_PERIOD, MOST_PERIOD = 1000, 8192  # instructions between two looks
