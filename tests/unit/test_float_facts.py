"""What compiled code knows after a usual case, and that every float instruction has one."""

import pytest

from lamina.engine.threaded.functions import has_rare_cases
from lamina.engine.threaded.handlers import restartable
from lamina.engine.threaded.known import Facts
from lamina.ir.graph import Op, Routine, Value
from lamina.ir.softfloat import expand_floats
from lamina.isa.insn import Form
from lamina.isa.riscv.fp import FS
from lamina.isa.riscv.hart import RV64

FLOATING = [f for f in RV64.forms if f.extension in ("F", "D", "Zfh", "Zfhmin", "Zfa")]
OPERANDS = {"fd": 4, "fs1": 1, "fs2": 2, "fs3": 3, "rd": 5, "rs1": 6, "rm": 7}


def use(value: Value) -> str:
    """Operands as a region knows them: by number."""
    if value.op.name == "operand":
        return str(OPERANDS[value.op.attrs["operand"]])
    return f"%v{value.number}"


def rare_conditions(name: str) -> list[Value]:
    return [op.args[0] for op in body(name) if op.attrs.get("rare")]


def body(name: str) -> list[Op]:
    routine: Routine = RV64.by_name[name].base.routine
    return list(routine.body.walk())


def only(name: str, kind: str) -> Op:
    (op,) = [op for op in body(name) if op.name == kind]
    return op


@pytest.mark.parametrize("form", FLOATING, ids=lambda form: form.name)
def test_an_instruction_can_be_begun_again_in_its_rare_cases(form: Form) -> None:
    routine = expand_floats(form.base.routine)
    assert has_rare_cases(routine)
    assert restartable(routine)


def test_nothing_is_known_at_first() -> None:
    assert all(Facts().value(c, use) is None for c in rare_conditions("fadd.s"))


def test_the_usual_case_is_known_for_the_next_instruction() -> None:
    facts = Facts()
    for condition in rare_conditions("fadd.s"):
        facts.learn(condition, 0, use)
    assert [facts.value(c, use) for c in rare_conditions("fmul.s")] == [0, 0, 0, 0]
    facts.forget()
    assert [facts.value(c, use) for c in rare_conditions("fmul.s")] == [None] * 4


def test_a_known_state_answers_other_questions_about_it() -> None:
    facts = Facts()
    dirty = rare_conditions("fadd.d")[0]
    assert dirty.op.name == "ne"
    facts.learn(dirty.op.args[0], FS, use)
    assert facts.value(dirty, use) == 0
    assert facts.value(rare_conditions("fsd")[0], use) == 0  # FS is not Off


def test_a_boxed_float_is_known_until_its_register_is_written() -> None:
    facts, index = Facts(), OPERANDS["fd"]
    unboxed = rare_conditions("fsgnj.s")[-1]
    facts.wrote(only("flw", "reg.set"), use, surely=True)
    facts_of = {**OPERANDS, "fs2": index}

    def use_it(value: Value) -> str:
        name = value.op.attrs.get("operand")
        return str(facts_of[name]) if name in facts_of else use(value)

    assert facts.value(unboxed, use) is None
    assert facts.value(unboxed, use_it) == 0
    facts.wrote(only("fld", "reg.set"), use, surely=True)
    assert facts.value(unboxed, use_it) is None


def test_what_may_not_have_happened_is_not_learnt() -> None:
    facts = Facts()
    facts.wrote(only("flw", "reg.set"), use, surely=False)
    assert facts.value(rare_conditions("fsgnj.s")[-1], lambda v: use_of_four(v)) is None


def use_of_four(value: Value) -> str:
    return "4" if value.op.name == "operand" else use(value)


def test_a_write_to_an_unknown_register_forgets_the_whole_file() -> None:
    facts = Facts()
    for condition in rare_conditions("fadd.s"):
        facts.learn(condition, 0, use)
    facts.wrote(only("fld", "reg.set"), lambda v: f"%v{v.number}", surely=True)
    known = [facts.value(c, use) for c in rare_conditions("fadd.s")]
    assert known == [0, 0, None, None]
