"""Partial evaluation: a specialised routine does what the general one does with these operands."""

import random

import pytest

from lamina.ir.build import Builder
from lamina.ir.evaluate import Evaluator
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify, size
from lamina.ir.softfloat import expand_floats
from lamina.ir.specialise import Specialiser, specialise
from lamina.ir.text import render
from lamina.ir.verify import verify
from lamina.isa.insn import operand_values
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.csr_access import csr_names
from tests.unit.rv64 import ASSEMBLER, BASE
from tests.unit.specialising import EDGES, RandomHost, RandomRoutine, random_word, word

FORMS = RISCV64.table.forms
RISCV = Specialiser(zero_files=("x",), apart=("pc", "fflags"))
CAREFUL = Specialiser(inline_limit=0)
TIGHT = Specialiser(inline_limit=6)  # most callees are begun and given up
GREEDY = Specialiser(zero_files=("x",), inline_limit=100_000)
WRONG_LENGTH = 99  # what a routine sees that was to know its length


def same(
    general: Routine,
    special: Routine,
    operands: dict[str, int],
    length: int,
    seed: int,
    *args: int,
    ready: dict[int, Evaluator] | None = None,
) -> None:
    """Both do the same from a random state; the special one asks for no operand. Routines that
    it calls may ask for the instruction's bits."""
    memory = {} if ready is None else ready
    if id(general) not in memory:
        memory[id(general)] = Evaluator(general)
    verify(special)
    due = RandomHost(seed).evaluate(memory[id(general)], operands, length, *args)
    insn = {"insn": operands.get("insn", 0)}
    got = RandomHost(seed).evaluate(Evaluator(special), insn, WRONG_LENGTH, *args)
    assert not any(op.name == "operand" for op in special.body.walk())
    assert got == due, render(general) + render(special)


def instruction(line: str) -> tuple[Routine, dict[str, int], int]:
    code = ASSEMBLER.line(line, BASE)
    insn = int.from_bytes(code, "little")
    form = RISCV64.table.decode(insn, len(code))
    assert form is not None
    return form.routine, {**operand_values(form, insn), "insn": insn}, len(code)


def special(line: str) -> Routine:
    return verify(RISCV.routine(*instruction(line)))


def names(routine: Routine) -> list[str]:
    return [op.name for op in routine.body.walk() if op.name != "const"]


# -- the same effect -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("how", "words"), [(RISCV, 4), (CAREFUL, 1), (GREEDY, 2)], ids=["riscv", "careful", "greedy"]
)
def test_every_form_with_random_operands(how: Specialiser, words: int) -> None:
    rng = random.Random(1)
    for form in FORMS:
        ready: dict[int, Evaluator] = {}
        for _ in range(words):
            insn = random_word(form, rng)
            operands = {**operand_values(form, insn), "insn": insn}
            length = form.encoding.length
            made = how.routine(form.routine, operands, length)
            for _ in range(3):
                seed = rng.getrandbits(32)
                same(form.routine, made, operands, length, seed, ready=ready)


def test_every_csr_number() -> None:
    rng = random.Random(2)
    forms = [form for form in FORMS if "csr" in form.encoding.operands]
    ready: dict[int, Evaluator] = {}
    for number in range(4096):
        form = rng.choice(forms)
        e = form.encoding
        insn = e.encode({**e.decode(random_word(form, rng)), "csr": number})
        operands = {**operand_values(form, insn), "insn": insn}
        made = RISCV.routine(form.routine, operands, 4)
        same(form.routine, made, operands, 4, rng.getrandbits(32), ready=ready)


def test_csrs_that_exist_in_all_forms() -> None:
    rng = random.Random(3)
    ready: dict[int, Evaluator] = {}
    numbers = [n for name, n in csr_names().items() if "hpm" not in name]
    for form in [form for form in FORMS if "csr" in form.encoding.operands]:
        for number in numbers:
            e = form.encoding
            insn = e.encode({**e.decode(random_word(form, rng)), "csr": number})
            operands = {**operand_values(form, insn), "insn": insn}
            made = rng.choice((RISCV, GREEDY)).routine(form.routine, operands, 4)
            same(form.routine, made, operands, 4, rng.getrandbits(32), ready=ready)


