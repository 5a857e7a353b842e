"""The captured IR of some instructions and routines: a change of capture or passes shows here.

To accept a change: `python tests/golden/test_ir_text.py > tests/golden/ir.txt`.
"""

from pathlib import Path

from lamina.ir.text import render
from lamina.isa.riscv import RISCV64

GOLDEN = Path(__file__).with_name("ir.txt")
INSTRUCTIONS = ("addi", "lw", "sd", "beq", "jalr", "divw", "amoadd.w", "sc.d", "sh1add", "fsgnj.s")
ROUTINES = ("context", "interrupt", "trap")


def current() -> str:
    """The text of all of them."""
    forms = (RISCV64.table.by_name[name] for name in INSTRUCTIONS)
    texts = [render(form.routine) for form in forms]
    texts += [render(RISCV64.routines[name]) for name in ROUTINES]
    return "\n".join(texts)


def test_the_captured_ir_is_the_golden_text() -> None:
    assert current() == GOLDEN.read_text()


if __name__ == "__main__":
    print(current(), end="")
