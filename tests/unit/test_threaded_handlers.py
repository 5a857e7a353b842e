"""Which handlers of the threaded engine leave TLB misses to a second, slow handler."""

import pytest

from lamina.engine.threaded.handlers import restartable
from lamina.engine.threaded.module import runtime_text
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


def test_every_slow_handler_that_is_named_is_defined() -> None:
    text = runtime_text(RISCV64)
    named = {line.split('@"s.')[1].split('"')[0] for line in text.split("\n") if '@"s.' in line}
    defined = {
        line.split('@"s.')[1].split('"')[0]
        for line in text.split("\n")
        if line.startswith("define") and '@"s.' in line
    }
    assert named == defined != set()