def test_random_routines() -> None:
    rng = random.Random(4)
    for _ in range(250):
        callees: list[Routine] = []
        for _ in range(2):
            callees.append(simplify(verify(RandomRoutine(rng, callees, 2).routine())))
        general = verify(RandomRoutine(rng, callees).routine())
        for how in (RISCV, TIGHT, GREEDY):
            operands = {name: rng.choice((*EDGES, word(rng))) for name in ("p", "q", "insn")}
            made = how.routine(general, operands, 4)
            for _ in range(2):
                same(general, made, operands, 4, rng.getrandbits(32))


def test_page_walks_and_soft_floats_with_everything_inlined() -> None:
    rng = random.Random(5)
    for form in rng.sample([f for f in FORMS if f.extension in ("F", "D", "Zfh", "Zfa")], 25):
        general = expand_floats(form.routine)
        insn = random_word(form, rng)
        operands = {**operand_values(form, insn), "insn": insn}
        made = GREEDY.routine(general, operands, 4)
        assert "call" not in names(made)
        for _ in range(10):
            same(general, made, operands, 4, rng.getrandbits(32))


def test_a_routine_with_parameters_is_copied() -> None:
    translate = RISCV64.routines["translate"]
    made = GREEDY.routine(translate, {}, None)
    rng = random.Random(6)
    for _ in range(300):
        args = (word(rng), rng.randrange(4), 8)
        same(translate, made, {"insn": 0}, 4, rng.getrandbits(32), *args)


# -- what is left --------------------------------------------------------------------------------
def test_an_operand_in_a_register_number_stays_recognisable() -> None:
    routine = special("addi a0, a1, 5")
    get, add, put = (op for op in routine.body.ops if op.name != "const")
    assert (get.name, add.name, put.name) == ("reg.get", "add", "reg.set")
    assert get.args[0].op.attrs["value"] == 11 and put.args[0].op.attrs["value"] == 10


def test_the_zero_register_is_zero_and_not_written() -> None:
    assert names(special("li a0, 5")) == ["reg.set"]
    assert names(special("addi zero, a0, 5")) == []
    assert names(special("lw zero, 0(a0)")) == ["reg.get", "load"]
    assert "reg.set" in names(specialise(*instruction("addi zero, a0, 5")))


def test_a_static_jump_is_pc_plus_a_constant() -> None:
    routine = special("jal ra, 0x80000100")
    jump = routine.body.ops[-1]
    assert jump.name == "jump" and jump.args[0].op.name == "add"
    left, right = (a.op for a in jump.args[0].op.args)
    assert left.name == "pc" and right.attrs["value"] == 0x100


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("csrr a0, sscratch", "get ult if trap get reg.set"),
        ("csrw sepc, a0", "reg.get get ult if trap and set"),
        ("csrw sscratch, zero", "get ult if trap set"),
        ("csrrw tp, sscratch, tp", "get ult if trap get reg.get set reg.set"),
        ("csrr a0, sstatus", "get ult if trap get and eq or select or and reg.set"),
        ("csrr a0, mcause", "get ult if trap get reg.set"),
        ("csrw sscratch, a0", "reg.get get ult if trap set"),
        # No flush and no new context: these fields do not change.
        ("csrci sstatus, 2", "get ult if trap get and set"),
        # Pending only where a line, a software bit or a timer that nobody watches may be up.
        (
            "csrsi sstatus, 2",
            "get ult if trap get get or set xor and and ne "
            "if get and or get and and ne get eq and ne or if pending",
        ),
    ],
)
def test_a_csr_instruction_is_a_check_and_an_access(line: str, due: str) -> None:
    assert " ".join(names(special(line))) == due


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("csrrw a0, sstatus, a1", 45),
        ("csrr a0, time", 18),
        ("csrr a0, cycle", 25),
        ("csrw stimecmp, a0", 22),
        ("csrs sie, a0", 20),
        ("sret", 41),
        ("mret", 37),
    ],
)
def test_a_csr_instruction_is_small(line: str, most: int) -> None:
    routine = special(line)
    assert size(routine.body.ops) <= most, render(routine)
    assert "call" not in names(routine) and "switch" not in names(routine)


def test_a_change_of_translation_stays() -> None:
    assert names(special("csrw satp, a0")).count("tlb.space") == 1


def test_a_csr_that_does_not_exist_traps() -> None:
    routine = special("csrrw a0, 0x7ff, a1")
    assert names(routine)[-1] == "trap"
    assert "reg.set" not in names(routine)


def test_slots_that_are_apart_stay_with_routines() -> None:
    assert names(special("csrr a0, fflags")) == ["call", "reg.set"]
    assert "call" not in names(specialise(*instruction("csrr a0, fflags")))


