"""The toy instruction set runs through assembler, decoder, capture and evaluation."""

from lamina.base.exits import Exit
from lamina.ir.evaluate import Evaluator
from lamina.isa.asm import Assembler
from lamina.isa.disasm import Disassembler
from lamina.isa.toy.arch import DIALECT, FILES, INTERRUPT, OVERFLOW, TOY, arch
from lamina.testing.evalhost import EvalHost

TOY_ARCH = arch()
ASSEMBLER = Assembler(TOY, DIALECT)


def run(source: str, **slots: int) -> EvalHost:
    """Execute until the program halts or traps."""
    h = EvalHost(FILES)
    h.slots |= slots
    code = ASSEMBLER.program(source).code
    h.memory[: len(code)] = code
    while h.exited is None and h.trapped is None:
        at = h.slots["pc"]
        word = int.from_bytes(h.memory[at : at + 4], "little")
        form = TOY.decode(word, 4)
        assert form is not None
        h.run(form, form.encoding.decode(word), word)
    return h


def test_arithmetic_memory_and_exit() -> None:
    h = run("li r1, 10\nadd r3, r3, r1\nstore r3, 0x100(r0)\nload r4, 0x100(r0)\nhalt")
    assert h.exited == Exit.IDLE
    assert h.regs["r"][:5] == [0, 10, 0, 10, 10]


def test_branches_and_jumps() -> None:
    h = run("li r1, over\nbnz r0, bad\nbnz r1, on\nbad: halt\non: jump r2, r1\nhalt\nover: halt")
    assert h.exited == Exit.IDLE
    assert h.slots["pc"] == 28 and h.regs["r"][2] == 20


def test_an_overflowing_sum_traps_and_changes_nothing() -> None:
    h = run("li r1, -1\nadd r1, r1, r1")
    assert h.trapped == (OVERFLOW, (1 << 64) - 2)
    assert h.regs["r"][1] == (1 << 64) - 1


def test_trap_entry_saves_the_address_and_goes_to_the_vector() -> None:
    h = EvalHost(FILES)
    h.slots |= {"pc": 0x40, "vector": 0x200}
    Evaluator(TOY_ARCH.routines["trap"])(h, OVERFLOW, 9)
    state = {k: h.slots[k] for k in ("pc", "epc", "cause", "tval", "masked")}
    assert state == {"pc": 0x200, "epc": 0x40, "cause": OVERFLOW, "tval": 9, "masked": 1}


def test_an_interrupt_is_taken_once() -> None:
    h = EvalHost(FILES)
    h.slots |= {"pc": 0x40, "vector": 0x200, "irq": 4}
    for _ in range(2):
        Evaluator(TOY_ARCH.routines["interrupt"])(h)
    assert (h.slots["pc"], h.slots["epc"], h.slots["cause"]) == (0x200, 0x40, INTERRUPT)


def test_translation_is_the_identity() -> None:
    translate = Evaluator(TOY_ARCH.routines["translate"])
    assert translate(EvalHost(FILES), 0x12345, 0, 4) == (0x12345, 4096, 1)


def test_the_layout_holds_every_register_and_slot() -> None:
    layout = TOY_ARCH.layout
    common = [layout.index[n] for n in layout.COMMON]
    assert common[:8] == [*range(8)]
    assert layout.file_base["r"] == 8, "the host reaches what is first by short displacements"
    assert common[8:] == [*range(25, 17 + len(common))]
    assert layout.index["cause"] == 17 + len(common)
    assert layout.words == layout.index["masked"] + 1


def test_its_text_assembles_back() -> None:
    code = ASSEMBLER.program("li r1, -5\nstore r1, -8(r2)\nload r3, (r4)\nbnz r1, 0\nhalt").code
    listing = Disassembler(TOY, DIALECT).listing(code, 0, TOY_ARCH.insn_length)
    texts = [text for *_, text in listing]
    assert texts == ["li r1, -5", "store r1, -8(r2)", "load r3, 0(r4)", "bnz r1, 0x0", "halt"]
    assert ASSEMBLER.program("\n".join(texts)).code == code
