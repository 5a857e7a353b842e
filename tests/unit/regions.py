"""What the tests of the optimising engine's parts share: regions of assembled code."""

from collections.abc import Collection
from functools import cache

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.engine.jit.flow import Decoded, Decoder
from lamina.engine.jit.region import PageView, Region, form_region
from lamina.engine.jit.writer import region_module
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.asm import Assembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.dialect import dialect

ASSEMBLER = Assembler(RISCV64.table, dialect())
DECODER = Decoder(RISCV64)
FILES = list(RISCV64.layout.files)
TERMINATORS = ("br ", "ret ", "switch ", "unreachable")


@cache
def decoded(line: str) -> Decoded:
    """One line of assembly."""
    raw = ASSEMBLER.line(line)
    found = DECODER.decode(int.from_bytes(raw, "little"), len(raw))
    assert found is not None
    return found


def x(*registers: int) -> int:
    """x registers as `Decoded` has them."""
    return sum(1 << r for r in registers)


def f(*registers: int) -> int:
    return sum(1 << 64 * FILES.index("f") + r for r in registers)


def pages_of_code(source: str, at: int = 0) -> dict[int, bytes]:
    """Guest pages, by number, with the program at byte `at`."""
    code = ASSEMBLER.program(source, at).code
    first, last = at >> PAGE_SHIFT, (at + len(code) - 1) >> PAGE_SHIFT
    image = bytearray((last + 1 - first) * PAGE_SIZE)
    start = at - first * PAGE_SIZE
    image[start : start + len(code)] = code
    return {
        number: bytes(image[(number - first) * PAGE_SIZE :][:PAGE_SIZE])
        for number in range(first, last + 1)
    }


def region(source: str, at: int = 0, start: int | None = None, ran: Collection[int] = ()) -> Region:
    """The region of a program at `at`, from there or from `start`; `ran`: only of these offsets."""
    found = form(source, at, start, ran)
    assert found is not None
    return found


def form(
    source: str, at: int = 0, start: int | None = None, ran: Collection[int] = ()
) -> Region | None:
    pages = pages_of_code(source, at)

    def find(number: int) -> PageView | None:
        if number not in pages:
            return None
        base = number * PAGE_SIZE
        return PageView(pages[number], lambda offset: not ran or base + offset in ran)

    return form_region(DECODER, find, at if start is None else start)


def text(r: Region) -> str:
    """The region's LLVM module."""
    return region_module("region", r, RISCV64, ThreadedLayout(RISCV64))


def blocks(module: str) -> dict[str, list[str]]:
    """The function's basic blocks by label; fails if one does not end where it should."""
    lines = module.split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("define"))
    found: dict[str, list[str]] = {}
    block: list[str] = []
    for line in lines[first + 1 : lines.index("}", first)]:
        if line.endswith(":"):
            label = line[:-1]
            assert label and label not in found, f"label {label!r}"
            assert not block or block[-1].startswith(TERMINATORS), f"{label} is run into"
            block = found[label] = []
        else:
            assert not (block and block[-1].startswith(TERMINATORS)), f"code behind {block[-1]!r}"
            block.append(line.strip())
    for body in found.values():
        for word in " ".join(body).replace(",", " ").split("label %")[1:]:
            assert word.split()[0] in found, f"no block {word.split()[0]}"
    return found
