"""Which handlers of the threaded engine leave TLB misses to a second, slow handler."""

import pytest

from lamina.engine.threaded.decoder import PackTable, Variants
from lamina.engine.threaded.handlers import restartable
from lamina.engine.threaded.module import pack_modules
from lamina.ir.softfloat import expand_floats
from lamina.isa.riscv import RISCV64


def _restartable(name: str) -> bool:
    return restartable(expand_floats(RISCV64.table.by_name[name].base.routine))


@pytest.mark.parametrize("name", ["lw", "sd", "fld", "amoadd.w", "lr.d", "sc.d", "amocas.q"])
def test_an_instruction_that_changes_nothing_before_its_access_can_begin_again(name: str) -> None:
    assert _restartable(name)


def test_an_instruction_with_several_stores_cannot_begin_again() -> None:
    assert not _restartable("cbo.zero")


def test_an_instruction_without_access_has_no_slow_handler() -> None:
    assert not _restartable("add")


def _defined(text: str, kind: str) -> list[str]:
    """Names of the functions `kind.NAME` that a module defines."""
    lines = [line for line in text.split("\n") if line.startswith("define")]
    return [line.split(f'@"{kind}.')[1].split('"')[0] for line in lines if f'@"{kind}.' in line]


@pytest.mark.parametrize("pack", RISCV64.packs)
def test_every_slow_handler_that_a_pack_names_is_in_its_cold_module(pack: str) -> None:
    hot, cold = pack_modules(RISCV64, pack)
    named = {
        line.split('@"s.')[1].split('"')[0]
        for line in (hot + cold).split("\n")
        if '@"s.' in line and not line.startswith("declare")
    }
    assert named == set(_defined(cold, "s")) and not _defined(hot, "s")


def test_every_instruction_has_its_handlers_in_one_pack_and_every_routine_too() -> None:
    variants = Variants(RISCV64)
    handlers: list[str] = []
    routines: list[str] = []
    for pack in RISCV64.packs:
        wanted = sorted(h.name for h in PackTable(RISCV64, pack, variants).handlers)
        texts = pack_modules(RISCV64, pack)
        found = _defined(texts.hot, "h") + _defined(texts.cold, "h")
        assert sorted(found) == wanted != []
        handlers += found
        routines += _defined(texts.hot, "r") + _defined(texts.cold, "r")
    assert len(handlers) == len(set(handlers)) > 300
    assert len(routines) == len(set(routines)) > 40
    forms = {(form.base, form.encoding.length) for form in RISCV64.table.forms}
    assert {entry for pack in RISCV64.packs for entry in variants.of(pack)} == forms


def test_a_kernel_boots_with_the_core_pack_alone() -> None:
    """What the kernel of every distribution runs stands in the first pack."""
    names = ("add", "mul", "ld", "amoadd.d", "csrrw", "sret", "fence.i", "fld", "fsd")
    assert {RISCV64.pack_of(RISCV64.table.by_name[n].base) for n in names} == {"core"}
    assert RISCV64.pack_of(RISCV64.table.by_name["fadd.d"].base) == "float"