def test_routines_to_keep_are_kept() -> None:
    how = Specialiser(keep=("csr_read",))
    assert "call" in names(how.routine(*instruction("csrr a0, sscratch")))


# -- rules ---------------------------------------------------------------------------------------
def test_nothing_to_gain_gives_the_routine_itself() -> None:
    b = Builder("nothing", (64,))
    b.set("s0", b.params[0] + 1)
    routine = b.finish(b.get("s1"))
    assert specialise(routine, {"rd": 1}, 4) is routine


def test_the_general_routine_is_left_as_it_is() -> None:
    routine, operands, length = instruction("csrrw a0, sstatus, a1")
    before = render(routine)
    RISCV.routine(routine, operands, length)
    assert render(routine) == before


def test_a_recursive_routine_stays_a_call() -> None:
    b = Builder("forever", (64,))
    inner = b.finish()
    b.emit("call", (b.params[0],), (), routine=inner)
    caller = Builder("caller")
    caller.call(inner, 1)
    made = verify(specialise(caller.finish(), {}))
    assert names(made) == ["call"]


def test_a_variable_that_a_loop_sets_is_not_taken_for_known() -> None:
    b = Builder("count")
    n = b.var(64, 0)
    with b.loop():
        with b.when(n.get() == b.operand("limit")):
            b.leave_loop()
        n.set(n.get() + 1)
    b.set("s0", n.get())
    general = verify(b.finish())
    for limit in (0, 1, 5):
        same(general, specialise(general, {"limit": limit}), {"limit": limit}, 4, 1)


def test_a_write_to_an_unknown_register_may_be_to_a_known_one() -> None:
    b = Builder("aliased")
    before = b.reg("x", 5)
    b.set_reg("x", (b.get("s0") & 1) + 5, 77)
    b.set("s1", b.reg("x", 5) + before)
    general = verify(b.finish())
    for seed in range(8):
        same(general, specialise(general, {"rd": 0}, 4), {}, 4, seed)


def test_register_zero_may_be_hardwired_though_nobody_said_so() -> None:
    b = Builder("zero")
    b.set_reg("x", 0, 77)
    b.set("s1", b.reg("x", 0))
    general = verify(b.finish())
    same(general, specialise(general, {"rd": 0}, 4), {}, 4, 1)


def test_choices_of_unlike_width_are_not_taken_for_one() -> None:
    b = Builder("widths")
    condition = b.get("s0") == 0
    narrow, wide = b.select(condition, 1, 0, 5), b.select(condition, 1, 0, 64)
    b.set("s1", wide + narrow.sext(64))
    general = verify(b.finish())
    for seed in range(4):
        same(general, specialise(general, {"rd": 0}, 4), {}, 4, seed)


def test_a_slot_that_a_loop_sets_is_not_taken_for_known() -> None:
    b = Builder("slot")
    b.set("s0", 1)
    with b.loop():
        before = b.get("s0")
        b.set("s0", before + 1)
        with b.when(before == 3):
            b.leave_loop()
    general = verify(b.finish())
    made = specialise(general, {"rd": 0}, 4)
    loop = next(op for op in made.body.ops if op.name == "loop")
    assert loop.blocks[0].ops[0].name == "get"
    same(general, made, {}, 4, 1)


def test_a_callee_that_is_given_up_leaves_nothing_behind() -> None:
    c = Builder("callee")
    c.set("s0", 5)
    for i in range(8):
        c.set_reg("x", i + 1, c.get("s1") + i)
    b = Builder("caller")
    b.set("s0", 1)
    b.call(c.finish())
    b.set("s2", b.get("s0") + b.get("s1"))
    general = verify(b.finish())
    made = TIGHT.routine(general, {"rd": 0}, 4)
    assert names(made)[:3] == ["set", "call", "get"]
    same(general, made, {}, 4, 1)


def test_a_callee_in_a_loop_begins_with_fresh_variables() -> None:
    c = Builder("callee", (64,))
    seen = c.var(64, name="seen")
    with c.when(c.params[0] == 1):
        seen.set(7)
    callee = c.finish(seen.get())
    b = Builder("caller")
    n, total = b.var(64, 0), b.var(64, 0)
    with b.loop():
        n.set(n.get() + 1)
        total.set(total.get() + b.call(callee, n.get())[0])
        with b.when(n.get() == 3):
            b.leave_loop()
    b.set("s0", total.get())
    general = verify(b.finish())
    made = specialise(general, {"p": 0})
    assert "call" not in names(made)
    same(general, made, {}, 4, 1)
