"""The registers that a specialised instruction uses, against what it does when it is run."""

import random

import pytest

from lamina.ir.build import Builder
from lamina.ir.evaluate import Evaluator
from lamina.ir.liveness import RegisterUses, register_uses
from lamina.ir.specialise import Specialiser
from lamina.isa.insn import operand_values
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import X_NAMES
from tests.unit.rv64 import ASSEMBLER, BASE
from tests.unit.specialising import RandomHost, random_word

RISCV = Specialiser(zero_files=("x",), apart=("pc", "fflags"))


def uses(line: str) -> RegisterUses:
    code = ASSEMBLER.line(line, BASE)
    insn = int.from_bytes(code, "little")
    form = RISCV64.table.decode(insn, len(code))
    assert form is not None
    operands = {**operand_values(form, insn), "insn": insn}
    return register_uses(RISCV.routine(form.routine, operands, len(code)))


class Watched(RandomHost):
    """Notes the registers that are read before they are written, and those written."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.first_read: set[tuple[str, int]] = set()
        self.written: set[tuple[str, int]] = set()

    def reg_get(self, file: str, index: int) -> int:
        if (file, index) not in self.written:
            self.first_read.add((file, index))
        return super().reg_get(file, index)

    def reg_set(self, file: str, index: int, value: int) -> None:
        self.written.add((file, index))
        super().reg_set(file, index, value)


def test_every_form_does_as_is_said() -> None:
    rng = random.Random(1)
    for form in RISCV64.table.forms:
        for _ in range(3):
            insn = random_word(form, rng)
            operands = {**operand_values(form, insn), "insn": insn}
            routine = RISCV.routine(form.routine, operands, form.encoding.length)
            found = register_uses(routine)
            assert found.writes <= found.may_write
            ready = Evaluator(routine)
            for _ in range(4):
                host = Watched(rng.getrandbits(32))
                left = host.evaluate(ready, operands, form.encoding.length)[0] == "left"
                reads = {r for r in host.first_read if r[0] not in found.any_of}
                writes = {r for r in host.written if r[0] not in found.any_of}
                assert reads <= found.reads and writes <= found.may_write
                assert found.leaves or not left
                assert left or found.writes <= host.written


@pytest.mark.parametrize(
    ("line", "reads", "writes"),
    [
        ("add a0, a1, a2", "a1 a2", "a0"),
        ("addi a0, a0, 1", "a0", "a0"),
        ("addi zero, a0, 1", "", ""),
        ("sd a0, 8(sp)", "a0 sp", ""),
        ("ld a0, 8(sp)", "sp", "a0"),
        ("beq a0, a1, 0x80000010", "a0 a1", ""),
        ("jal ra, 0x80000010", "", "ra"),
        ("jalr ra, 0(ra)", "ra", "ra"),
        ("csrrw tp, sscratch, tp", "tp", "tp"),
        ("sc.d a0, a1, (a2)", "a1 a2", "a0"),
    ],
)
def test_registers_of(line: str, reads: str, writes: str) -> None:
    found = uses(line)
    assert found.reads == {("x", X_NAMES.index(name)) for name in reads.split()}
    assert (
        found.writes == found.may_write == {("x", X_NAMES.index(name)) for name in writes.split()}
    )
    assert not found.any_of


def test_float_registers_are_a_file_of_their_own() -> None:
    found = uses("fadd.d ft0, ft1, ft2")
    assert (found.reads, found.writes) == ({("f", 1), ("f", 2)}, {("f", 0)})


def test_a_routine_that_indexes_a_file_may_use_any_of_it() -> None:
    assert uses("csrr a0, fcsr").any_of == {"pmpaddr"}
    assert uses("csrr a0, pmpaddr3").reads == {("pmpaddr", 3)}


def test_a_write_on_one_path_is_possible_but_not_sure() -> None:
    b = Builder("one_path")
    with b.when(b.get("s0") == 0):
        b.set_reg("x", 1, 2)
    b.set_reg("x", 2, b.reg("x", 1))
    found = register_uses(b.finish())
    assert found.reads == {("x", 1)} and found.writes == {("x", 2)}
    assert found.may_write == {("x", 1), ("x", 2)}


def test_a_path_that_traps_does_not_count() -> None:
    b = Builder("trap")
    with b.when(b.get("s0") == 0):
        b.trap(2)
    with b.otherwise():
        b.set_reg("x", 1, 2)
    b.set_reg("x", 2, b.reg("x", 1))
    found = register_uses(b.finish())
    assert not found.reads and found.leaves
    assert found.writes == {("x", 1), ("x", 2)}


def test_a_jump_completes_a_path() -> None:
    b = Builder("jump")
    with b.when(b.get("s0") == 0):
        b.jump(4)
    b.set_reg("x", 1, 2)
    assert register_uses(b.finish()).writes == set()


def test_a_loop_may_be_left_before_it_writes() -> None:
    b = Builder("loop")
    with b.loop():
        with b.when(b.get("s0") == 0):
            b.leave_loop()
        b.set_reg("x", 1, 2)
    found = register_uses(b.finish())
    assert not found.writes and found.may_write == {("x", 1)}
