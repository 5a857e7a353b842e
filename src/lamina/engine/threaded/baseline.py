"""What the parts of the baseline compiler agree on: how templates and lists lie in memory.

A *template* is a stencil (`stencils`) in memory (`templates`); a *list* is what a block will
consist of. `baseline_list_ir` makes the list, `baseline_code_ir` writes its code, `baseline_ir`
decides.
"""

from lamina.engine.threaded.decoder import discard
from lamina.engine.threaded.layout import BASELINE_MAX, BASELINE_TODO, PAGE_RECORDS, ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.engine.threaded.stencils import HOLES
from lamina.isa.arch import Arch

LOOKUP_BITS = 12  # of the table from handlers to templates
# The words in front of a template. `second`: the template of the same access where the page was
# looked up, or of the same jump where it leads forward; `short`: the one with 8-bit displacements,
# which does if no operand has a bit in common with `long` (of the four bytes of operands in a
# record). 0: there is none.
HEAD = ("size", "rows", "step", "flags", "slow", "second", "short", "long")
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


def baseline_names(arch: Arch, layout: ThreadedLayout) -> dict[str, object]:
    """What the texts of the baseline compiler refer to, beside what all texts do."""
    return {
        **names(arch, layout),
        "hole": {name: i for i, name in enumerate(HOLES)},
        "holes": len(HOLES),
        "lookup_shift": 32 - LOOKUP_BITS,
        "lookup_mask": (1 << LOOKUP_BITS) - 1,
        "map": layout.baseline,
        "list": layout.baseline_list,
        "todo": layout.baseline_todo,
        "ENDS": ENDS,
        "JUMPS": JUMPS,
        "LINKS": LINKS,
        "COLD": COLD,
        "WRITES": WRITES,
        "ACCESS": READS | WRITES,
        "BARRIER": BARRIER,
        "SIZE_SHIFT": SIZE_SHIFT,
        "BASE_SHIFT": BASE_SHIFT,
        "DESTINATION_SHIFT": DESTINATION_SHIFT,
        "BEGINS": BEGINS,
        "TARGET": TARGET,
        "NEAR": NEAR,
        "FAR": FAR,
        "head": {name: 8 * i for i, name in enumerate(HEAD)},
        "HEAD_BYTES": 8 * len(HEAD),
        "entry": {name: 8 * i for i, name in enumerate(ENTRY)},
        "discard": discard(arch),
        "MOST_PERIOD": MOST_PERIOD,
        "BASELINE_MAX": BASELINE_MAX,
        "TODO_ROOM": BASELINE_TODO - 2 * BASELINE_MAX - 2,
        "PAGE_RECORDS": PAGE_RECORDS,
    }
