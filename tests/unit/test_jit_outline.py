"""What the VM's process sees of an instruction is what the compiler's process sees of it."""

import random

import pytest
from regions import DECODER

from lamina.base.bits import mask
from lamina.engine.jit.outline import OutlineDecoder
from lamina.isa.insn import Form
from lamina.isa.riscv import RISCV64

OUTLINES = OutlineDecoder(RISCV64)
WORDS = 12  # of each form


def words(form: Form) -> list[int]:
    e, rng = form.encoding, random.Random(form.encoding.pattern)
    free = ~e.mask & mask(8 * e.length)
    tries = [e.match, e.match | free, *(e.match | rng.getrandbits(32) & free for _ in range(WORDS))]
    return [w for w in tries if e.matches(w) and RISCV64.table.decode(w, e.length) is form]


@pytest.mark.parametrize("extension", sorted({form.extension for form in RISCV64.table.forms}))
def test_outlines_agree_with_the_whole_decoder(extension: str) -> None:
    count = 0
    for form in RISCV64.table.forms:
        if form.extension != extension:
            continue
        for word in words(form):
            count += 1
            outline = OUTLINES.decode(word, form.encoding.length)
            whole = DECODER.decode(word, form.encoding.length)
            where = f"{form.name} {word:#x}"
            assert (outline is None) == (whole is None), where
            if outline is None or whole is None:
                continue
            assert outline.length == whole.length, where
            # An instruction may turn out to jump, or to trap, always or never.
            assert outline.falls or not whole.falls, where
            assert whole.target in (outline.target, None), where
            for name in ("indirect", "links", "ends", "touches"):
                assert getattr(outline, name) == getattr(whole, name), f"{where}: {name}"
    assert count
