"""The code arena: code runs where it is placed, memory comes back, no page is writable and
executable at once."""

import ctypes
import platform
import struct
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.bits import PAGE_SIZE
from lamina.base.errors import CodeError
from lamina.engine.code.arena import CodeArena, CodeArenaFull, Placed, library_address
from lamina.engine.code.image import CodeImage, Relocation

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the code below is x86-64"
)
RETURN = b"\xc3"


def constant(value: int) -> CodeImage:
    """A function `f` that returns a number: mov $value, %eax; ret."""
    return CodeImage(b"\xb8" + struct.pack("<I", value) + RETURN, {"f": 0})


def call(address: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_uint64)(address)())


def nothing(name: str) -> int:
    raise CodeError(f"there is no {name}")


@pytest.fixture
def arena() -> Iterator[CodeArena]:
    made = CodeArena(1 << 20)
    yield made
    made.close()


def permissions(address: int, size: int) -> set[str]:
    """What /proc/self/maps says of a range."""
    found = set()
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, flags = line.split()[:2]
        low, high = (int(part, 16) for part in bounds.split("-"))
        if low < address + size and address < high:
            found.add(flags[:3])
    return found


def test_a_function_runs(arena: CodeArena) -> None:
    placed = arena.place(constant(42), nothing)
    assert call(placed.address_of("f")) == 42
    assert arena.start <= placed.address < arena.start + arena.size
    with pytest.raises(CodeError):
        placed.address_of("g")


def test_a_page_is_never_writable_and_executable(
    arena: CodeArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    move = ctypes.memmove

    def watch(target: int, source: object, size: int) -> int:
        seen.append(permissions(target, size))
        return move(target, source, size)

    monkeypatch.setattr(ctypes, "memmove", watch)
    placed = arena.place(constant(1), nothing)
    assert seen == [{"rw-"}]
    assert permissions(placed.address, placed.size) == {"r-x"}
    assert permissions(arena.start, arena.size) == {"r-x", "---"}
    arena.free(placed)
    assert permissions(arena.start, arena.size) == {"---"}


def test_absolute_and_relative_references_are_settled(arena: CodeArena) -> None:
    callee = arena.place(constant(7), nothing)
    code = CodeImage(
        b"\x48\xb8" + bytes(8) + RETURN  # movabs $own, %rax; ret
        + b"\xe9" + bytes(4),  # jmp callee
        {"own": 0, "jump": 11},
        (Relocation(2, "abs64", "", 5), Relocation(12, "pc32", "callee", -4)),
    )  # fmt: skip
    placed = arena.place(code, {"callee": callee.address}.__getitem__)
    assert call(placed.address_of("own")) == placed.address + 5
    assert call(placed.address_of("jump")) == 7


def test_a_library_function_out_of_reach_is_called_by_a_stub(arena: CodeArena) -> None:
    code = CodeImage(
        b"\xe9" + bytes(4),
        {"compare": 0},
        (Relocation(1, "pc32", "memcmp", -4),),
    )
    address = arena.place(code, library_address).address_of("compare")
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    assert compare(address)(b"abc", b"abc", 3) == 0
    assert compare(address)(b"abc", b"abd", 3) < 0


def test_no_other_library_function_can_be_named() -> None:
    with pytest.raises(CodeError):
        library_address("system")


def test_images_of_one_chunk_leave_with_the_last(arena: CodeArena) -> None:
    placed = arena.place_all([constant(n) for n in range(100)], nothing)
    assert arena.used == 2 * PAGE_SIZE
    assert [call(p.address_of("f")) for p in placed] == list(range(100))
    for p in placed[1:]:
        arena.free(p)
    assert call(placed[0].address_of("f")) == 0
    arena.free(placed[0])
    assert arena.used == 0
    with pytest.raises(ValueError, match="freed already"):
        arena.free(placed[0])


def test_a_full_arena_says_so_and_goes_on_when_something_is_freed() -> None:
    arena = CodeArena(2 * PAGE_SIZE)
    first = arena.place(constant(1), nothing)
    second = arena.place(constant(2), nothing)
    with pytest.raises(CodeArenaFull):
        arena.place(constant(3), nothing)
    arena.free(first)
    third = arena.place(constant(3), nothing)
    assert call(third.address_of("f")) == 3 and call(second.address_of("f")) == 2
    arena.free(second)
    arena.free(third)
    # The free pages have become one range again.
    assert arena.place(CodeImage(bytes(2 * PAGE_SIZE)), nothing).size == 2 * PAGE_SIZE


def test_an_unknown_function_leaves_nothing_behind(arena: CodeArena) -> None:
    code = CodeImage(bytes(8), {}, (Relocation(0, "pc32", "missing", 0),))
    with pytest.raises(CodeError):
        arena.place(code, nothing)
    assert arena.used == 0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 4 * PAGE_SIZE), st.booleans()), max_size=30))
def test_ranges_never_overlap(steps: list[tuple[int, bool]]) -> None:
    arena = CodeArena(16 * PAGE_SIZE)
    live: list[Placed] = []
    for size, keep in steps:
        try:
            live.append(arena.place(CodeImage(bytes(size)), nothing))
        except CodeArenaFull:
            assert live
        if not keep and live:
            arena.free(live.pop(0))
        ranges = sorted((p.address, p.address + p.size) for p in live)
        assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    for p in live:
        arena.free(p)
    assert arena.used == 0
    assert arena.place(CodeImage(bytes(arena.size)), nothing).address == arena.start
    arena.close()


def test_threads_may_place_and_free_at_once(arena: CodeArena) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            placed = arena.place(constant(number), nothing)
            if call(placed.address_of("f")) != number:
                wrong.append(number)
            arena.free(placed)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and arena.used == 0
