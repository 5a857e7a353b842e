"""Which registers of an instruction baseline code has in registers of the host."""

import pytest

from lamina.engine.threaded.decoder import Variants
from lamina.engine.threaded.stencil_forms import specials
from lamina.engine.threaded.stencil_registers import Roles, roles_of
from lamina.isa.insn import Insn
from lamina.isa.riscv import RISCV64


def insn(name: str) -> Insn:
    packs = (Variants(RISCV64).of(pack) for pack in RISCV64.packs)
    return next(i for pack in packs for i, _ in pack if i.name == name)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("add", Roles(("b", "c"), "a")),
        ("ld", Roles(("b",), "a")),
        ("sd", Roles(("a", "b"))),
        ("beq", Roles(("a", "b"))),
        ("lui", Roles((), "a")),
        ("fld", Roles(("b",))),
        ("fadd.d", Roles()),
        ("feq.d", Roles((), "a")),
        ("fmv.d.x", Roles(("b",))),
        ("amoadd.d", Roles(("b", "c"), "a")),
        # What it writes is in the state only: control goes elsewhere.
        ("jal", Roles(all=False)),
        ("jalr", Roles(("b",), None, all=False)),
        # It needs the host's registers for itself, or has too many operands.
        ("div", Roles(all=False)),
        ("amocas.d", Roles(all=False)),
    ],
)
def test_roles(name: str, roles: Roles) -> None:
    found = roles_of(RISCV64, insn(name))
    assert (set(found.sources), found.result, found.all) == (
        set(roles.sources),
        roles.result,
        roles.all,
    )


def test_a_register_that_is_the_hardwired_zero_has_no_role() -> None:
    found = {s.suffix: roles_of(RISCV64, insn("beq"), s) for s in specials(RISCV64, insn("beq"))}
    assert found == {".zero.a": Roles(("b",)), ".zero.b": Roles(("a",))}
