"""Encodings and syntax against an assembler that is not ours: clang's, from the ziglang wheel.

What the disassembler prints for each word has to assemble there to the same word. Clang refuses
what it has no name for: rounding modes 5 and 6; its constants of FLI are written otherwise.
"""

import random
import re
import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile
from rv64 import DISASSEMBLER, PLAIN

from lamina.isa.riscv.hart import RV64

EXTENSIONS = "zacas zabha zcb zba zbb zbc zbkb zbkx zbs zicond zicbom zicboz zicbop zawrs"
MORE = "zihintntl zimop zcmop zfa zfh svinval"
HEAD = f"""
.option norelax
.option arch, {", ".join("+" + e for e in [*EXTENSIONS.split(), *MORE.split()])}
"""
LONG_FORMS_ONLY = ".option norvc"
Line = tuple[int, int, str]


def sample() -> list[tuple[int, int]]:
    """All compressed words, then some 50 of each other form."""
    rng = random.Random(5)
    found = [(w, 2) for w in range(1 << 16) if w & 3 != 3]
    for form in RV64.forms:
        e = form.encoding
        if e.length == 4:
            found += [(rng.getrandbits(32) & ~e.mask | e.match, 4) for _ in range(50)]
    return [(w, n) for w, n in found if RV64.decode(w, n) is not None]


def sayable(word: int, length: int, text: str) -> bool:
    form = RV64.decode(word, length)
    assert form is not None
    modes = form.encoding.decode(word).get("rm") in (5, 6)
    return not (text.startswith(".") or form.name.startswith("fli.") or modes)


def clang(lines: list[Line], where: Path) -> bytes:
    """The code that clang makes of our text; the test fails with its complaints."""
    source, longer = [HEAD], False
    for _, length, text in lines:
        if length == 4 and not longer:
            source.append(LONG_FORMS_ONLY)
            longer = True
        # It takes distances as plain numbers.
        source.append(re.sub(r"(?<![\w)])\.\+?(-?\d+)$", r"\1", text))
    (where / "words.s").write_text("\n".join(source) + "\n")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-linux-musl"]
    run = subprocess.run(
        [*command, "-c", "words.s", "-o", "words.o"], cwd=where, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[:3000]
    with (where / "words.o").open("rb") as file:
        return bytes(ELFFile(file).get_section_by_name(".text").data())


def test_clang_assembles_our_text_to_the_same_words(tmp_path: Path) -> None:
    words = sample()
    longer = [(w, n) for w, n in words if n == 4]
    for disassembler, chosen in ((PLAIN, words), (DISASSEMBLER, longer)):
        lines = [(w, n, disassembler.text(w, n)) for w, n in chosen]
        lines = [line for line in lines if sayable(*line)]
        assert len(lines) > len(chosen) * 3 // 4
        code, at = clang(lines, tmp_path), 0
        for word, length, text in lines:
            theirs = int.from_bytes(code[at : at + length], "little")
            assert theirs == word, f"{text}: {word:#x}, clang says {theirs:#x}"
            at += length
        assert at == len(code)
