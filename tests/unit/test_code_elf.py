"""From LLVM's object files to code images that run."""

import ctypes
import platform
import struct
from collections.abc import Iterator

import pytest

from lamina.base.errors import CodeError
from lamina.engine.code.arena import CodeArena, library_address
from lamina.engine.code.elf import image_of
from lamina.engine.code.image import END
from lamina.engine.llvm.compiler import compile_image, compile_stencils

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="objects are read for x86-64"
)
MODULE = """
declare dso_local i64 @near(i64)
declare i64 @far(i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
@table = internal constant [2 x ptr] [ptr @double, ptr @triple]
@numbers = internal constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]

define internal i64 @double(i64 %x) noinline { %r = mul i64 %x, 2
  ret i64 %r }
define internal i64 @triple(i64 %x) noinline { %r = mul i64 %x, 3
  ret i64 %r }
define i64 @through_table(i64 %which, i64 %x) {
  %p = getelementptr inbounds ptr, ptr @table, i64 %which
  %f = load ptr, ptr %p
  %r = call i64 %f(i64 %x)
  ret i64 %r
}
define i64 @number(i64 %i) {
  %p = getelementptr inbounds i64, ptr @numbers, i64 %i
  %r = load i64, ptr %p
  ret i64 %r
}
define i64 @chosen(i64 %x) {
  switch i64 %x, label %other [ i64 0, label %a  i64 1, label %b  i64 2, label %c
                                i64 3, label %d  i64 4, label %e  i64 5, label %f ]
a:
  %ra = call i64 @near(i64 100)
  ret i64 %ra
b:
  %rb = call i64 @double(i64 50)
  ret i64 %rb
c:
  ret i64 11
d:
  %rd = call i64 @triple(i64 5)
  ret i64 %rd
e:
  ret i64 8
f:
  %rf = call i64 @near(i64 1)
  ret i64 %rf
other:
  ret i64 0
}
define ptr @address_of_far() { ret ptr @far }
define void @clear(ptr %p, i64 %n) {
  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 %n, i1 false)
  ret void
}
"""


@pytest.fixture
def arena() -> Iterator[CodeArena]:
    made = CodeArena(1 << 20)
    yield made
    made.close()


def call(address: int, *arguments: int) -> int:
    kind = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * len(arguments))
    return int(kind(address)(*arguments))


@pytest.mark.parametrize("passes", ["runtime", "region"])
def test_code_constants_tables_and_calls_work(arena: CodeArena, passes: str) -> None:
    image = compile_image(MODULE, passes=passes)  # type: ignore[arg-type]
    assert {"number", "chosen", "clear"} <= set(image.symbols)
    assert all(0 <= image.symbols[name] < len(image.text) for name in image.symbols)
    plus_one = b"\x48\x8d\x47\x01\xc3"  # lea 1(%rdi), %rax; ret
    near = arena.place(type(image)(plus_one, {"near": 0}), library_address)
    known = {"near": near.address, "far": 0x1234_5678_9ABC_DEF0}
    placed = arena.place(image, lambda n: known[n] if n in known else library_address(n))
    at = placed.address_of
    assert [call(at("through_table"), i, 5) for i in (0, 1)] == [10, 15]
    assert [call(at("number"), i) for i in range(4)] == [10, 20, 30, 40]
    assert [call(at("chosen"), i) for i in range(7)] == [101, 100, 11, 15, 8, 2, 0]
    assert call(at("address_of_far")) == known["far"]
    buffer = ctypes.create_string_buffer(b"x" * 300, 300)
    call(at("clear"), ctypes.addressof(buffer), 300)
    assert buffer.raw == bytes(300)


def test_writable_data_is_refused() -> None:
    text = (
        "@counter = global i64 1\ndefine i64 @f() {\n %v = load i64, ptr @counter\n ret i64 %v\n}"
    )
    with pytest.raises(CodeError, match=r"section \.data"):
        compile_image(text, passes="runtime")


def test_thread_local_data_is_refused() -> None:
    text = (
        "@t = internal thread_local global i64 1\n"
        "define i64 @f() {\n %v = load i64, ptr @t\n ret i64 %v\n}"
    )
    with pytest.raises(CodeError):
        compile_image(text, passes="region")


@pytest.mark.parametrize(
    "blob",
    [b"", b"\x7fELF", bytes(64), b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 62)],
)
def test_what_is_no_object_is_refused(blob: bytes) -> None:
    with pytest.raises(CodeError):
        image_of(blob)


STENCILS = """
@"hole.a" = external global i8, !absolute_symbol !{i64 0, i64 2048}
@numbers = internal constant [2 x i64] [i64 10, i64 20]
declare dso_local i64 @next(i64)
define i64 @"add"(i64 %x) section ".text.add" {
  %y = add i64 %x, ptrtoint (ptr @"hole.a" to i64)
  %r = musttail call i64 @next(i64 %y)
  ret i64 %r
}
define i64 @"two"(i64 %x) section ".text.two" { ret i64 2 }
define i64 @"constants"(i64 %i) section ".text.constants" {
  %p = getelementptr inbounds i64, ptr @numbers, i64 %i
  %r = load i64, ptr %p
  ret i64 %r
}
"""


def test_functions_in_sections_of_their_own_become_pieces() -> None:
    image = compile_stencils(STENCILS)
    assert set(image.symbols) == {"add", "two", END}, "what needs constants is left out"
    size = image.symbols["two"] - image.symbols["add"]
    mine = [r for r in image.relocations if r.offset < size]
    assert mine == list(image.relocations)
    assert [(r.symbol, r.kind) for r in mine] == [("hole.a", "abs32"), ("next", "pc32")]
    assert mine[1].offset == size - 4, "a jump to what follows is at the end"
    assert image.symbols[END] < len(image.text)


def test_pieces_are_not_placed(arena: CodeArena) -> None:
    with pytest.raises(CodeError, match="outside of stencils"):
        arena.place(compile_stencils(STENCILS), lambda name: arena.start)
